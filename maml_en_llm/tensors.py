"""Tensors by name, and nested tuples and dictionaries of them.

They are walked in one fixed order, or block by block.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch

from .errors import shown

Tensors = dict[str, torch.Tensor]
GIB = 2**30
# where Linux says how much memory a container may have
LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)

# A dozen float32 blocks take 6 MiB: the best of 2^15 … 2^24 elements on two cores with
# 2 MiB of second-level cache each.
ELEMENTS_PER_BLOCK = 1 << 17


def tree_map(function, tree, *others):
    """Apply ``function`` to every tensor of ``tree`` and its namesakes in ``others``.

    Numbers are kept as they are.
    """
    if isinstance(tree, torch.Tensor):
        return function(tree, *others)
    if isinstance(tree, dict):
        return {
            name: tree_map(function, part, *(other[name] for other in others))
            for name, part in tree.items()
        }
    if isinstance(tree, tuple):
        parts = [
            tree_map(function, *together)
            for together in zip(tree, *others, strict=True)
        ]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return tree


def map_blocks(
    rule: Callable,
    inputs: Sequence[torch.Tensor],
    outputs: Sequence[torch.Tensor | None],
) -> list[torch.Tensor]:
    """Apply an elementwise ``rule`` from len(inputs) to len(outputs) tensors.

    Where ``outputs`` holds a contiguous tensor the result is written into it (it may be
    one of the inputs), where it holds ``None`` into a new one shaped like the first
    input. ``rule(blocks, out)`` may write to the blocks ``out`` itself, and then
    returns them.
    """
    shape = inputs[0].shape
    flat = [tensor.reshape(-1) for tensor in inputs]
    results = [
        torch.empty_like(flat[0]) if out is None else out.view(-1) for out in outputs
    ]
    size = ELEMENTS_PER_BLOCK
    if flat[0].device.type != "cpu":  # fewer, larger kernels
        size = max(1, flat[0].numel())
    for start in range(0, flat[0].numel(), size):
        part = slice(start, start + size)
        out = [result[part] for result in results]
        found = rule([tensor[part] for tensor in flat], out)
        for block, value in zip(out, found, strict=True):
            if value.data_ptr() != block.data_ptr():
                block.copy_(value)
    return [result.view(shape) for result in results]


def machine_memory() -> int:
    """Bytes of memory that there are on this machine, or that a container may have."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in LIMITS:
        with suppress(OSError, ValueError):  # no such file, or "max"
            found.append(int(path.read_text()))
    return min(found)


def check_memory(what: str, need: float, cure: str) -> None:
    """Raise `ValueError` where tensors of ``need`` bytes do not fit this machine."""
    there = machine_memory()
    if need > there:
        raise ValueError(
            f"{what}: expected at most {there / GIB:.3g} GiB, this machine's memory, "
            f"found {need / GIB:.3g} GiB needed; {cure}"
        )


def check_named(**arguments) -> None:
    """Raise `ValueError` for an argument that holds no values by name."""
    for argument, values in arguments.items():
        if not isinstance(values, Mapping):
            raise ValueError(
                f"{argument}: expected tensors by name, found {shown(values)}"
            )


def check_floating(tensors: Tensors, argument: str = "params") -> set[torch.dtype]:
    """The types of ``tensors``; `ValueError` unless all are real floating point."""
    check_named(**{argument: tensors})
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
            kind = getattr(tensor, "dtype", type(tensor).__name__)
            raise ValueError(
                f"{argument}: expected floating-point tensors, found {kind} for "
                f"{shown(name)}; convert it, or leave it out"
            )
    return {tensor.dtype for tensor in tensors.values()}


def check_in_memory(params: Tensors) -> None:
    """`ValueError` for a tensor on the device "meta", which holds no numbers."""
    for name, tensor in params.items():
        if tensor.is_meta:
            raise ValueError(
                f"params: expected tensors in memory, found {shown(name)} on "
                "'meta'; make it on a device that holds numbers"
            )


def own_memory(tensors: Tensors) -> Tensors:
    """Contiguous copies, which can be written over block by block."""
    return {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def add_to(total: Tensors, more: Tensors) -> None:
    """total += more, in place."""
    for name, part in more.items():
        total[name] += part


def joint_norm(tensors: Tensors, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Euclidean norm of all tensors taken together; summed in ``dtype``."""
    return torch.stack([t.norm(dtype=dtype) for t in tensors.values()]).norm()


def distance_moved(before: Tensors, after: Tensors) -> float:
    """‖after − before‖ / ‖before‖; infinite where ``before`` is 0 and has moved."""
    change = joint_norm({name: after[name] - p for name, p in before.items()})
    size = joint_norm(before)
    return float(change / size) if float(change) else 0.0


def cosine(xs: Tensors, ys: Tensors) -> float:
    """⟨x, y⟩ / (‖x‖ ‖y‖); 0 where one of them is 0."""
    dot = torch.stack([(x * ys[name]).sum() for name, x in xs.items()]).sum()
    sizes = joint_norm(xs) * joint_norm(ys)
    return float(dot / sizes) if float(sizes) else 0.0


def clip_by_norm(grads: Tensors, limit: float) -> tuple[Tensors, float]:
    """Gradients scaled down to a joint norm of at most ``limit``; the norm before."""
    norm = joint_norm(grads)
    scale = (limit / norm).clamp(max=1.0)
    return {name: g * scale for name, g in grads.items()}, float(norm)
