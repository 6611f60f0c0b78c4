"""What a model folder holds, looked at before a model is made of it.

A folder becomes a model with random weights only if it really holds none: weights
under another name, half a download, an adapter or a pointer of git-lfs are refused.
"""

import hashlib
import json
import os
import warnings
from pathlib import Path

import torch
from safetensors import safe_open

from ..errors import listed, shown
from .copies import difference

# Names that `transformers` loads from a folder
LOADED = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)

# Ends of names of files that hold no weights
_OTHER = {
    *(".bpe", ".cfg", ".codes", ".csv", ".dict", ".ini", ".ipynb", ".jinja", ".json"),
    *(".jsonl", ".log", ".md", ".merges", ".model", ".pdf", ".png", ".py", ".rst"),
    *(".sh", ".spm", ".svg", ".tiktoken", ".toml", ".tsv", ".txt", ".vocab", ".yaml"),
    *(".yml",),
}
_WEIGHTS = (".safetensors", ".bin")  # of weights: a folder of such a name is strange
# Ends of names of what older versions kept beside the weights
BUFFERS = ("position_ids", "inv_freq", ".attn.bias", ".attn.masked_bias")
# The same of what is no number of a parameter: masks, places, a hash of token ids
_WHOLE = (
    *(*BUFFERS, "token_type_ids", ".attention.bias", ".attention.masked_bias"),
    *(".crossattention.bias", "mask", "num_batches_tracked", "tid2eid"),
)
# Types whose numbers are values, as the two formats call them
_VALUES = {"f64", "f32", "f16", "bf16", "float64", "float32", "float16", "bfloat16"}
_SMALL = 2**16  # bytes; a file with no end to its name, such as LICENSE, is no larger
_POINTER = b"version https://git-lfs"


def has_weights(folder: Path) -> bool:
    """Whether ``folder`` holds weights to load; False where it really holds none.

    Raises `ValueError`, naming what lies there, where it holds something that may be
    weights but cannot be loaded, or an adapter, and for a damaged file.
    """
    adapters = sorted(path.name for path in folder.glob("adapter_*"))
    if adapters:
        raise ValueError(
            f"model: expected a whole model in {shown(str(folder))}, found an adapter "
            f"({listed(adapters)}); merge it into its base model first, or take its "
            "files away where that was done"
        )
    for name in LOADED:
        path = folder / name
        if os.path.lexists(path) and not path.is_file():  # a link to nothing, a folder
            check_weights(path)
    if any((folder / name).is_file() for name in LOADED):
        for path in _files_to_load(folder):
            check_weights(path)
        _check_copies(folder)
        return True
    strange = _possible_weights(folder)
    if strange:
        raise ValueError(
            f"model: expected weights named {LOADED[0]} or {LOADED[2]}, or none, in "
            f"{shown(str(folder))}, found {listed(strange)}; rename, convert or finish "
            "downloading them"
        )
    return False


def warn_of_changes(folder: Path) -> None:
    """Warn of weights that are not as the run wrote them, by its record.json."""
    try:
        written = json.loads((folder / "record.json").read_bytes())["files"]
        names = [name for name in LOADED if name in written]
        files = [path for name in names for path in _files_of(folder, name)]
        changed = [path.name for path in files if written[path.name] != sha256_of(path)]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return  # no record of a run
    if changed:
        warnings.warn(
            f"model: expected weights in {shown(str(folder))} as its record.json has "
            f"them, found others in {listed(changed)}; they were damaged or replaced "
            "since: train again, or fetch them again",
            stacklevel=3,
        )


