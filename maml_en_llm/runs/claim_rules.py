"""What decides each claim: its primary difference, and what stands beside it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from .cell_rows import IN_CONTEXT
from .pairs import CellName, Paired, RowKind, changes_of, compared, longest
from .record_rows import Record
from .rows import CONTROL
from .statistics import exceeds
from .words import setting_in_words

OURS, MAIN_RIVAL = "MAML-en-LLM", "MetaICL"
RIVALS = ("MetaICL", "MetaICT", "multi-task zero-shot", "FOMAML", "Reptile")
# training seeds that a primary difference has at least
LEAST = dict(C1=5, C2=5, C3=3, C4=3, C5=3, C6=3, C7=3)
BESIDE = 3  # that one has that decides nothing
JUDGED_AFTER = 4  # gradient steps of C2
LIMITED_SHARE = 0.25  # largest share of tasks or examples that is limited data
TYPES = ("class_to_class", "non_class_to_class")  # of C5: the same targets
TESTED = 4  # alive cells of a mode, the majority of seven settings


@dataclass(frozen=True)
class Found:
    """What the records say about a claim.

    ``either_way``: an effect of either sign is what the claim says. ``holds`` decides
    where it is not the interval alone; ``counts`` replace the row's numbers;
    ``lacking`` says why there is no primary difference.
    """

    primary: Paired | None
    others: Sequence[Paired] = ()
    either_way: bool = False
    holds: bool | None = None
    why: str = ""
    lacking: str = ""
    counts: Mapping = field(default_factory=dict)


def unseen_domains(rows: Sequence[Record], cells: Sequence[CellName]) -> Found:
    """C1: in context, unseen-domain targets, against MetaICL."""

    def gap(rival, budget="steps", which="unseen", least=BESIDE, among=cells):
        ours, its = (RowKind(method=name, budget=budget) for name in (OURS, rival))
        words = f"{OURS} − {rival}, {which}, equal {budget}"
        if among is not cells:
            words += ", the claim's cells"
        how: dict = dict(least=least, what=words, which=which)
        return longest(rows, ours, its, among, **how)

    primary = gap(MAIN_RIVAL, least=LEAST["C1"])
    others = [gap(MAIN_RIVAL, budget) for budget in ("prompts", "gradients")]
    if primary is not None:
        others.append(gap(CONTROL, among=primary.cells))
    others += [gap(rival) for rival in ("MetaICT", CONTROL, "FOMAML")]
    others += [gap(MAIN_RIVAL, which=which) for which in ("all", "seen")]
    return Found(primary, _there(others))


def adaptation(rows: Sequence[Record], cells: Sequence[CellName]) -> Found:
    """C2: after `JUDGED_AFTER` steps, all targets, demonstrations in the prompt."""

    def kind(method: str, budget: str | None = "steps", k: int | None = None):
        return RowKind(method=method, budget=budget, adapted=JUDGED_AFTER, k=k)

    def gap(rival: RowKind, words: str, least: int = BESIDE):
        mine = kind(OURS, rival.budget or "steps", rival.k)
        words = f"{OURS} − {words}, {JUDGED_AFTER} steps of adaptation"
        return longest(rows, mine, rival, cells, least=least, what=words)

    others = [
        gap(kind(IN_CONTEXT, None), "the base model"),
        gap(kind(CONTROL), CONTROL),
        gap(kind("FOMAML"), "FOMAML"),
        gap(kind(MAIN_RIVAL, "gradients"), f"{MAIN_RIVAL}, equal gradients"),
        gap(kind(MAIN_RIVAL, k=0), f"{MAIN_RIVAL}, without demonstrations"),
    ]
    return Found(gap(kind(MAIN_RIVAL), MAIN_RIVAL, LEAST["C2"]), _there(others))


def limited_data(rows: Sequence[Record], cells: Sequence[CellName]) -> Found:
    """C3: trained on at most `LIMITED_SHARE` of the data.

    All targets decide, and the seen and the unseen both have to be ahead on average.
    """
    rows = [row for row in rows if "budget" in row and _share(row) <= LIMITED_SHARE]
    places = sorted({_place(row) for row in rows if _place(row)[:2] in cells})

    def gap(rival: str, which: str, budget: str = "steps", least: int = BESIDE):
        mine, theirs = (
            [row for row in rows if _limited(row, method, budget)]
            for method in (OURS, rival)
        )
        words = f"{OURS} − {rival}, {which}, equal {budget}"
        return compared(
            words, mine, theirs, places, which=which, least=least, key=_place
        )

    primary = gap(MAIN_RIVAL, "all", least=LEAST["C3"])
    parts = [gap(MAIN_RIVAL, which) for which in ("seen", "unseen")]
    others = [*parts, gap(CONTROL, "all"), gap(MAIN_RIVAL, "all", "gradients")]
    behind = [part.what for part in _there(parts) if not exceeds(part.interval.mean)]
    if primary is None or not exceeds(primary.interval.low) or not behind:
        return Found(primary, _there(others))
    why = f"ahead on average, but not in {', '.join(behind)}"
    return Found(primary, _there(others), holds=False, why=why)


def most_cells(rows: Sequence[Record], cells: Sequence[CellName]) -> Found:
    """C4: against the best of all rivals and the base, cell by cell.

    ``ours`` counts alive cells in which the mean is ahead, ``low`` those in which the
    interval is, ``high`` those in which it may be: also where targets of one family
    leave the interval without ends. The claim holds if more than half of the cells of
    each mode are ahead and the mean difference is above 0; it can be tested where
    `TESTED` cells of each mode are alive and have rows.
    """
    found = {cell: gap for cell in cells if (gap := _against_best(rows, cell))}
    gaps = list(found.values())
    by_mode = {
        mode: [gap for cell, gap in found.items() if cell[1] == mode]
        for mode in ("direct", "channel")
    }
    few = [f"{len(some)} in {m}" for m, some in by_mode.items() if len(some) < TESTED]
    if few:
        lacking = (
            f"expected {TESTED} alive cells of each mode with {LEAST['C4']} training "
            f"seeds of both sides, found {' and '.join(few)}"
        )
        return Found(None, gaps, lacking=lacking)
    ahead = [sum(exceeds(g.interval.mean) for g in some) for some in by_mode.values()]
    sizes = [len(some) for some in by_mode.values()]
    mean = fmean(gap.interval.mean for gap in gaps)
    most = all(2 * n > size for n, size in zip(ahead, sizes, strict=True))
    counts = dict(
        ours=sum(ahead),
        low=sum(exceeds(gap.interval.low) for gap in gaps),
        high=sum(exceeds(gap.interval.high) for gap in gaps),
        seeds=min(gap.interval.n_seeds for gap in gaps),
        targets=sum(gap.interval.n_targets for gap in gaps),
    )
    why = (
        f"ahead of the best rival in {ahead[0]} of {sizes[0]} direct and {ahead[1]} of "
        f"{sizes[1]} channel cells, beyond noise in {counts['low']}; {mean:+.1f} "
        "points on average"
    )
    primary = Paired("cells ahead of the best rival", gaps[0].interval, tuple(found))
    return Found(primary, gaps, holds=most and exceeds(mean), why=why, counts=counts)


def task_type(rows: Sequence[Record], cells: Sequence[CellName]) -> Found:
    """C5: classification against other tasks, as many of each; the same targets."""
    places = [(mode,) for setting, mode in cells if setting == TYPES[0]]

    def gap(method: str, least: int = BESIDE):
        a, b = (
            [r for r in rows if _of_type(r, method) and r["setting"] == kind]
            for kind in TYPES
        )
        words = f"{method}: trained on classification − on other tasks"
        return compared(words, a, b, places, least=least, key=lambda r: (r["mode"],))

    others = [gap(method) for method in (MAIN_RIVAL, CONTROL)]
    return Found(gap(OURS, LEAST["C5"]), _there(others), either_way=True)


def optimizer(rows: Sequence[Record], cells: Sequence[CellName]) -> Found:
    """C6: shared moments against fresh ones, each at its best outer rate.

    Best: of the lowest held NLL, a mean over the seeds.
    """

    def best(train: Mapping, method: str = OURS) -> list[Record]:
        kind = RowKind(method=method, train=train)
        return at_best_rate([row for row in rows if kind.holds(row)])

    def gap(words: str, a: Mapping, b: Mapping, least: int = BESIDE):
        return compared(words, best(a), best(b), cells, least=least)

    fresh = dict(moments="fresh")
    primary = gap("moments shared − fresh", {}, fresh, LEAST["C6"])
    others = [
        gap(
            f"inner {name} − Adam, fresh moments",
            fresh | {"inner_optimizer": name},
            fresh,
        )
        for name in ("sgd", "momentum", "adamw")
    ]
    others += [
        gap(
            "support gradients clipped − not",
            {},
            dict(moments="shared", clip_support=False),
        ),
        gap("second moments alone − shared", dict(moments="second"), {}),
        gap("frozen − shared", dict(moments="shared-frozen"), {}),
        compared(
            "second − first order", best({}), best({}, "FOMAML"), cells, least=BESIDE
        ),
        compared(
            "shared moments − α = 0", best({}), best({}, CONTROL), cells, least=BESIDE
        ),
    ]
    there = _there(others)
    decided = [gap.what for gap in there if gap.interval.decided]
    why = f"beyond noise: {', '.join(decided) or 'none of the other differences'}"
    return Found(primary, there, why=why)


def exploration_tasks(rows: Sequence[Record], cells: Sequence[CellName]) -> Found:
    """C7: the most tasks per outer step against the fewest, at equal steps."""

    def of(method: str) -> dict[int, list[Record]]:
        found: dict[int, list[Record]] = {}
        for row in rows:
            change = changes_of(row) if "budget" in row else {}
            kind = RowKind(method=method, train=change)  # in context, not adapted
            if set(change) == {"tasks_per_step"} and kind.holds(row):
                found.setdefault(change["tasks_per_step"], []).append(row)
        return found

    def gap(method: str, least: int = BESIDE):
        found = of(method)
        if len(found) < 2:
            return None
        few, many = min(found), max(found)
        words = f"{method}: n = {many} − n = {few}"
        return compared(words, found[many], found[few], cells, least=least)

    primary, rival = gap(OURS, LEAST["C7"]), gap(MAIN_RIVAL)
    why = ""
    if rival is not None:
        same = "also" if rival.interval.decided else "not"
        why = f"{MAIN_RIVAL}'s n {same} matters: {rival.interval}"
    return Found(primary, _there([rival, gap(CONTROL)]), either_way=True, why=why)


RULES_OF_CLAIMS: Mapping[str, tuple[str, Callable[..., Found]]] = {
    "C1": ("E1", unseen_domains),
    "C2": ("E2", adaptation),
    "C3": ("E3", limited_data),
    "C4": ("E1", most_cells),
    "C5": ("E5", task_type),
    "C6": ("E4", optimizer),
    "C7": ("E5", exploration_tasks),
}


def _there(found: Iterable[Paired | None]) -> list[Paired]:
    return [each for each in found if each is not None]


def _share(row: Record) -> float:
    change = changes_of(row)
    return min(change.get("task_share", 1.0), change.get("record_share", 1.0))


def _place(row: Record) -> CellName:
    change = ",".join(f"{name}={x}" for name, x in sorted(changes_of(row).items()))
    return row["setting"], row["mode"], change


def _limited(row: Record, method: str, budget: str) -> bool:
    return RowKind(method=method, budget=budget, train=changes_of(row)).holds(row)


def _of_type(row: Record, method: str) -> bool:
    if "budget" not in row or set(changes_of(row)) != {"task_share"}:
        return False
    return RowKind(method=method, train=changes_of(row)).holds(row)


def _against_best(rows: Sequence[Record], cell: CellName) -> Paired | None:
    """Ours against the rival of the highest mean in one cell, the base among them."""
    gaps = []
    for rival in (*RIVALS, IN_CONTEXT):
        theirs = RowKind(method=rival, budget=None if rival == IN_CONTEXT else "steps")
        words = f"{OURS} − {rival}, {setting_in_words(cell[0])}, {cell[1]}"
        mine = RowKind(method=OURS)
        gaps.append(longest(rows, mine, theirs, [cell], least=LEAST["C4"], what=words))
    return min(_there(gaps), key=lambda gap: gap.interval.mean, default=None)


def at_best_rate(rows: Sequence[Record]) -> list[Record]:
    """The rows of the outer and inner rate with the lowest held NLL."""
    groups: dict[tuple, list[Record]] = {}
    for row in rows:
        train = row["run"].get("train") or {}
        groups.setdefault((train.get("lr"), train.get("inner_lr")), []).append(row)
    whole = max((len(group) for group in groups.values()), default=0)
    complete = [group for group in groups.values() if len(group) == whole]
    return min(complete, key=_held_nll, default=[])


def _held_nll(rows: Sequence[Record]) -> float:
    return fmean(row["held"]["nll"] for row in rows)
