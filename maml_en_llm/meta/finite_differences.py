"""Hessian-vector products by finite differences: no second derivative, hence for any kernel."""

import math

import torch

from ..tensors import Tensors, joint_norm, map_blocks
from .calculus import Loss, loss_and_grad

CHANGE = (
    1e-3  # of the gradient over a quotient: less drowns in float32 rounding, more bends
)


GUESS = 2e-4  # first way to go, in ‖θ‖. About right for Adam, whose adjoint points where little happens


SHORTEST, LONGEST = (
    1e-7,
    1e-2,
)  # ways in ‖θ‖, for straight and flat losses, which say nothing about them


class DifferenceQuotient:
    """(∇L(θ + h·vector) − ∇L(θ)) / h, one more gradient where ∇L(θ) is known; error of order h.

    h is chosen so that the gradient moves by `CHANGE` of its size, whatever the optimiser has made of the vector. How far
    to go for that, ‖h·vector‖, is known from the product before; the first one tries a guess, and if that was off by
    more than a factor of two, a second time.
    """

    def __init__(self, loss: Loss):
        self.loss, self.way = loss, None

    def __call__(
        self, params: Tensors, batch, grads: Tensors, vector: Tensors, total: Tensors
    ) -> None:
        """Add ∇²L(θ) · vector to ``total``, where ``grads`` = ∇L(θ); ``vector`` may name some parameters only and is
        written over."""
        length = joint_norm(vector).item()
        if not length:
            return
        guess = self.way is None
        if guess:
            self.size = joint_norm(params).item() or 1.0
            self.way = GUESS * self.size
        h, room = (
            self.way / length,
            {} if guess else vector,
        )  # the vector may be wanted once more
        ahead = {
            name: torch.add(params[name], v, alpha=h, out=room.get(name))
            for name, v in vector.items()
        }
        _, found = loss_and_grad(self.loss, {**params, **ahead}, batch)
        moved = _add_difference(None if guess else total, found, grads, 1 / h)
        self.way = min(max(self.way / moved, SHORTEST * self.size), LONGEST * self.size)
        if guess and 0.5 <= moved <= 2:
            _add_difference(total, found, grads, 1 / h)
        elif guess:
            self(params, batch, grads, vector, total)


def _add_difference(
    total: Tensors | None, new: Tensors, old: Tensors, share: float
) -> float:
    """total += share · (new − old), in one pass over memory; returns ‖new − old‖ as a multiple of `CHANGE` · ‖old‖."""
    squares = []

    def add(blocks, out):
        change = blocks[0] - blocks[1]
        squares.append(torch.stack([x.dot(x) for x in (change, blocks[1])]))
        return [part.add_(change, alpha=share) for part in out]

    for name, g in old.items():
        map_blocks(add, [new[name], g], [] if total is None else [total[name]])
    change, size = torch.stack(squares).sum(0).sqrt().tolist()
    moved = change / max(CHANGE * size, 1e-30)
    return (
        max(moved, 1e-30) if math.isfinite(moved) else 100.0
    )  # beyond what can be computed: nearer, then
