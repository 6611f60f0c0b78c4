"""Logs of one JSON object per line, to which several processes may add."""

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ..errors import DataError, shown

BEGINNING = b'{"'  # of a row, by which a torn one is known


def read_rows(log: str | Path) -> list[dict]:
    """The rows of a JSON-lines log; nothing where there is none yet.

    A last line that was being written when its writer was stopped is left out, and left
    alone. Raises `ValueError` where the file is no log: a line that is not an object.
    """
    log = Path(log)
    if not log.exists():
        return []
    if not log.is_file():
        raise ValueError(f"{log}: expected a file, found none; name another file")
    *lines, last = log.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, 1):
        row = _row(line)
        if row is None:
            raise _no_log(log, number, line)
        rows.append(row)
    row = _row(last)
    if row is not None:  # stopped just before the end of the line
        rows.append(row)
    elif last and not last.startswith(BEGINNING[: len(last)]):
        raise _no_log(log, len(lines) + 1, last)
    return rows


def append_row(log: str | Path, row: Mapping, key=None) -> None:
    """Add a row to a JSON-lines log, under a lock.

    ``key(row)`` names a row: one whose key is there already is not added again, so that
    two writers do not double it. A torn last line is cut off first. A file that is no
    log is refused as by `read_rows`, and left as it is.
    """
    log = Path(log)
    with log.open("ab", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
        there = read_rows(log)
        if key is not None and key(row) in map(key, there):
            return
        text = f"{json.dumps(row)}\n".encode()
        whole = log.read_bytes()
        end = whole.rfind(b"\n") + 1
        if _row(whole[end:]) is not None:
            text, end = b"\n" + text, len(whole)
        elif whole[end:]:
            file.truncate(end)
        try:
            _write(file, text)
        except BaseException as error:
            with suppress(OSError):
                file.truncate(end)
            if isinstance(error, OSError) and error.strerror:
                raise OSError(error.errno, error.strerror, str(log)) from error
            raise


def _write(file, text: bytes) -> None:
    while text:
        text = text[file.write(text) :]
    os.fsync(file.fileno())


def _row(line: bytes) -> dict | None:
    """The object that a line of a log holds, or None."""
    try:
        row = json.loads(line, object_pairs_hook=_each_once, parse_constant=_infinite)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _each_once(pairs: list) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key twice")
    return found


def _infinite(name: str) -> float:
    """A held loss may be infinite, see `Chosen`; NaN is nothing that a row has."""
    if name == "NaN":
        raise ValueError(name)
    return float(name)


def _no_log(log: Path, number: int, line: bytes) -> DataError:
    return DataError(
        f"{log}:{number}: expected a log of one JSON object per line, its keys each "
        f"once and no NaN, found "
        f"{shown(line)}; remove the line, or name another file"
    )
