"""The generated benchmark's folder in the user's cache, checked whenever it is used."""

import atexit
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path

from ..errors import DataError, check_choice, listed, shown
from ..provenance import user_cache
from ..sources import KIND, SOURCES
from .benchmark import file_digests, fill, new_folder
from .recipes import DIFFICULTIES

NAME = "minicrossfit"
_DIGESTS = "digests"  # the file in a cached folder that holds those of the others

# of this generator, as it was when it was imported: the cache is keyed by it
_CODE = (
    KIND
    + hashlib.sha256(
        b"".join(x for name, x in SOURCES.items() if name.startswith("minicrossfit/"))
    ).hexdigest()[:12]
)


def cached(source: str = NAME) -> Path:
    """The folder of ``"minicrossfit"`` or ``"minicrossfit:<difficulty>"``.

    It is written to the user's cache (``$XDG_CACHE_HOME``, else ``~/.cache``) at first
    use. If some of its files are gone, as after the cleaning of a disk, it is made
    again, with a warning. Where there is no cache, or none that can be written to, it
    is made in a temporary folder of this process, with a warning.

    Raises:
        DataError: files of the cache that were changed.
        ValueError: an unknown difficulty, or no place to write to.
    """
    name, colon, difficulty = source.partition(":")
    check_choice("source", name, (NAME,))
    difficulty = difficulty if colon else "normal"
    check_choice("difficulty", difficulty, DIFFICULTIES)
    root = user_cache()
    if root is None:
        return _temporary(difficulty, "no absolute path in XDG_CACHE_HOME or HOME")
    folder = root / f"{NAME}-{difficulty}-{_CODE}"
    if _intact(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder.parent):
            if not _intact(folder):  # else another process was faster
                _make(folder, difficulty)
    except OSError as error:
        reason = error.strerror or str(error)
        return _temporary(difficulty, f"{shown(str(folder.parent))} ({reason})")
    return folder


def _intact(folder: Path) -> bool:
    """Whether all files that were written to the folder are there.

    Raises `DataError` if one of them has been changed since.
    """
    try:
        facts = [(path, path.stat()) for path in sorted(folder.rglob("*"))]
    except OSError:
        return False
    kinds = {stat.S_IFMT(about.st_mode) for _, about in facts}
    if not kinds <= {stat.S_IFREG, stat.S_IFDIR}:  # a pipe may never say a word
        return False
    signature = tuple((str(p), s.st_size, s.st_mtime_ns) for p, s in facts)
    try:
        missing, changed = _compared(folder, signature)
    except (OSError, ValueError, RecursionError):
        return False
    if changed:
        raise DataError(
            f"{folder}: expected the files of the generated benchmark, found changed "
            f"ones: {listed(changed[:3])}; delete this folder, and it is made again"
        )
    return not missing


@lru_cache(maxsize=16)
def _compared(folder: Path, _signature: tuple) -> tuple[list[str], list[str]]:
    """Files that are missing, and files that are not what was written.

    They are read again only if their names, sizes or times have changed.
    """
    written = json.loads((folder / _DIGESTS).read_text())
    if not isinstance(written, dict) or not written:
        raise ValueError(f"{_DIGESTS}: expected a digest per file, found another thing")
    found = file_digests(folder)
    missing = sorted(set(written) - set(found))
    changed = sorted(name for name in found if written.get(name) != found[name])
    return missing, changed


def _make(folder: Path, difficulty: str) -> None:
    if os.path.lexists(folder):
        warnings.warn(
            f"{folder}: the benchmark's files in the cache are not all there; they are "
            "made again",
            stacklevel=3,
        )
        _put_away(folder)
    with suppress(FileExistsError), new_folder(folder) as partial:
        fill(partial, DIFFICULTIES[difficulty])
        (partial / _DIGESTS).write_text(json.dumps(file_digests(partial)))


def _put_away(folder: Path) -> None:
    # Out of the way in one step, so that no half-removed folder is left to be found.
    with tempfile.TemporaryDirectory(prefix=".old-", dir=folder.parent) as old:
        folder.rename(Path(old) / folder.name)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time, where the file system can lock a folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@cache
def _temporary(difficulty: str, why: str) -> Path:
    warnings.warn(
        f"cache: expected a folder that can be written, found {why}; the benchmark is "
        "made in a temporary folder, for this process only; set XDG_CACHE_HOME to keep "
        "it",
        stacklevel=4,
    )
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{NAME}-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        fill(folder, DIFFICULTIES[difficulty])
    except OSError as error:
        raise ValueError(
            f"cache: expected a folder that can be written, found {why} and no "
            f"temporary one ({error.strerror or error}); set XDG_CACHE_HOME"
        ) from error
    return folder
