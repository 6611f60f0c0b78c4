"""Locks on runs: two processes on one log do not compute the same run.

A run's lock is on one byte of a file beside the log, at a place that the run's key
decides. The system gives it up when its process ends, however it ends, so that a killed
process leaves no lock behind. Threads of one process share their locks.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..locks import is_there
from ..provenance import digest

PLACE_DIGITS = 7  # hexadecimal digits of a place


class RunLocks:
    """Locks on the runs of one log."""

    def __init__(self, log: Path):
        self._path = log.with_name(f".{log.name}.locks")
        self._file = self._open()

    def take(self, key: tuple, wait: bool = False) -> bool:
        """Lock a run; False where another process has it.

        With ``wait`` until that process gives it up. Where the disk has no locks every
        run is free.
        """
        how = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
        try:
            fcntl.lockf(self._file, how, 1, _place(key))
            while not is_there(self._path, self._file):  # taken away by its last user
                os.close(self._file)
                self._file = self._open()
                fcntl.lockf(self._file, how, 1, _place(key))
        except (BlockingIOError, PermissionError):
            return False
        except OSError:
            return True
        return True

    def give_up(self, key: tuple) -> None:
        """Let others have the run."""
        with suppress(OSError):
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _place(key))

    def close(self) -> None:
        """Give up all locks; the last to do so takes the file away."""
        with suppress(OSError):
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_there(self._path, self._file):
                self._path.unlink()
        os.close(self._file)

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)


@contextmanager
def locks_on(log: Path) -> Iterator[RunLocks]:
    """Locks on the runs of a log, given up at the end."""
    locks = RunLocks(log)
    try:
        yield locks
    finally:
        locks.close()


def clear_locks(log: Path) -> None:
    """Take away the file that processes which were stopped have left, if none has a
    lock on it."""
    with suppress(OSError):
        if log.with_name(f".{log.name}.locks").exists():
            RunLocks(log).close()


def _place(key: tuple) -> int:
    return int(digest(*map(str, key))[:PLACE_DIGITS], 16)
