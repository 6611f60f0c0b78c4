"""Checkpoints: named tensors and plain facts on the disk, whole, checked, the last two.

And the files of a run that is complete: whether they are as it wrote them.

A checkpoint of step 40 is two files of a folder,

    step-000000040.safetensors      the tensors
    step-000000040.json             step, facts, SHA-256 of that file and of these

The second is written last: without it the first does not count. Nothing is pickled.
"""

import errno
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from .errors import check_integer, shown
from .provenance import disk_errors, sync, write_whole

# names of what lies in a folder of checkpoints, unfinished writes included
_FILE = r"step-\d{9,}\.(json|safetensors)"
FILE_NAMES = rf"{_FILE}|\.{_FILE}\.[0-9a-f]+"
# what reading a damaged checkpoint may raise
DAMAGE = (ValueError, LookupError, TypeError, OSError, RecursionError, SafetensorError)
CARD = "README.md"
KEPT = 2  # checkpoints of a folder: the newest, and the one before if that is damaged


def save_checkpoint(
    folder: str | Path, step: int, tensors: Mapping[str, torch.Tensor], facts: Mapping
) -> None:
    """Add the checkpoint of ``step`` to ``folder`` and keep the last `KEPT`.

    Once this returns, the checkpoint is on the disk. If it does not, whatever stops it,
    those before are as they were.

    Args:
        folder: made if it is not there; it holds checkpoints and nothing else.
        step: outer steps that are done. Checkpoints of later steps are taken away.
        tensors: any shapes, types and devices, by name; no two may share memory unless
            they are expanded.
        facts: what JSON can hold.

    Raises:
        FloatingPointError: a floating tensor with a number that is not finite.
        ValueError: facts that JSON cannot hold.
        OSError: a disk that is full or cannot be written.
    """
    folder, step = Path(folder), check_integer("step", step)
    tensors = {name: _plain(tensor) for name, tensor in tensors.items()}
    check_finite(tensors)
    facts = _as_json(facts)
    folder.mkdir(parents=True, exist_ok=True)
    _remove_partial(folder)
    path = folder / f"step-{step:09}.safetensors"
    try:
        found = _write_tensors(path, tensors)
        content = {"step": step, "tensors": found, "facts": facts}
        content["sha256"] = _hash_of(content)
        write_whole(path.with_suffix(".json"), json.dumps(content))
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror or error}; the checkpoints before are as they were",
            str(path),
        ) from error
    steps = _steps(folder)
    kept = [old for old in steps if old <= step][:KEPT]
    for old in set(steps) - set(kept):
        _remove(folder, old)


def load_checkpoint(
    folder: str | Path, check: Callable[[int, dict, dict], None] | None = None
) -> tuple[int, dict[str, torch.Tensor], dict] | None:
    """(step, tensors on the CPU, facts) of the newest whole checkpoint; None for none.

    One that is damaged is named in a warning, and the one before it is used.
    ``check(step, tensors, facts)`` raises `ValueError` for what is damaged, too.

    Raises:
        ValueError: checkpoints are there, and all of them are damaged.
    """
    folder = Path(folder)
    steps = _steps(folder)
    for step in steps:
        path = folder / f"step-{step:09}.json"
        try:
            tensors, facts = _read(path, step)
            if check is not None:
                check(step, tensors, facts)
            return step, tensors, facts
        except DAMAGE as error:
            warnings.warn(
                f"checkpoint: {path} is damaged ({shown(str(error))}); "
                "the one before it is used",
                stacklevel=2,
            )
    if steps:
        raise ValueError(
            f"checkpoint: expected a whole checkpoint in {folder}, found "
            f"{len(steps)} damaged; remove the folder to begin anew"
        )
    return None


