"""What a row has to hold to be a record of a run; one that does not is named."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import DataError, listed, shown
from ..provenance import digest
from .json_lines import read_rows

Record = Mapping

TOTALS = ("mean", "worst", "unseen_mean", "unseen_worst")
COUNTS = ("outer_steps", "gradients")  # of a budget: the same on every machine
MOST_POINTS = 100
# what every record of a run holds; where targets were not looked at the mean is null
HOLDS: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("hash", "inputs", "method", "setting", "mode"), str),
    **{"seed": int, "run": dict, "tasks": dict, "unseen": list, "failed": dict},
    **{"mean": (float, int, type(None)), "asked_seconds": (float, int)},
    **{"provenance": dict},
}
SAYS = ("date", "device", "command")  # of where a record is from


def read_log(log: str | Path) -> list[dict]:
    """The records of a log, which is left as it is; see `read_rows`.

    Raises `DataError` naming file and line for a row that is no record of a run, and
    for one that is not as it was sealed. Rows of older logs have no seal.
    """
    rows = read_rows(log)
    for number, row in enumerate(rows, 1):
        if expected := lacking_of_run(row):
            raise DataError(
                f"{log}:{number}: expected {expected}, found {shown(row)}; remove the "
                "line, or name another file"
            )
        _check_seal(f"{log}:{number}", row)
    return rows


def read_table(path: Path) -> list[Record]:
    """The records in one file, as `reproduce` writes it; `DataError` names the file."""
    try:
        rows = json.loads(path.read_bytes())["rows"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path}: expected a file of records as reproduce writes it, found a "
            f"damaged one ({shown(str(error))}); remove it, and make it again"
        ) from error
    found = checked_rows(str(path), rows)
    for number, row in enumerate(found, 1):
        _check_seal(f"{path}: row {number}", row)
    return found


def seal(record: Mapping) -> str:
    """A hash of all that a record holds."""
    parts = {name: value for name, value in record.items() if name != "seal"}
    return digest(json.dumps(parts, sort_keys=True))


def _check_seal(where: str, row: Mapping) -> None:
    found = seal(row)
    if row.get("seal", found) != found:
        raise DataError(
            f"{where}: expected a record as it was made, with seal {found}, found one "
            f"that was changed since, with seal {shown(row['seal'])}; take it from "
            "where it is whole, or remove it, and it is computed again"
        )


def checked_rows(
    argument: str, rows: Iterable, lacking: Callable[[Any], str] | None = None
) -> list[Record]:
    """``rows`` as a list, each looked at.

    ``lacking(row)``: what a row would need; default: `lacking_of_run`. Raises
    `DataError` for another thing than rows, and for one that lacks anything.
    """
    if not isinstance(rows, Iterable):
        raise DataError(f"{argument}: expected a list of records, found {shown(rows)}")
    found = list(rows)
    for number, row in enumerate(found, 1):
        if expected := (lacking or lacking_of_run)(row):
            raise DataError(
                f"{argument}: row {number}: expected {expected}, found {shown(row)}"
            )
    return found


def lacking_of_run(row: Any) -> str:
    """What a row would need to be a record of a run; nothing where it is one."""
    if not isinstance(row, Mapping):
        return "a record of a run"
    lacking = [n for n, kind in HOLDS.items() if not isinstance(row.get(n, ...), kind)]
    if lacking:
        return f"a record of a run with its {listed(lacking)}"
    if not isinstance(row["run"].get("config"), Mapping):
        return "a record of a run with its configuration"
    if not all(isinstance(row["provenance"].get(name), str) for name in SAYS):
        return f"a record that says its {listed(SAYS)} in 'provenance'"
    return lacking_of_scores(row)


def lacking_of_scores(row: Any) -> str:
    """What a row would need for its numbers to be compared with another's."""
    whole = isinstance(row, Mapping) and isinstance(row.get("hash"), str)
    whole = whole and row["hash"].isascii()
    if not whole or not _are_scores(row) or "unseen" not in row:
        return (
            "a record with its hash, its tasks' scores (0 to 100 points) and which of "
            "them are unseen"
        )
    unseen = row["unseen"]
    names = isinstance(unseen, Collection) and not isinstance(unseen, str)
    if not names or not all(isinstance(name, str) for name in unseen):
        return "a list of names in 'unseen'"
    for part, numbers in (("", TOTALS), ("held", ("nll",)), ("budget", COUNTS)):
        found = (row.get(part) or {}) if part else row
        for name in numbers:
            if not isinstance(found, Mapping) or not _fits(found.get(name)):
                return f"a number, or null, in {part or 'the record'}: {name}"
    return ""


def _are_scores(row: Mapping) -> bool:
    """Whether its tasks have scores by name; none where there is no mean of them."""
    tasks = row.get("tasks")
    if not isinstance(tasks, Mapping) or not (tasks or row.get("mean", 0) is None):
        return False
    named = all(isinstance(name, str) for name in tasks)
    return named and all(
        isinstance(score, int | float) and 0 <= score <= MOST_POINTS
        for score in tasks.values()
    )


def _fits(value) -> bool:
    """Whether it is a number that a float can hold, or null."""
    if isinstance(value, int):
        return abs(value) < 2**63
    return isinstance(value, float | None)
