"""The published records of an experiment, and how they were made."""

import os
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import check_number, shown
from .log import is_current
from .record_files import record_file
from .record_rows import Record, checked_rows, read_log

MODEL_OF_RECORDS = "mini-base"
NAME_OF_LOG = re.compile(r"[\w.-]{1,100}")
NAMED = 3  # commands, of many
COLUMNS = 79


def record_folder(records: str | Path | None = None) -> Path:
    """The folder of run records that is named; None: that of the published ones.

    Raises `ValueError` for what is no folder.
    """
    if records is None:
        return record_file(MODEL_OF_RECORDS).parent
    named = isinstance(records, (str, Path)) and records != ""
    if not (named and os.path.isdir(records)):
        raise ValueError(
            f"records: expected a folder of records, found {shown(records)}; "
            "leave it None for those of the package"
        )
    return Path(records)


def published_rows(
    experiment: str, model: str = MODEL_OF_RECORDS, folder: str | Path | None = None
) -> list[Record]:
    """The records of ``experiment`` on one base model, of each run the newest.

    ``folder``: of ``<experiment>.jsonl``; None: where the published records are. An
    empty list where there is no such file.

    Raises `ValueError` for what is no folder or no name of an experiment, and
    `DataError` naming file and line for a row that is no record.
    """
    folder = record_folder(folder)
    if not isinstance(experiment, str) or not NAME_OF_LOG.fullmatch(experiment):
        raise ValueError(
            f"experiment: expected a name, such as 'E1', found {shown(experiment)}"
        )
    rows = {row["hash"]: row for row in read_log(folder / f"{experiment}.jsonl")}
    return [r for r in rows.values() if r["run"]["config"].get("model") == model]


def made_by(rows: Iterable[Record]) -> list[str]:
    """Lines on how records were made: when, on what, in how long, by which command.

    They also say how many are of the code and the torch that are here; of many commands
    the first few are named. Longer lines than a page holds are folded, between words.
    Raises `DataError` for a row that is no record, `ValueError` for no number of
    seconds.
    """
    rows = checked_rows("rows", rows)
    if not rows:
        return ["no records"]
    made = [row["provenance"] for row in rows]
    dates = sorted(about["date"][:10] for about in made)
    when = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    devices = dict.fromkeys(about.get("accelerator", about["device"]) for about in made)
    hours = _seconds(rows) / 3600
    current = sum(map(is_current, rows))
    lines = [
        f"{len(rows)} records of {when}, {', '.join(devices)}, {hours:.1f} hours of "
        "one core",
        f"{current} by this torch, and this code or code alike on a sample; "
        f"{len(rows) - current} by older",
    ]
    commands = list(dict.fromkeys(about["command"] for about in made))
    if len(commands) > NAMED + 1:  # a line in place of one would save none
        left = len(commands) - NAMED
        commands[NAMED:] = [f"{left} more commands, in the records' provenance"]
    how: dict[str, Any] = dict(subsequent_indent="    ", break_on_hyphens=False)
    how |= dict(break_long_words=False)
    told = [textwrap.wrap(line, COLUMNS, **how) for line in lines + commands]
    return [line for lines in told for line in lines]


def _seconds(rows: Iterable[Record]) -> float:
    """Of one core: what was asked, and each training once that several rows share."""
    asked, trained = 0.0, {}
    for n, row in enumerate(rows, 1):
        asked += check_number(f"rows: row {n}: asked_seconds", row["asked_seconds"])
        run = row["run"]
        what = (row["method"], run["config"], run.get("train"), row.get("budget"))
        spent = check_number(f"rows: row {n}: seconds", row.get("seconds", 0.0))
        trained[repr(what)] = spent
    return asked + sum(trained.values())
