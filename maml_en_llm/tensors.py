"""Tensors by name, and nested tuples and dictionaries of them: walked in one fixed order, or block by block."""

from collections.abc import Callable, Sequence

import torch


def tree_map(function, tree, *others):
    """Apply ``function`` to every tensor of ``tree`` and its namesakes in ``others``; numbers are kept as they are."""
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


ELEMENTS_PER_BLOCK = (
    1 << 17
)  # elements; a dozen float32 blocks take 6 MiB. Best of 2^15 … 2^24 on two cores with 2 MiB of L2 each


def map_blocks(
    rule: Callable,
    inputs: Sequence[torch.Tensor],
    outputs: Sequence[torch.Tensor | None],
) -> list[torch.Tensor]:
    """Apply ``rule``, which maps elementwise from len(inputs) to len(outputs) tensors, and return the results.

    Where ``outputs`` holds a contiguous tensor the result is written into it (it may be one of the inputs), where it
    holds ``None`` into a new one shaped like the first input. ``rule(blocks, out)`` may write to the blocks ``out``
    itself, and then returns them.
    """
    shape = inputs[0].shape
    flat = [tensor.reshape(-1) for tensor in inputs]
    results = [
        torch.empty_like(flat[0]) if out is None else out.view(-1) for out in outputs
    ]
    size = (
        ELEMENTS_PER_BLOCK if flat[0].device.type == "cpu" else max(1, flat[0].numel())
    )  # elsewhere fewer, larger kernels
    for start in range(0, flat[0].numel(), size):
        part = slice(start, start + size)
        out = [result[part] for result in results]
        for block, value in zip(
            out, rule([tensor[part] for tensor in flat], out), strict=True
        ):
            if value.data_ptr() != block.data_ptr():
                block.copy_(value)
    return [result.view(shape) for result in results]


Tensors = dict[str, torch.Tensor]


def add_to(total: Tensors, more: Tensors) -> None:
    """total += more, in place."""
    for name, part in more.items():
        total[name] += part


def joint_norm(tensors: Tensors) -> torch.Tensor:
    """Euclidean norm of all tensors taken together."""
    return torch.stack([t.norm() for t in tensors.values()]).norm()


def clip_by_norm(grads: Tensors, limit: float) -> tuple[Tensors, float]:
    """Scale all gradients down so that their joint Euclidean norm is at most ``limit``; returns the norm before."""
    norm = joint_norm(grads)
    scale = (limit / norm).clamp(max=1.0)
    return tree_map(lambda g: g * scale, grads), norm.item()
