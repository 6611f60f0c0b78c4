"""Rows of experiments, chosen by what they are, and differences between two kinds.

A difference is paired: the same cells, targets and training seeds on both sides. Scores
of several cells make one table, in which targets of one family are one block wherever
they stand.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..evaluation import family_of
from ..prompts import MODES
from .cell_rows import each_once
from .comparable import check_comparable
from .record_rows import Record
from .statistics import Interval, paired_difference

RATES_OF_A_ROW = ("lr", "inner_lr")  # tuned for each row: no change of its training
CellName = tuple[str, ...]  # setting and mode, or other words that say where
SeedTable = dict[int | None, dict[str, float]]  # training seed → target → points


class Place(str):
    """A target in a cell, as a key of tables: "setting mode target"."""

    target: str  # whose name may have blanks

    def __new__(cls, cell: CellName, target: str):
        """The text; ``target`` by itself is an attribute."""
        place = super().__new__(cls, " ".join([*cell, target]))
        place.target = target
        return place


@dataclass(frozen=True, kw_only=True)
class RowKind:
    """Which rows: those of a method, trained and asked in one way.

    Args:
        method: as records name it.
        budget: what was equal per outer step; None: not trained.
        steps: outer steps; None: any.
        train: further changes of training, other than of rates.
        k: demonstrations at test, where not as trained.
        adapted: gradient steps on the demonstrations before queries are asked.
        random_labels: whether the demonstrations' answers were drawn at random.
    """

    method: str
    budget: str | None = "steps"
    steps: int | None = None
    train: Mapping = field(default_factory=dict)
    k: int | None = None
    adapted: int | None = None
    random_labels: bool = False

    def holds(self, row: Record) -> bool:
        """Whether a row is of this kind."""
        trained = "budget" in row
        if row["method"] != self.method or trained != (self.budget is not None):
            return False
        if trained and not self._trained_so(row):
            return False
        asked = dict(row["run"].get("evaluate") or {})
        adapted = (asked.pop("adapt", None) or {}).get("steps")
        if (asked.pop("k", None), adapted) != (self.k, self.adapted):
            return False
        if asked.pop("random_labels", False) != self.random_labels:
            return False
        return not asked and bool(row["tasks"])

    def _trained_so(self, row: Record) -> bool:
        run = row["run"]
        if self.steps not in (None, steps_of(row)):
            return False
        return run.get("budget", "gradients") == self.budget and changes_of(
            row
        ) == dict(self.train)


@dataclass(frozen=True)
class Paired:
    """A difference in words, its interval, the cells it is over, and both tables."""

    what: str
    interval: Interval
    cells: tuple[CellName, ...]
    tables: tuple[SeedTable, ...] = field(default=(), repr=False, compare=False)

    def as_row(self) -> dict:
        """As JSON holds it."""
        cells = [" ".join(cell) for cell in self.cells]
        return dict(what=self.what, **numbers(self.interval), cells=cells)


def numbers(interval: Interval) -> dict:
    """An interval as JSON holds it, points to three digits; None: nothing is known."""
    known = interval.half < float("inf")
    return dict(
        ours=round(interval.mean, 3),
        low=round(interval.low, 3) if known else None,
        high=round(interval.high, 3) if known else None,
        seeds=interval.n_seeds,
        targets=interval.n_targets,
    )


def steps_of(row: Record) -> int:
    """Outer steps of a row that was trained."""
    return row["budget"]["outer_steps"]


def changes_of(row: Record) -> dict:
    """What differs in a row's training beside its rates."""
    train = row["run"].get("train") or {}
    return {name: x for name, x in train.items() if name not in RATES_OF_A_ROW}


def setting_and_mode(row: Record) -> CellName:
    """The cell of a row."""
    return row["setting"], row["mode"]


