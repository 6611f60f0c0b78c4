"""One process at a time in a folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def locked(folder: Path, busy: str) -> Iterator[None]:
    """Within, no other process can lock ``folder``.

    It is made if it is not there, and taken away again if nothing is in it at the end.
    The system gives the lock up when its process ends, however it ends. Where the disk
    has no locks nobody is kept out.

    Raises:
        ValueError: another process has it; ``busy`` is the message.
    """
    handle = _open(folder)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(busy) from None
        except OSError:
            pass
        if not _is_there(folder, handle):  # who had it has just taken it away
            raise ValueError(busy)
        yield
    finally:
        with suppress(OSError):
            folder.rmdir()  # fails where something is in it
        os.close(handle)


def _open(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    return os.open(folder, os.O_RDONLY)


def _is_there(folder: Path, handle: int) -> bool:
    try:
        return os.path.samestat(folder.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
