"""Which runs failed, and why: a file beside the log."""

import warnings
from datetime import UTC, datetime
from pathlib import Path

from ..provenance import plain
from .json_lines import append_rows
from .run import Run

REASON = 400  # characters of a failed run's error


def failures_of(log: str | Path) -> Path:
    """The file beside a log that says which runs failed, and why."""
    log = Path(log)
    return log.with_name(f"{log.name.removesuffix('.jsonl')}.failed.jsonl")


def note_failure(log: Path, run: Run, error: Exception) -> str:
    """Note down why a run failed, and say it."""
    message = f"{type(error).__name__}: {error}"[:REASON]
    warnings.warn(f"run {run.name!r} failed: {message}", stacklevel=4)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    row = dict(hash=run.hash, error=message, date=date, run=plain(run))
    append_rows(failures_of(log), [row])
    return f"{run.name}, {run.config.setting}: {message}"
