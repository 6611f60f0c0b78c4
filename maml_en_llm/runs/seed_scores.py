"""The scores of one method, by training seed, of its records."""

from collections.abc import Iterable, Mapping

from ..errors import check_integer, shown
from .comparable import check_comparable


def scores_of(records: Iterable[Mapping]) -> dict[int | None, dict[str, float]]:
    """Training seed → target → score, of the records of one method, setting and mode.

    The seed of a record without training (no ``"budget"``) is ``None``. Raises
    `ValueError` for what is no record, for two of a seed, and for two methods, settings
    or modes, or ways of asking (`check_comparable`).
    """
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
