"""One process at a time in a folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def locked(folder: Path, busy: str) -> Iterator[None]:
    """Within, no other process can lock ``folder``.

    Where it is not there it is made, and taken away if nothing is in it at the end.
    The system gives the lock up when its process ends, however it ends. Where the disk
    has no locks nobody is kept out.

    Raises:
        ValueError: another process has it; ``busy`` is the message.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(busy) from None
        except OSError:
            pass
        if not is_there(folder, handle):  # who had it has just taken it away
            raise ValueError(busy)
        yield
    finally:
        if made:
            with suppress(OSError):
                folder.rmdir()  # fails where something is in it
        os.close(handle)


def is_there(path: Path, handle: int) -> bool:
    """Whether what was opened as ``handle`` still lies at ``path``."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
