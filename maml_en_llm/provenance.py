"""Where a record comes from, and files that are written whole or not at all.

`describe` is what every record of a run carries. `write_whole` and `whole_folder`
replace a file or folder in one step: a reader sees the old content or the new,
whatever stops the writer.
"""

import atexit
import errno
import hashlib
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from numbers import Integral, Real
from pathlib import Path

from .errors import check_path, shown
from .sittings import computed_by
from .sources import digest

FORMAT = 2  # of records: raised when the meaning of a field or of a hash changes


def configuration_hash(config, **more) -> str:
    """A hash of what differs from a dataclass's defaults, of ``more``, and `FORMAT`.

    A new field with a default leaves the hashes of older records as they were. Where
    its default does not stand for what older records did, the dataclass says what does,
    see `changed`.
    """
    return digest(json.dumps([FORMAT, changed(config), more], sort_keys=True))


def changed(config, unsaid: Mapping | None = None) -> dict:
    """The fields of a dataclass that differ from their defaults, as JSON holds them.

    A dataclass may have ``unsaid``, values by field that take the defaults' place: what
    a record that lacks the field stands for. Others may be given, {} for none.
    """
    found = {}
    past = getattr(config, "unsaid", {}) if unsaid is None else unsaid
    for field in fields(config):
        value = getattr(config, field.name)
        default = past.get(field.name, field.default)
        if field.default_factory is not MISSING and field.name not in past:
            default = field.default_factory()
        if default is MISSING or plain(value) != plain(default):
            found[field.name] = plain(value)
    return found


def filled(recorded: Mapping, config) -> dict:
    """Fields of a configuration that a record holds, and what it stands for in others.

    ``config``: the dataclass whose ``unsaid`` says so, see `changed`.
    """
    return {**getattr(config, "unsaid", {}), **recorded}