def table_of(
    rows: Iterable[Record],
    cells: Sequence[CellName],
    which: str = "all",
    key: Callable[[Record], CellName] = setting_and_mode,
) -> SeedTable:
    """Seed → `Place` → score, of the seeds that all the cells have.

    Raises `ValueError` where two rows have one cell and seed, and where rows of the
    cells are not alike (`check_comparable`).
    """
    by_cell: dict[CellName, SeedTable] = {cell: {} for cell in cells}
    mine = _within(rows, cells, key)
    check_comparable("records", mine)
    for row in each_once(mine):
        cell = key(row)
        seed = row["seed"] if "budget" in row else None
        if seed in by_cell[cell]:
            raise ValueError(
                f"records: expected one row per cell and training seed, found two of "
                f"{row['method']}, {', '.join(cell)}, seed {seed}; choose those of one "
                "log"
            )
        by_cell[cell][seed] = {
            Place(cell, target): score
            for target, score in row["tasks"].items()
            if which == "all" or (target in row["unseen"]) == (which == "unseen")
        }
    seeds = [set(found) for found in by_cell.values()]
    common = set.intersection(*seeds) if seeds else set()
    return {
        seed: {key: x for cell in cells for key, x in by_cell[cell][seed].items()}
        for seed in sorted(common, key=str)
    }


def families_of(table: SeedTable) -> dict[str, str]:
    """The family of each key of a table, a `Place` or a text like one."""
    return {key: family_of(_target(key)) for key in next(iter(table.values()), {})}


def _target(key: str) -> str:
    if isinstance(key, Place):
        return key.target
    _, mode, after = key.partition(f" {MODES[0]} ")
    if not mode:
        _, mode, after = key.partition(f" {MODES[1]} ")
    return after if mode else key.split()[-1]


def compared(
    what: str,
    a: Sequence[Record],
    b: Sequence[Record],
    cells: Sequence[CellName],
    *,
    which: str = "all",
    least: int = 1,
    key: Callable[[Record], CellName] = setting_and_mode,
) -> Paired | None:
    """``a`` − ``b`` over the cells in which both have ``least`` common seeds.

    None where there is no such cell, or too few seeds are common to all of them. Raises
    `ValueError` as `table_of`, also where a row of one side is not like the other's.
    """
    kept = [cell for cell in cells if _seeds(a, b, [cell], which, least, key)]
    seeds = _seeds(a, b, kept, which, least, key) if kept else None
    if not seeds:
        return None
    check_comparable("records", *(_within(rows, kept, key) for rows in (a, b)))
    left, right = (table_of(rows, kept, which, key) for rows in (a, b))
    left, right = (_only(table, seeds) for table in (left, right))
    interval = paired_difference(left, right, "both", families_of(left))
    return Paired(what, interval, tuple(kept), (left, right))


def longest(
    rows: Sequence[Record],
    a: RowKind,
    b: RowKind,
    cells: Sequence[CellName],
    *,
    least: int,
    what: str,
    which: str = "all",
) -> Paired | None:
    """`compared` at the most outer steps that both kinds have seeds enough for."""
    lengths = {steps_of(row) for row in rows if a.holds(row)}
    for length in sorted(lengths, reverse=True):
        pair = [
            kind if kind.budget is None else replace(kind, steps=length)
            for kind in (a, b)
        ]
        left, right = ([row for row in rows if kind.holds(row)] for kind in pair)
        words = f"{what}, {length} steps"
        found = compared(words, left, right, cells, which=which, least=least)
        if found is not None:
            return found
    return None


def _within(rows: Iterable[Record], cells, key) -> list[Record]:
    return [row for row in rows if key(row) in cells]


def _seeds(a, b, cells, which: str, least: int, key) -> list | None:
    """Seeds that both sides have in all cells; None where they are too few."""
    left, right = (table_of(rows, cells, which, key) for rows in (a, b))
    if not (left and right) or not all(map(bool, (*left.values(), *right.values()))):
        return None
    seeds = [seed for seed in left if seed in right]
    if set(right) == {None}:
        seeds = list(left)
    elif set(left) == {None}:
        seeds = list(right)
    return seeds if len(seeds) >= least else None


def _only(table: SeedTable, seeds: Sequence) -> SeedTable:
    return table if set(table) == {None} else {seed: table[seed] for seed in seeds}