def check_room(folder: str | Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise `ValueError` where a checkpoint more than those kept does not fit.

    The space of one is taken for a moment, so that limits and quotas show, too.
    """
    folder, size = Path(folder), sum(tensor.nbytes for tensor in tensors.values())
    # of a run that goes on, those that are kept lie there already
    kept = [path for path in folder.glob("step-*.safetensors") if path.exists()]
    held = sum(path.stat().st_size for path in kept)
    need = max((KEPT + 1) * size - held, size)
    free = shutil.disk_usage(folder).free
    problem = "" if free >= need else f"{free / 2**30:.2g}"
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            if not problem and size and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        problem = error.strerror or str(error)
    if problem:
        raise ValueError(
            f"output: expected {need / 2**30:.2g} GiB of room for checkpoints at "
            f"{shown(str(folder))}, found {problem}; name another disk"
        )


def check_finite(tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise `FloatingPointError`, naming the tensor, unless all numbers are finite."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            bad = int((~tensor.isfinite()).sum())
            raise FloatingPointError(
                f"{name}: expected finite numbers, found {bad} of {tensor.numel()} "
                "that are not; nothing was saved over what is good"
            )


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 by name of the files of a folder, but for its card, which is the user's.

    A run keeps them in its record as ``files``.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    return {name: _hash_of_file(folder / name) for name in names if name != CARD}


def check_written(folder: Path, record: Mapping, least: Iterable[str]) -> None:
    """Raise `ValueError` unless the files of a complete run are as it wrote them.

    ``record`` has their hashes as ``files``. An older one lacks them: then those of
    ``least`` have to be there, and whole as far as a file itself can tell.
    """
    written = record.get("files", dict.fromkeys(least))
    if not isinstance(written, Mapping):
        raise ValueError(
            f"output: expected hashes by name as files of {folder}/record.json, found "
            f"{shown(written)}; remove that folder to compute it anew"
        )
    for name, wanted in written.items():
        problem = _problem_of(folder / name, wanted)
        if problem:
            raise ValueError(
                f"output: expected {folder / name} as the run wrote it, found {problem}"
                "; put that file back, or remove the folder to compute it anew"
            )


def _problem_of(path: Path, wanted: str | None) -> str:
    """What a file is that is not whole, or has not the hash ``wanted``; "" for none."""
    try:
        if wanted is not None:
            found = _hash_of_file(path)
            return "" if found == wanted else f"another, of SHA-256 {found[:12]}…"
        if path.suffix == ".json" and not isinstance(json.loads(read_file(path)), dict):
            return "no JSON object"
        _check_file(path)
        if path.suffix == ".safetensors":
            with safe_open(path, "pt"):  # reads the header, checks the length
                return ""
        return "" if path.stat().st_size else "an empty one"
    except FileNotFoundError:
        return "none"
    except DAMAGE as error:
        return f"a damaged one ({shown(str(error))})"


def read_file(path: Path) -> bytes:
    """The content of a file; `OSError` for none, and for a pipe, which may hang."""
    _check_file(path)
    return path.read_bytes()


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "no file", str(path))


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().contiguous()


def _as_json(facts: Mapping) -> dict:
    try:
        return json.loads(json.dumps(dict(facts), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"facts: expected what JSON can hold, found {error}") from None


def _write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> str:
    """Write the file whole; returns its SHA-256, read back from the file."""
    # a folder of its own: what the library leaves when it is killed lies in it, too
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.mkdir(exist_ok=True)
    written = partial / path.name
    try:
        with disk_errors(path):
            save_file(tensors, written)
        found = _hash_of_file(written)
        with written.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(written, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sync(path.parent)
    return found


def _read(path: Path, step: int) -> tuple[dict[str, torch.Tensor], dict]:
    content = json.loads(read_file(path))
    if not isinstance(content, dict):
        raise ValueError("it holds no JSON object")
    if content.pop("sha256") != _hash_of(content):
        raise ValueError("its content is not what was written")
    if content["step"] != step:
        raise ValueError(f"it is of step {content['step']}, under another name")
    tensors = path.with_suffix(".safetensors")
    if _hash_of_file(tensors) != content["tensors"]:
        raise ValueError("its tensors are not those that were written")
    # Copies lie where torch's own tensors do: a product of matrices may depend, in its
    # last bit, on how they lie in memory, and a file's content lies as it comes
    copies = {name: tensor.clone() for name, tensor in load_file(tensors).items()}
    return copies, content["facts"]


def _hash_of(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _hash_of_file(path: Path) -> str:
    _check_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _steps(folder: Path) -> list[int]:
    """Steps of the checkpoints that count, newest first."""
    names = [path.stem.removeprefix("step-") for path in folder.glob("step-*.json")]
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def _remove(folder: Path, step: int) -> None:
    for suffix in (".json", ".safetensors"):  # in this order: see above
        (folder / f"step-{step:09}{suffix}").unlink(missing_ok=True)


def _remove_partial(folder: Path) -> None:
    """Take away what a writer that was killed has left."""
    counted = set(_steps(folder))
    for path in [*folder.glob(".step-*"), *folder.glob("step-*.safetensors")]:
        step = path.stem.removeprefix("step-")
        counts = step.isdecimal() and int(step) in counted
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name.startswith(".") or not counts:
            path.unlink(missing_ok=True)
