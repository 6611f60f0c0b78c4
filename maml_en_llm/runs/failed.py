"""Which runs failed, and why: a file beside the log."""

import warnings
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from ..errors import listed, shown
from ..provenance import check_file, plain
from .json_lines import append_row, read_rows
from .run import Run

REASON = 400  # characters of a failed run's error


def failures_of(log: str | Path) -> Path:
    """The file beside a log that says which runs failed, and why."""
    log = Path(log)
    return log.with_name(f"{log.name.removesuffix('.jsonl')}.failed.jsonl")


def check_failures(log: str | Path) -> None:
    """`ValueError` where the file beside a log cannot take failures."""
    path = failures_of(log)
    read_rows(check_file(path, f"log: {path.name}"))


def warn_of_failures(log: str | Path, runs: Iterable[Run]) -> None:
    """Say which of the runs that are to be computed have failed before, and why."""
    try:
        rows = read_rows(failures_of(log))
    except (OSError, ValueError):  # said once there is a failure to note
        return
    why = {row.get("hash"): row.get("error") for row in rows}  # the last of each
    again = [run for run in runs if run.hash in why]
    if again:
        names = listed(dict.fromkeys(run.name for run in again))
        warnings.warn(
            f"log: {len(again)} of the runs to compute failed before ({names}), the "
            f"first with {shown(why[again[0].hash])}, see {failures_of(log)}; they are "
            "tried again",
            stacklevel=3,
        )


def note_failure(log: Path, run: Run, error: Exception) -> str:
    """Note down why a run failed, and say it. Where it cannot be noted it is said."""
    message = f"{type(error).__name__}: {error}"[:REASON]
    warnings.warn(f"run {shown(run.name)} failed: {message}", stacklevel=4)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    row = dict(hash=run.hash, error=message, date=date, run=plain(run))
    try:
        append_row(failures_of(log), row)
    except (OSError, ValueError) as unusable:  # the other runs can do without it
        warnings.warn(f"the failure is not noted down: {unusable}", stacklevel=4)
    return f"{run.name}, {run.config.setting}: {message}"
