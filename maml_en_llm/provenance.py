"""Where a record comes from, and files that are written whole or not at all.

`describe` is what every record of a run carries. `write_whole` and `whole_folder`
replace a file or folder in one step: a reader sees the old content or the new,
whatever stops the writer. `append_rows` adds rows to a log that writers share.
"""

import fcntl
import hashlib
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from .errors import shown

DIGITS = 12  # hexadecimal digits of a hash in a record
FORMAT = 2  # of records: raised when the meaning of a field or of a hash changes


def digest(*parts: bytes | str) -> str:
    """The first `DIGITS` hexadecimal digits of SHA-256 over the parts in order."""
    found = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        found.update(len(content).to_bytes(8, "big") + content)
    return found.hexdigest()[:DIGITS]


def configuration_hash(config, **more) -> str:
    """A hash of what differs from a dataclass's defaults, of ``more``, and `FORMAT`.

    A new field with a default leaves the hashes of older records as they were.
    """
    return digest(json.dumps([FORMAT, changed(config), more], sort_keys=True))


def changed(config) -> dict:
    """The fields of a dataclass that differ from their defaults, as JSON holds them."""
    found = {}
    for field in fields(config):
        value = getattr(config, field.name)
        default = field.default
        if field.default_factory is not MISSING:
            default = field.default_factory()
        if default is MISSING or plain(value) != plain(default):
            found[field.name] = plain(value)
    return found


def plain(value):
    """``value`` as JSON holds it: lists for tuples, strings for paths."""
    if is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__name__} | changed(value)
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value) if isinstance(value, (set, frozenset)) else value
        return [plain(part) for part in items]
    return str(value) if isinstance(value, Path) else value


@cache
def code_hash() -> str:
    """A hash of every source file of this package."""
    root = Path(__file__).parent
    parts = []
    for path in sorted(root.rglob("*.py")):
        parts += [path.relative_to(root).as_posix(), path.read_bytes()]
    return digest(*parts)


def weights_hash(model) -> str:
    """SHA-256 over names and float32 values of a model's parameters."""
    found = hashlib.sha256()
    for name, weight in sorted(model.named_parameters()):
        found.update(name.encode() + weight.detach().float().cpu().numpy().tobytes())
    return found.hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide a number."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("torch", "transformers", "tokenizers", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def describe(device="cpu", seconds: float | None = None) -> dict:
    """Device, processor, threads, versions, code, date (UTC), command and seconds."""
    import torch

    about = {
        "device": str(device),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "code": code_hash(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command(),
    }
    if str(device).startswith("cuda"):
        about["accelerator"] = torch.cuda.get_device_name(device)
    return about if seconds is None else about | {"seconds": round(seconds, 3)}


def command() -> str:
    """The command of this process, without the folders of this machine."""
    name = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
    if name == "__main__.py":
        name = f"python -m {Path(sys.argv[0]).parent.name}"
    words = [Path(word).name if os.path.isabs(word) else word for word in sys.argv[1:]]
    return " ".join([name, *words])


def check_output(path: str | Path, argument: str = "output") -> Path:
    """``path``, once it is known that something can be written there.

    Makes the folder above it. Raises `ValueError` naming the argument where the folder
    cannot be made or written to.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent) as file:
            file.write(b" " * 4096)  # a full disk shows here
    except OSError as error:
        raise ValueError(
            f"{argument}: expected a path that can be written, found "
            f"{shown(str(path))} ({error.strerror or error}); name another folder"
        ) from error
    return path


def write_whole(path: str | Path, content: bytes | str) -> None:
    """Replace the file at ``path`` by ``content``, on the disk, whole or not at all."""
    path = Path(path)
    content = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of ``path`` once it is complete.

    What is filled lies beside ``path`` under a hidden name; if the block fails it is
    removed. A folder that is there already is replaced.
    """
    path = Path(path)
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        os.chmod(partial, 0o777 & ~_umask())
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                _sync(file)
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
            os.replace(path, old / path.name)
            os.replace(partial, path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(partial, path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_rows(log: str | Path) -> list[dict]:
    """The rows of a JSON-lines log; nothing where there is none yet.

    A last line that was being written when its writer was stopped is left out, and left
    alone. Raises `ValueError` where the file is no log: a line that is not an object.
    """
    log = Path(log)
    if not log.is_file():
        return []
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
    elif last and not last.startswith(b"{"):
        raise _no_log(log, len(lines) + 1, last)
    return rows


def append_rows(log: str | Path, rows: Sequence[Mapping], key=None) -> None:
    """Add rows to a JSON-lines log, under a lock, each once.

    ``key(row)`` names a row: one whose key is there already is not added again, so that
    two writers do not double it. A torn last line is cut off first. A file that is no
    log is refused as by `read_rows`, and left as it is.
    """
    log = Path(log)
    with log.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
        there = read_rows(log)
        known = {key(row) for row in there} if key else set()
        new = [row for row in rows if key is None or key(row) not in known]
        text = "".join(json.dumps(row) + "\n" for row in new).encode()
        whole = log.read_bytes()
        end = whole.rfind(b"\n") + 1
        if _row(whole[end:]) is not None:
            text = b"\n" + text
        elif whole[end:]:
            file.truncate(end)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _row(line: bytes) -> dict | None:
    """The object that a line of a log holds, or None."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _no_log(log: Path, number: int, line: bytes) -> ValueError:
    return ValueError(
        f"{log}:{number}: expected a log of one JSON object per line, found "
        f"{shown(line)}; name another file"
    )


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
