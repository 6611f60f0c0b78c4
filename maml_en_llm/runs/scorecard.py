"""The scorecard: the paper's claims C1 to C7, each against our records.

The rules were written before the numbers were seen. For every claim one difference is
primary; it decides, in the alive cells alone (`runs.alive`), at the most outer steps
for which both sides have `LEAST` training seeds. Its interval is over seeds and
targets, families as blocks (`paired_difference`).

    reproduced       the interval is above 0 (for C5 and C7: excludes 0)
    not reproduced   it is not; ``why`` says whether it leaves room for the paper's size
    not testable here   no alive cell, or no rows for it

All methods have equal outer steps and tasks per step in a primary difference, which is
what the paper's tables do as far as is known, and the budget that favours inner steps
most. Other budgets, the control with an inner rate of 0 and first order stand beside,
and decide nothing.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError
from .alive import Cell, cell_of
from .claim_rules import LEAST, RULES_OF_CLAIMS, Found
from .fragility import fragility
from .pairs import Paired, families_of, numbers
from .published import published_rows
from .record_rows import Record
from .statistics import exceeds

REPRODUCED, NOT, UNTESTABLE = "reproduced", "not reproduced", "not testable here"


@dataclass(frozen=True)
class Claim:
    """What the paper says, and the size it gives in points; None: a direction only."""

    name: str
    says: str
    size: float | None


CLAIMS = (
    Claim("C1", "better than MetaICL on unseen domains", 2.0),
    Claim("C2", "better after adaptation on the unseen task", 4.0),
    Claim("C3", "better with limited meta-training data", 2.0),
    Claim("C4", "better in a majority of the settings, direct and channel", None),
    Claim("C5", "the type of meta-training tasks matters", None),
    Claim("C6", "the optimizer matters, and shared moments help", None),
    Claim("C7", "the number of exploration tasks matters", None),
)


def scorecard(
    records: Mapping[str, Sequence[Record]], alive: Iterable[Cell]
) -> list[dict]:
    """One row per claim.

    Args:
        records: experiment → its rows: "E1" for C1 and C4, "E2" for C2, "E3" for C3,
            "E4" for C6, "E5" for C5 and C7.
        alive: the verdicts on all cells. Preliminary ones count as not alive.

    Returns rows ``{"claim", "says", "paper", "ours", "low", "high", "unit", "seeds",
    "targets", "verdict", "why", "cells", "what", "others", "harder"}``; ``others`` are
    differences that decide nothing, ``harder`` says how fragile the primary difference
    is (`fragility`), and decides nothing either. In C4 the unit is "cells", see
    `claim_rules.most_cells`.

    Raises `ValueError` for rows that do not fit each other, as `paired_difference`.
    """
    cells = [(cell.setting, cell.mode) for cell in alive if cell.alive and cell.final]
    return [_row(claim, records, cells) for claim in CLAIMS]


def differences(stored: Sequence[Mapping], fresh: Sequence[Mapping]) -> list[str]:
    """Where a stored scorecard is not what the records give."""
    found = []
    old = {row["claim"]: row for row in stored}
    for row in fresh:
        mine = old.pop(row["claim"], {})
        found += [
            f"{row['claim']}, {name}: stored {mine.get(name)}, found {value}"
            for name, value in row.items()
            if mine.get(name) != value
        ]
    return found + [f"{name}: stored, but no claim" for name in old]


def published_records(folder: Path, model: str) -> dict[str, list[Record]]:
    """Experiment → its records on one base model, of each run the newest.

    They are in ``E1.jsonl`` to ``E5.jsonl``; what is not there is left out.
    """
    found = {}
    for name in sorted({needs for needs, _ in RULES_OF_CLAIMS.values()}):
        mine = published_rows(name, model, folder)
        if mine:
            found[name] = mine
    return found


def published_cells(folder: Path, model: str) -> list[Cell]:
    """The verdicts in ``conditions-<model>.json``; none where it is not there.

    Raises `DataError` where a verdict is not what its figures give.
    """
    path = folder / f"conditions-{model}.json"
    if not path.is_file():
        return []
    try:
        return [cell_of(row) for row in json.loads(path.read_bytes())["cells"]]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as bad:
        raise DataError(
            f"{path}: expected verdicts on cells, found damaged ones "
            f"({' '.join(str(bad).split())[:240]}); judge the cells anew"
        ) from bad


def _row(claim: Claim, records: Mapping, cells: Sequence) -> dict:
    needs, rule = RULES_OF_CLAIMS[claim.name]
    row = dict(claim=claim.name, says=claim.says, paper=claim.size)
    row |= dict.fromkeys(("ours", "low", "high"), None)
    row |= dict(unit="cells" if claim.name == "C4" else "points", seeds=0, targets=0)
    if not cells:
        return row | _untestable("no cell is alive with a final verdict")
    rows = records.get(needs, ())
    if not rows:
        return row | _untestable(f"no records of {needs}")
    found = rule(list(rows), list(cells))
    beside = [other.as_row() for other in found.others]
    primary = found.primary
    if primary is None:
        lacking = found.lacking or (
            f"no alive cell has {LEAST[claim.name]} training seeds of both sides"
        )
        return row | _untestable(lacking) | dict(others=beside)
    row |= numbers(primary.interval) | dict(found.counts)
    verdict, why = _verdict(claim, found)
    return row | dict(
        verdict=verdict,
        why=why,
        cells=primary.as_row()["cells"],
        what=primary.what,
        others=beside,
        harder=None if found.counts else _harder(primary),  # None: counted in cells
    )


def _harder(primary: Paired) -> dict:
    left, right = primary.tables
    return fragility(left, right, families_of(left)).as_row()


def _verdict(claim: Claim, found: Found) -> tuple[str, str]:
    assert found.primary is not None
    gap = found.primary.interval
    if found.holds is not None:
        return (REPRODUCED if found.holds else NOT), found.why
    holds = gap.decided if found.either_way else exceeds(gap.low)
    words = f"{gap.mean:+.1f} points, {gap.low:+.1f} to {gap.high:+.1f}"
    smaller = claim.size is not None and gap.high < claim.size
    if holds:
        less = f"less than the paper's {claim.size:+g}" if smaller else ""
        return REPRODUCED, _joined(words, less, found.why)
    if not exceeds(gap.high):
        words += ": the other way"
    elif claim.size is None:
        words += ": no effect shown"
    elif smaller:
        words += f": less than the paper's {claim.size:+g}"
    else:
        words += f": neither 0 nor the paper's {claim.size:+g} is excluded"
    return NOT, _joined(words, found.why)


def _joined(*words: str) -> str:
    return "; ".join(word for word in words if word)


def _untestable(why: str) -> dict:
    return dict(verdict=UNTESTABLE, why=why, cells=[], what="", others=[], harder=None)
