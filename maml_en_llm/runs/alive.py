"""The alive rule: in which cells of a table a comparison of methods means anything.

A cell is a setting in a mode. Where every model, trained or not, is at or below
guessing, or has nothing left to gain, differences between methods are noise. The rule
was fixed before the numbers were seen, and names no method: a trained model is any row
that was trained, the best one is the one of the highest mean.

A cell is **alive** if, over at least `TRAINING_SEEDS` training seeds, all of `SEEDS`
and all test examples,

    (1) demonstration-reading rule − random guess       ≥ `TELLS`
    (2) best model − random guess, and − majority       ≥ `BEATS`
    (3) base in context − zero-shot                     ≥ `MATTERS`, or
        best trained model with − without demonstrations ≥ `MATTERS`
    (4) best model ≤ `CEILING`,  rule − best model      ≥ `HEAD_ROOM`
    (5) |best trained model − base in context|          ≥ `DIFFERS`

in points. The best model of (2) and (4) is the base in context or a trained one. In (3)
the trained models are those that were also asked without demonstrations.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from statistics import fmean

from ..errors import listed, shown
from .cell_rows import (
    BY_RULE,
    IN_CONTEXT,
    MAJORITY,
    NO_DEMONSTRATIONS,
    RANDOM_GUESS,
    RULE,
    ZERO_SHOT,
    Record,
    Rows,
    mean_of,
)
from .statistics import DIGITS_JUDGED

# points
TELLS = 20.0  # otherwise the demonstrations hold too little to learn from
BEATS = 10.0  # twice the half-width of one seed's interval over targets
MATTERS = 5.0  # otherwise what is scored is not learning in context
CEILING = 92.0  # above it one answer in twelve decides between methods
HEAD_ROOM = 3.0  # otherwise the best model does all that can be done
DIFFERS = 3.0  # otherwise meta-training, of whatever kind, does nothing here


@dataclass(frozen=True)
class Cell:
    """The verdict on one setting in one mode.

    ``reasons`` say why it is not alive. ``missing`` says what a final verdict lacks: a
    cell that lacks anything is preliminary, whatever its verdict. ``figures`` are in
    points; ``best`` and ``best_trained`` name the models behind them.
    """

    setting: str
    mode: str
    reasons: tuple[str, ...]
    missing: tuple[str, ...]
    figures: Mapping[str, float | None]
    best: str
    best_trained: str
    n_targets: int

    @property
    def alive(self) -> bool:
        """Whether all five conditions hold, on however much there was."""
        return not self.reasons

    @property
    def final(self) -> bool:
        """Whether the verdict rests on all that the rule asks for."""
        return not self.missing

    @property
    def verdict(self) -> str:
        """ "alive" or "grey", after "preliminary" where something is missing."""
        word = "alive" if self.alive else "grey"
        return word if self.final else f"preliminary: {word}"

    def as_row(self) -> dict:
        """The cell as JSON holds it."""
        lists = dict(reasons=list(self.reasons), missing=list(self.missing))
        return vars(self) | lists | dict(verdict=self.verdict)


def cell_of(row: Mapping) -> Cell:
    """A cell from `Cell.as_row`.

    Raises `ValueError` for a row that lacks a part, or whose verdict is not the one
    that its figures give.
    """
    names = [field.name for field in fields(Cell)]
    lacking = [name for name in names if name not in row]
    if lacking:
        raise ValueError(f"cell: expected a row of a cell, found no {listed(lacking)}")
    parts = {name: row[name] for name in names}
    parts |= {name: tuple(row[name]) for name in ("reasons", "missing")}
    cell = Cell(**parts)
    found = failing(cell.figures)
    if cell.reasons != found or row.get("verdict") != cell.verdict:
        raise ValueError(
            f"cell {cell.setting}, {cell.mode}: expected what its figures give, "
            f"{listed(found) or 'alive'}, found {shown(row.get('verdict'))}, "
            f"{listed(cell.reasons) or 'no reason'}; judge it anew"
        )
    return cell


def judge(records: Iterable[Record]) -> list[Cell]:
    """All cells of ``records``, rows of `reproduce` on one base model.

    Raises `ValueError` as `judge_cell` does.
    """
    records = list(records)
    pairs = [
        (row["setting"], row["mode"]) for row in records if row["method"] not in BY_RULE
    ]
    return [judge_cell(records, *pair) for pair in dict.fromkeys(pairs)]


def judge_cell(records: Iterable[Record], setting: str, mode: str) -> Cell:
    """The verdict on one cell.

    Args:
        records: rows of `reproduce`, also of other cells. The answers by rule are the
            same in both modes and may be there in either.

    A trained model with fewer than `TRAINING_SEEDS` seeds is passed over where another
    has enough: the best of single seeds is the luckiest.

    Raises:
        ValueError: a row without which nothing can be said, rows of two base models or
            with other targets, a target that could not be scored, two rows of one seed.
    """
    rows = Rows.of(records, setting, mode)
    chosen, alone = rows.best_trained(), rows.best_compared()
    figures: dict[str, float | None] = {
        "guess": rows.mean(RANDOM_GUESS),
        "majority": rows.mean(MAJORITY),
        "zero_shot": rows.mean(ZERO_SHOT),
        "in_context": rows.mean(IN_CONTEXT),
        "trained": chosen.mean,
        "compared": None if alone is None else alone.mean,
        "without": None if alone is None else fmean(map(mean_of, alone.alone.values())),
        "rule": rows.mean(RULE),
    }
    decisive = [chosen]
    if not _base_gains(figures):
        if alone is None:
            raise ValueError(
                f"{rows.where}: expected a trained model also without demonstrations "
                f"(Run.evaluate {NO_DEMONSTRATIONS}), found none, and the base model's "
                f"demonstrations do not gain {MATTERS:g} points; compute its rows"
            )
        decisive.append(alone)
    best = IN_CONTEXT if _best(figures) > chosen.mean else chosen.name
    return Cell(
        setting=setting,
        mode=mode,
        reasons=failing(figures),
        missing=rows.missing(decisive),
        figures=figures,
        best=best,
        best_trained=chosen.name,
        n_targets=len(rows.targets),
    )


def failing(figures: Mapping[str, float | None]) -> tuple[str, ...]:
    """Which of the five conditions do not hold, in words."""
    found: dict[str, float] = {n: x for n, x in figures.items() if x is not None}
    best, guess, rule = _best(figures), found["guess"], found["rule"]
    base, trained = found["in_context"], found["trained"]
    told, left = rule - guess, rule - best
    beats = best - max(guess, found["majority"])
    reasons = []
    if not _reaches(told, TELLS):
        reasons.append(
            f"demonstrations tell {told:.2f} points over guessing, < {TELLS:g}"
        )
    if not _reaches(beats, BEATS):
        reasons.append(
            f"the best model is {beats:+.2f} points from the better of guessing and "
            f"majority, < {BEATS:g}"
        )
    if not (_base_gains(figures) or _trained_gains(figures)):
        reasons.append(f"demonstrations matter by {_gains(found)}, < {MATTERS:g}")
    if not _reaches(-best, -CEILING):
        reasons.append(f"the best model has {best:.2f}, > {CEILING:g}")
    if not _reaches(left, HEAD_ROOM):
        reasons.append(
            f"the best model is {left:.2f} points below the rule, < {HEAD_ROOM:g}"
        )
    if not _reaches(abs(trained - base), DIFFERS):
        reasons.append(
            f"the best trained model is {trained - base:+.2f} points from the base in "
            f"context, less than {DIFFERS:g} either way"
        )
    return tuple(reasons)


def solved(records: Iterable[Record], setting: str, mode: str) -> dict[str, bool]:
    """Target → whether some model is at least `BEATS` over guessing on it."""
    rows = Rows.of(records, setting, mode)
    guess = rows.by_rule[RANDOM_GUESS]["tasks"]
    found = {}
    for target in rows.targets:
        scores = [rows.base[IN_CONTEXT]["tasks"][target]]
        scores += [model.on(target) for model in rows.models()]
        found[target] = _reaches(max(scores) - guess[target], BEATS)
    return found


def _reaches(value: float, bar: float) -> bool:
    return round(value, DIGITS_JUDGED) >= bar


def _best(figures: Mapping) -> float:
    return max(figures["in_context"], figures["trained"])


def _base_gains(figures: Mapping) -> bool:
    return _reaches(figures["in_context"] - figures["zero_shot"], MATTERS)


def _trained_gains(figures: Mapping) -> bool:
    if figures["without"] is None:
        return False
    return _reaches(figures["compared"] - figures["without"], MATTERS)


def _gains(figures: Mapping) -> str:
    words = f"{figures['in_context'] - figures['zero_shot']:.2f} points to the base"
    if "without" in figures:
        gain = figures["compared"] - figures["without"]
        words += f" and {gain:.2f} to the best trained model"
    return words
