"""Stored records against records computed again."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ..errors import check_number, check_once
from .record_rows import COUNTS, TOTALS, checked_rows, lacking_of_scores, seal

ROUNDING = 0.011  # points: stored scores have two digits
NATS = 0.04  # per point: by how much held NLL may differ where a mean may by a point


@dataclass(frozen=True)
class Difference:
    """One number of a record that is not what it should be."""

    run: str
    what: str
    stored: object
    found: object

    def __str__(self) -> str:
        return f"{self.run}: {self.what}: stored {self.stored}, found {self.found}"


def compare(
    stored: Iterable[Mapping],
    found: Iterable[Mapping],
    tolerance: float,
) -> list[Difference]:
    """What differs between records of the same runs, paired by hash.

    Args:
        tolerance: points by which a total may differ: another processor rounds
            differently, and training amplifies it. The score of one target may by 8
            times as much, since one answer weighs more there than in the mean.

    A record of ``found`` that ``stored`` lacks is a difference; one of ``stored`` that
    was not computed again is none. Stored totals have to be the means of the stored
    scores whatever was computed, so that no single number can be changed unseen.

    Raises:
        DataError: a row that is no record, such as one without hash or scores; two
            stored records of one hash.
    """
    tolerance = check_number("tolerance", tolerance)
    known = checked_rows("stored", stored, lacking_of_scores)
    check_once("stored", [record["hash"] for record in known], "hash")
    by_hash = {record["hash"]: record for record in known}
    differences = []
    for fresh in checked_rows("found", found, lacking_of_scores):
        name = run_name(fresh)
        old = by_hash.get(fresh["hash"])
        if old is None:
            differences.append(Difference(name, "record", None, fresh["hash"]))
            continue
        differences += inconsistencies(old)
        differences += _numbers(name, old, fresh, TOTALS, tolerance)
        differences += _numbers(
            name, old["tasks"], fresh["tasks"], fresh["tasks"], 8 * tolerance
        )
        held = (old.get("held") or {}, fresh.get("held") or {})
        differences += _numbers(name, *held, ("nll",), NATS * tolerance)
        spent = (old.get("budget") or {}, fresh.get("budget") or {})
        differences += _numbers(name, *spent, COUNTS, 0.0)
        if set(old["tasks"]) - set(fresh["tasks"]):
            lost = sorted(set(old["tasks"]) - set(fresh["tasks"]))
            differences.append(Difference(name, "tasks", lost, None))
    return differences


def inconsistencies(record: Mapping) -> list[Difference]:
    """Where a record's totals are not the means of its own scores, or anything in it is
    not as it was when it was made."""
    tasks = record["tasks"]
    found = []
    if "seal" in record and record["seal"] != seal(record):
        found.append(Difference(run_name(record), "seal", record["seal"], seal(record)))
    groups = {"mean": list(tasks.values())}
    groups["unseen_mean"] = [tasks[name] for name in record["unseen"] if name in tasks]
    for what, scores in groups.items():
        mean = fmean(scores) if scores else None
        if not _close(record.get(what), mean, ROUNDING):
            found.append(Difference(run_name(record), what, record.get(what), mean))
    return found


def run_name(record: Mapping) -> str:
    """A record in words: method, setting, mode, training seed."""
    parts: Sequence[str] = ("method", "setting", "mode", "seed")
    return ", ".join(str(record.get(part, "?")) for part in parts)


def _numbers(name, old: Mapping, new: Mapping, keys, tolerance) -> list[Difference]:
    return [
        Difference(name, key, old.get(key), new.get(key))
        for key in keys
        if not _close(old.get(key), new.get(key), tolerance)
    ]


def _close(a, b, tolerance: float) -> bool:
    if a is None or b is None:
        return a is b
    return abs(a - b) <= tolerance