def plain(value):
    """``value`` as JSON holds it: lists for tuples, strings for paths, Python's own
    numbers.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__name__} | changed(value)
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value) if isinstance(value, (set, frozenset)) else value
        return [plain(part) for part in items]
    if isinstance(value, Real) and not isinstance(value, bool):  # numpy's, too
        return int(value) if isinstance(value, Integral) else float(value)
    return str(value) if isinstance(value, Path) else value


def weights_hash(model) -> str:
    """SHA-256 over names and float32 values of a model's parameters.

    And of the buffers that are saved with them, as a router's bias; most have none.
    """
    found = hashlib.sha256()
    for name, weight in sorted(model.named_parameters()):
        found.update(name.encode() + weight.detach().float().cpu().numpy().tobytes())
    saved = model.state_dict()  # other buffers follow from the configuration
    for name, buffer in sorted(model.named_buffers()):
        if name in saved:
            exact = buffer.float() if buffer.is_floating_point() else buffer
            found.update(name.encode() + exact.detach().cpu().numpy().tobytes())
    return found.hexdigest()


def describe(device="cpu", seconds: float | None = None) -> dict:
    """What `computed_by` says, with the date (UTC), the command and the seconds."""
    about = computed_by(device) | {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command(),
    }
    return about if seconds is None else about | {"seconds": round(seconds, 3)}


def command() -> str:
    """The command of this process for a shell, without the folders of this machine."""
    name = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
    if name == "__main__.py":
        name = f"python -m {Path(sys.argv[0]).parent.name}"
    words = map(_without_folder, sys.argv[1:])
    return " ".join([name, *map(shlex.quote, words)])


def _without_folder(word: str) -> str:
    """A word of a command; of a whole path, also after a "=", its last name alone."""
    if os.path.isabs(word):
        return Path(word).name
    flag, path, rest = word.partition("=/")
    return f"{flag}={Path(rest).name}" if path else word


def user_cache() -> Path | None:
    """This package's folder in ``$XDG_CACHE_HOME``, else in ``~/.cache``.

    None where that is no absolute path, as for a user without a home.
    """
    named = os.path.expanduser(os.environ.get("XDG_CACHE_HOME", ""))
    home = named if os.path.isabs(named) else os.path.expanduser("~/.cache")
    return Path(home) / "maml_en_llm" if os.path.isabs(home) else None


def check_output(path: str | Path, argument: str = "output") -> Path:
    """``path``, once it is known that something can be written there.

    Makes the folder above it, which goes again if it is empty when the process ends.
    Raises `ValueError` naming the argument where it cannot be made or written to.
    """
    path = check_path(path, argument)
    try:
        _make_folder(path.parent)
        with suppress(FileNotFoundError):
            path.lstat()  # a name that is too long shows here
        with tempfile.TemporaryFile(dir=path.parent) as file:
            file.write(b" " * 4096)  # a full disk shows here
    except OSError as error:
        raise _not_writable(path, argument, error) from error
    return path


def _make_folder(folder: Path) -> None:
    for each in reversed((folder, *folder.parents)):
        if not each.exists():
            each.mkdir(exist_ok=True)
            atexit.register(_remove_empty, each.absolute())


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # something is in it, or it has gone already
        folder.rmdir()


def check_file(path: str | Path, argument: str = "output") -> Path:
    """`check_output` of a file: nothing is there, or a file that can be written."""
    named = str(path).endswith(os.sep)  # as a folder, which a `Path` drops
    path = check_output(path, argument)
    kind = "a folder" if named or path.is_dir() else "no ordinary file"
    if named or (path.exists() and not path.is_file()):
        raise ValueError(
            f"{argument}: expected a file, found {kind}, {shown(str(path))}; name "
            "another file"
        )
    if path.exists() and not os.access(path, os.W_OK):
        raise ValueError(
            f"{argument}: expected a file that can be written, found "
            f"{shown(str(path))}, which is read-only; name another file"
        )
    return path


def _not_writable(path: Path, argument: str, error: OSError) -> ValueError:
    return ValueError(
        f"{argument}: expected a path that can be written, found {shown(str(path))} "
        f"({error.strerror or error}); name another folder"
    )


def write_whole(path: str | Path, content: bytes | str, *, new: bool = False) -> None:
    """Replace the file at ``path`` by ``content``, on the disk, whole or not at all.

    Where ``path`` is a link, the file that it leads to. Its folder is made if it is not
    there. An `OSError` names the file; a ``new`` one replaces nothing:
    `FileExistsError` where something is there.
    """
    path = Path(os.path.realpath(path))
    content = content.encode() if isinstance(content, str) else content
    partial = unfinished(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if new:
            _link(partial, path)
        else:
            os.replace(partial, path)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError) and error.strerror:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    sync(path.parent)


def _link(partial: Path, path: Path) -> None:
    """Give ``partial`` its name; `FileExistsError` if another writer was faster.

    It is whole whatever stops this, except on a disk that has no links.
    """
    try:
        os.link(partial, path)
    except FileExistsError:
        raise
    except OSError:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.replace(partial, path)
    else:
        partial.unlink()


def unfinished(path: Path) -> Path:
    """A hidden name beside ``path``, that nothing has, for what is being written.

    Known before anything is made, so that even a making that is interrupted is undone.
    """
    start = os.fsencode(path.name)[:200]  # 255 bytes are the most of a name
    return path.parent / f".{start.decode(errors='ignore')}.{os.urandom(8).hex()}"


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Within, libraries' own errors of the disk become an `OSError` of ``path``."""
    try:
        yield
    except Exception as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is not None:
            code = int(number[1])
            raise OSError(code, os.strerror(code), str(path)) from error
        if isinstance(error, OSError) and error.strerror and not error.filename:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of ``path`` once it is complete.

    What is filled lies beside ``path`` under a hidden name; if the block fails it is
    removed. A folder that is there already is replaced.
    """
    path = Path(path)
    holder = unfinished(path)
    partial, old = holder / "new", holder / "old"
    try:
        holder.mkdir(parents=True)
        partial.mkdir()
        with disk_errors(path):
            yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                sync(file)
        if path.exists():
            os.replace(path, old)
        os.replace(partial, path)
        sync(path.parent)
    finally:
        if old.exists() and not path.exists():
            os.replace(old, path)
        shutil.rmtree(holder, ignore_errors=True)


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk.

    A disk may be unable to do the latter, which is no error.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(handle)
