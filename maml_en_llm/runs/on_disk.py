"""How a folder on this disk stands, so that what has changed in it is read again."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ..tasks.settings import FILE

DiskState = tuple[tuple[str, int, int, int], ...]


def state_of(place: str | Path) -> DiskState:
    """Paths, sizes, times and numbers of the files of a folder and of its sub-folders.

    Of a file its own; nothing for a name that is not on this disk.
    """
    return tuple(_files(str(place), depth=2))


def state_of_benchmark(source: str) -> DiskState:
    """The same of a benchmark, with what may lie beside its folder."""
    beside = Path(source).parent / FILE
    return state_of(source) + (state_of(beside) if os.path.isdir(source) else ())


def _files(place: str, depth: int) -> Iterator[tuple[str, int, int, int]]:
    try:
        about = os.stat(place)  # of what a link leads to
        if not stat.S_ISDIR(about.st_mode):
            yield place, about.st_size, about.st_mtime_ns, about.st_ino
            return
        names = sorted(os.listdir(place)) if depth else []
    except (OSError, ValueError):
        return
    for name in names:
        yield from _files(os.path.join(place, name), depth - 1)