def sha256_of(path: Path) -> str:
    """Of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_copies(folder: Path) -> None:
    """Raise `ValueError` where other weights lie beside those that are loaded."""
    loaded, *others = (name for name in LOADED if (folder / name).is_file())
    for name in others:
        try:
            files = _files_of(folder, name)
            found = difference(_files_of(folder, loaded), files)
        except Exception:  # half a download, a pointer: nobody takes it for a model
            continue
        if found:
            raise ValueError(
                f"model: expected one set of weights in {shown(str(folder))}, or copies"
                f" of one, found {loaded} and {name}, which differ in {found}; take "
                "those away that are not meant"
            )


def check_weights(path: Path) -> None:
    """Raise `ValueError`, naming the file, where weights are damaged or not there."""
    problem = None
    if path.is_dir():
        problem = "a folder; put the file itself there"
    elif not path.is_file():
        link = path.is_symlink()
        problem = "a link to nothing" if link else "no file of this name"
    elif _begins(path, _POINTER):
        problem = "a pointer of git-lfs; fetch the file itself (git lfs pull)"
    elif path.suffix == ".safetensors":
        problem = _safetensors_problem(path)
    elif path.stat().st_size == 0:
        problem = "an empty file; download it again"
    coded = None if problem else _coded(path)
    if coded:
        problem = (
            f"quantised ones or others without values in floating point, {coded}; name "
            "the model that is not quantised"
        )
    if problem:
        raise ValueError(f"{path}: expected weights, found {problem}")


def _safetensors_problem(path: Path) -> str | None:
    try:
        with safe_open(path, "pt"):  # reads the header, checks the length
            return None
    except Exception as error:  # of the library's own class, or of the file system
        return f"a damaged file ({reason(error)}); download it again"


def _coded(path: Path) -> str | None:
    """The first tensor of another type; loading would take its codes for values.

    Masks and the like, which models keep as bytes or whole numbers, are none.
    """
    for name, (kind, _) in tensors_in(path).items():
        short = kind.removeprefix("torch.").lower()
        if short not in _VALUES and not name.endswith(_WHOLE):
            return f"{name} ({kind})"
    return None


def shapes_in(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of all tensors that ``folder`` holds, by name; they are not read."""
    shapes = {}
    for path in _files_to_load(folder):
        for name, (_, shape) in tensors_in(path).items():
            shapes[name] = shape
    return shapes


def tensors_in(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Types and shapes by name; of a file that cannot be read none.

    `from_pretrained` says what is wrong with it.
    """
    try:
        if path.suffix != ".safetensors":
            zipped = _begins(path, b"PK")  # older files cannot be mapped into memory
            loaded = torch.load(path, "cpu", weights_only=True, mmap=zipped)
            return {
                name: (str(tensor.dtype), tuple(tensor.shape))
                for name, tensor in loaded.items()
                if isinstance(tensor, torch.Tensor)
            }
        found = {}
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 (no mapping)
                tensor = file.get_slice(name)
                found[name] = (str(tensor.get_dtype()), tuple(tensor.get_shape()))
        return found
    except Exception:
        return {}


def _files_to_load(folder: Path) -> list[Path]:
    return _files_of(folder, next(n for n in LOADED if (folder / n).is_file()))


def _files_of(folder: Path, name: str) -> list[Path]:
    """A file of weights, or those that an index names."""
    path = folder / name
    if not name.endswith(".index.json"):
        return [path]
    try:
        shards = set(json.loads(path.read_bytes())["weight_map"].values())
        strange = sorted(shard for shard in shards if Path(shard).name != shard)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        pointer = _begins(path, _POINTER)
        found = "a pointer of git-lfs" if pointer else shown(path.read_bytes())
        raise ValueError(
            f"{path}: expected an index of weight files, found {found}; download it "
            "again"
        ) from error
    if strange:
        raise ValueError(
            f"{path}: expected names of files beside it, found {shown(strange[0])}; "
            "put the file there and its name in the index"
        )
    return [folder / shard for shard in sorted(shards)]


def _possible_weights(folder: Path) -> list[str]:
    """Names of the files that may be weights, below ``folder`` at any depth."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        unfinished = path.suffix == ".incomplete"  # the hub's, in a hidden folder
        folder_of_others = path.is_dir() and path.suffix not in _WEIGHTS
        if (hidden and not unfinished) or folder_of_others:
            continue
        if _may_hold_weights(path):
            found.append(name.as_posix())
    return found


def _may_hold_weights(path: Path) -> bool:
    if path.name.endswith(".index.json"):
        return True
    if path.suffix in _OTHER:
        return False
    if not path.suffix:
        return path.is_file() and path.stat().st_size > _SMALL
    return True


def reason(error: Exception) -> str:
    """What an error of another library says, on one line of at most 240 characters."""
    text = " ".join(str(error).split())
    if not text:
        return type(error).__name__
    return text if len(text) <= 240 else f"{text[:240]}…"


def _begins(path: Path, start: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(start)) == start
