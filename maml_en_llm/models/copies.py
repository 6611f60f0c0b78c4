"""Two files of weights in one folder: copies of one model, or two models."""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors import safe_open

Reader = Callable[[], torch.Tensor]


def difference(loaded: Iterable[Path], other: Iterable[Path]) -> str | None:
    """The first tensor that two sets of files have otherwise; None for copies.

    Names that one of them lacks, such as a tied weight's second, do not count, unless
    no name is common to both. Of two types the shorter one is compared in.
    """
    ours, theirs = _tensors(loaded), _tensors(other)
    common = [name for name in ours if name in theirs]
    if not common:
        return next(iter(ours), None)
    return next((n for n in common if not _alike(ours[n](), theirs[n]())), None)


def _tensors(paths: Iterable[Path]) -> dict[str, Reader]:
    """What reads each tensor, by name, one at a time."""
    found: dict[str, Reader] = {}
    for path in paths:
        if path.suffix == ".safetensors":
            file = safe_open(path, "pt")
            found |= {name: _from(file, name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        else:
            held = torch.load(path, "cpu", weights_only=True)
            found |= {name: _held(tensor) for name, tensor in held.items()}
    return found


def _from(file, name: str) -> Reader:
    return lambda: file.get_tensor(name)


def _held(tensor: torch.Tensor) -> Reader:
    return lambda: tensor


def _alike(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.shape != b.shape:
        return False
    shorter = min(a.dtype, b.dtype, key=lambda dtype: dtype.itemsize)
    return torch.equal(a.to(shorter), b.to(shorter))
