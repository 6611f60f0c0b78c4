"""The files that a selection of tasks needs, and where each of them was found."""

import gzip
import os
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError
from ..protocol import DEMONSTRATION_FILE, ENDINGS, TEST_FILES, TRAIN_FILES
from .settings import Selection

_PIECE = 2**20  # bytes that are compared at once


class File(NamedTuple):
    """One file of a task by the names that it may have, best first.

    ``part`` is "train", "test" or the seed of demonstrations.
    """

    task: str
    part: str | int
    names: tuple[str, ...]

    @property
    def role(self) -> str:
        """What the task is that the file belongs to: "train", or a target, "test"."""
        return "train" if self.part == "train" else "test"


@dataclass(frozen=True)
class Fetched:
    """Files on this machine: where each one lies, or None where the source lacks it.

    Of a hub source also its commit and the sha256 of each file, by its name.
    """

    paths: Mapping[File, Path | None]
    revision: str = ""
    checksums: Mapping[str, str] = field(default_factory=dict)

    @property
    def lacking(self) -> list[File]:
        """Files that the source lacks."""
        return [file for file, path in self.paths.items() if path is None]

    @property
    def missing(self) -> tuple[str, ...]:
        """Tasks that lack a file, those that are trained on first."""
        return tuple(dict.fromkeys(file.task for file in self.lacking))

    def lack(self, role: str) -> frozenset[str]:
        """Tasks that lack a file for "train" or "test", where demonstrations count."""
        return frozenset(file.task for file in self.lacking if file.role == role)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Demonstration seeds of which no file is lacking."""
        lacking = {file.part for file in self.lacking}
        found = [part for _, part, _ in self.paths if isinstance(part, int)]
        return tuple(seed for seed in dict.fromkeys(found) if seed not in lacking)


def needed(selection: Selection, seeds: Sequence[int]) -> list[File]:
    """Every file of a selection, once."""
    train = [
        File(task, "train", _file_names(task, TRAIN_FILES)) for task in selection.train
    ]
    test = []
    for task in selection.test:
        test.append(File(task, "test", _file_names(task, TEST_FILES)))
        test += [File(task, seed, _shots(task, seed)) for seed in seeds]
    return train + test


def find(folder: Path, files: Iterable[File]) -> Fetched:
    """Look for files in a folder.

    `DataError` names what has a file's name but is a folder, a pipe or a broken link.
    """
    return Fetched({file: _first(folder, file.names) for file in files})


def seeds_in(folder: Path, task: str) -> set[int]:
    """Seeds of the demonstrations that a task has in a folder."""
    stem = DEMONSTRATION_FILE.format(task=re.escape(task), seed="(0|[1-9][0-9]{0,18})")
    pattern = re.compile(stem + rf"({'|'.join(map(re.escape, ENDINGS))})")
    try:
        names = os.listdir(folder / task)
    except OSError:
        return set()
    return {int(found[1]) for found in map(pattern.fullmatch, names) if found}


def _first(folder: Path, names: Iterable[str]) -> Path | None:
    for name in names:
        path = folder / name
        if os.path.isfile(path):  # False, too, for a name that cannot be
            _check_packed(path)
            return path
        if os.path.lexists(path):
            raise DataError(
                f"{path}: expected a file of examples, found a folder, a pipe or a "
                "link that leads to no file; put the file there, or remove it"
            )
    return None


def _check_packed(path: Path) -> None:
    """Raise `DataError` where a packed file beside this one holds something else."""
    packed = path.with_name(f"{path.name}.gz")
    if path.suffix == ".gz" or not packed.is_file():
        return
    with suppress(OSError, EOFError, zlib.error):  # damaged: not the same
        if _holds_the_same(packed, path):
            return
    raise DataError(
        f"{path}: expected the content of {packed.name} beside it, found another; "
        "keep one of the two"
    )


def _holds_the_same(packed: Path, path: Path) -> bool:
    """Compared piece by piece: a small packed file may unpack to a very large one."""
    with gzip.open(packed, "rb") as unpacked, path.open("rb") as plain:
        while piece := plain.read(_PIECE):
            if unpacked.read(len(piece)) != piece:
                return False
        return not unpacked.read(1)


def _shots(task: str, seed: int) -> tuple[str, ...]:
    return _file_names(task, [DEMONSTRATION_FILE], seed=seed)


def _file_names(task: str, patterns: Iterable[str], **parts) -> tuple[str, ...]:
    stems = [f"{task}/{pattern.format(task=task, **parts)}" for pattern in patterns]
    return tuple(f"{stem}{ending}" for stem in stems for ending in ENDINGS)
