"""The scores of one method by training seed: of a log's records, or of evaluations."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import check_integer, shown
from .comparable import check_comparable

BY_SEED = "{training seed: record}"
# of how an evaluation asked: the same for all training seeds of a method
OWN_WAY = ("mode", "k", "instructions", "pmi", "random_labels", "adapt")


def scores_of(
    records: Iterable[Mapping] | Mapping[int | None, Mapping],
) -> dict[int | None, dict[str, float]]:
    """Training seed → target → score, of the records of one method, setting and mode.

    ``records``: those of a log, of which each names its seed; or training seed → record
    of `evaluate`, also as the command of that name wrote it. The seed of a model that
    was not trained is ``None``: of a log's record without ``"budget"``.

    Raises `ValueError` for what is no record, for two of a seed, and for two methods,
    settings or modes, or ways of asking (`check_comparable`).
    """
    if isinstance(records, Mapping):
        return _of_evaluations(records)
    if not isinstance(records, Iterable):
        raise ValueError(f"records: expected a list of records, found {shown(records)}")
    records = list(records)
    found: dict[int | None, dict[str, float]] = {}
    first = ""
    for n, record in enumerate(records, 1):
        where, whole = f"records: row {n}", isinstance(record, Mapping)
        if not whole or not isinstance(record.get("tasks"), Mapping):
            expected = "a record with its tasks' scores by name"
            raise ValueError(f"{where}: expected {expected}, found {shown(record)}")
        if is_evaluation(record):
            raise ValueError(
                f"{where}: expected a record that says its training seed, found one of "
                f"`evaluate`, which does not; pass {BY_SEED}"
            )
        trained = "budget" in record
        seed = check_integer(f"{where}: seed", record.get("seed")) if trained else None
        of = shown(tuple(map(record.get, ("method", "setting", "mode"))))
        if seed in found or of != (first := first or of):
            two = f"two of seed {shown(seed)}" if seed in found else f"{first} and {of}"
            raise ValueError(
                f"records: expected one per training seed, found {two}; choose those "
                "of one method, setting and mode, or pass {seed: {target: score}}"
            )
        found[seed] = dict(record["tasks"])
    check_comparable("records", records)
    return found


def is_evaluation(record: Any) -> bool:
    """Whether it is a record of `evaluate`: a row of numbers per target."""
    if not isinstance(record, Mapping):
        return False
    tasks, asked = record.get("tasks"), record.get("protocol")
    if not (isinstance(tasks, Mapping) and tasks and isinstance(asked, Mapping)):
        return False
    return all(isinstance(row, Mapping) and "mean" in row for row in tasks.values())


def records_in(given) -> list[Mapping]:
    """The records of a log, or of `evaluate`, in what scores were given as."""
    rows = given.values() if isinstance(given, Mapping) else given
    if isinstance(given, Mapping) and not any(map(is_evaluation, rows)):
        return []
    return list(rows)


def _of_evaluations(records: Mapping) -> dict[int | None, dict[str, float]]:
    first: dict[str, Any] = {}
    for seed, record in records.items():
        where = f"records: seed {shown(seed)}"
        if not is_evaluation(record):
            raise ValueError(
                f"{where}: expected a record of `evaluate`, found {shown(record)}"
            )
        if seed is not None:
            check_integer(where, seed)
        for name in OWN_WAY:
            # older records lack what was not asked for
            value = record["protocol"].get(name, False)
            if first.setdefault(name, value) != value:
                raise ValueError(
                    f"{where}: expected one way of asking, found {name} "
                    f"{shown(first[name])} and {shown(value)}; choose those of one"
                )
    _check_own_weights(records)
    check_comparable("records", records.values())
    return {
        seed: {name: row["mean"] for name, row in record["tasks"].items()}
        for seed, record in records.items()
    }


def _check_own_weights(records: Mapping) -> None:
    """Refuse one model under two seeds; its scores would pass for two trainings."""
    seed_of: dict[str, Any] = {}
    for seed, record in records.items():
        weights = str(record.get("weights", seed))  # Python's records lack them
        if weights in seed_of:
            raise ValueError(
                f"records: seed {shown(seed)}: expected a model of its own, found the "
                f"weights of seed {shown(seed_of[weights])}; give each training once"
            )
        seed_of[weights] = seed
