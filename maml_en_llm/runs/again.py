"""Records computed again: the run behind a record, and a few chosen anew by date."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from ..errors import check_integer, check_number, shown
from ..evaluation import Adaptation
from ..models import as_device
from ..optimizers import OPTIMIZERS
from ..provenance import digest, filled
from ..training import TrainConfig
from .adapted import Chosen
from .compare import Difference, compare, inconsistencies
from .costs import units_of_group
from .inputs import inputs_of
from .log import reproduce
from .record_rows import checked_rows, read_log, read_table
from .rows import row_of
from .run import Run

# Points by which a mean may differ. Another processor rounds differently, and training
# amplifies it; a model that was not trained only turns answers that were near a tie.
TOLERANCE, TOLERANCE_UNTRAINED = 3.0, 0.5
SECONDS = 40.0  # of one core, which a record that is checked takes at most


def run_of(record: Mapping) -> Run:
    """The run that a record is of. Raises `ValueError` for no record of a run."""
    try:
        parts = {n: x for n, x in record["run"].items() if n != "type"}
        config = {n: x for n, x in parts.pop("config").items() if n != "type"}
        evaluate = dict(parts.pop("evaluate", {}))
        if "adapt" in evaluate:
            evaluate["adapt"] = _adaptation(evaluate["adapt"])
        own = TrainConfig(**filled(config, TrainConfig(**config)))
        seeds = tuple(parts.pop("seeds"))
        return Run(config=own, seeds=seeds, evaluate=evaluate, **parts)
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"record: expected one of a run, found {shown(record)} ({error})"
        ) from error


def _adaptation(said: Mapping):
    parts = {n: x for n, x in said.items() if n != "type"}
    if said["type"] == "Chosen":
        return Chosen(**parts)
    rule = {n: x for n, x in parts.pop("optimizer").items() if n != "type"}
    kinds = {kind.__name__: kind for kind in OPTIMIZERS.values()}
    kind = kinds[said["optimizer"]["type"]]
    return Adaptation(optimizer=kind(**rule), **parts)


def stored_records(folder: str | Path) -> Iterator[tuple[Path, Mapping]]:
    """All records below a folder of results, with the file that each is in.

    Raises `DataError` naming the file for a row that is no record of a run.
    """
    for path in sorted(Path(folder).glob("*.jsonl")):
        if not path.name.endswith(".failed.jsonl"):
            yield from ((path, row) for row in read_log(path))
    path = Path(folder) / "baselines.json"
    if path.is_file():
        yield from ((path, row) for row in read_table(path))


@dataclass
class Check:
    """What came of checking: the records, what differs, and how many were passed over
    since they are of other weights or examples than those here."""

    checked: list[Mapping] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    of_others: int = 0


def compute_again(
    records: Iterable[Mapping],
    count: int,
    *,
    date: str | None = None,
    device: str = "cpu",
    seconds: float = SECONDS,
) -> Check:
    """Compute ``count`` of the records again, others on another day, and compare.

    Every record is looked at for numbers that do not go together (`inconsistencies`).
    Those of base weights or examples that are no longer here cannot be computed again.

    Args:
        date: a day as 2026-11-26, which decides which; default: today's in UTC.
        seconds: of one core that a record takes at most.

    Raises:
        DataError: a row that is no record of a run, named by its number.
    """
    count = check_integer("count", count, 1)
    check_number("seconds", seconds)
    as_device(device)  # one that is not here is refused now
    date = _day(date)
    records = checked_rows("records", records)
    found = Check()
    for record in records:
        found.differences += inconsistencies(record)
    for record in sorted(records, key=lambda record: digest(date, record["hash"])):
        if len(found.checked) == count:
            break
        run = run_of(record)
        if units_of_group([run]) > seconds:
            continue
        if not is_here(run, record):
            found.of_others += 1
            continue
        found.checked.append(record)
        again = _again(run, record, device)
        found.differences += [each for each in again if each not in found.differences]
    return found


def _day(date: str | None) -> str:
    if date is None:
        return datetime.now(UTC).date().isoformat()
    try:
        return datetime.fromisoformat(date).date().isoformat()
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"date: expected a day, such as '2026-11-26', found {shown(date)}; None "
            "for today"
        ) from error


def is_here(run: Run, record: Mapping) -> bool:
    """Whether a record's base weights and examples are what is here under their names.

    A base model that is not shipped may not be here at all.
    """
    try:
        inputs = inputs_of(run)
        further = record.get("further", inputs.further)  # older records have none
        return further == inputs.further and record.get("inputs") == inputs.hash
    except ValueError:
        return False


def _again(run: Run, record: Mapping, device: str) -> list[Difference]:
    here = replace(run, config=replace(run.config, device=device))
    with tempfile.TemporaryDirectory() as folder:
        fresh = reproduce([here], Path(folder) / "log")
    return compare([record], fresh, tolerance_of(run))


def tolerance_of(run: Run) -> float:
    """Points by which a mean may differ on another machine."""
    row = row_of(run.name)
    moves = run.training is not None or "adapt" in run.evaluation
    return TOLERANCE if row is not None and moves else TOLERANCE_UNTRAINED
