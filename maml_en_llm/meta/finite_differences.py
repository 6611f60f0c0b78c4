"""Hessian-vector products by finite differences.

No second derivative is taken, hence they serve for any kernel.
"""

import math

import torch

from ..tensors import Tensors, joint_norm, map_blocks
from .calculus import Loss, loss_and_grad

# By how much of its size a quotient changes the gradient: less drowns in float32
# rounding, with more the loss bends between the two points.
CHANGE = 1e-3
# The first ‖h·vector‖ tried, in ‖θ‖ of what the vector names: about right for Adam,
# whose adjoint points where the gradient changes little.
GUESS = 2e-4
# Bounds of ‖h·vector‖ in ‖θ‖, for losses so straight that their gradient hardly changes
SHORTEST, LONGEST = 1e-7, 1e-2
BEYOND = 100.0  # taken for the change, in `CHANGE`s, of a gradient that is not finite


class DifferenceQuotient:
    """(∇L(θ + h·vector) − ∇L(θ)) / h, one more gradient where ∇L(θ) is known.

    The error is of order h. h is chosen so that the gradient moves by `CHANGE` of its
    size, whatever the optimizer has made of the vector. How far to go for that,
    ‖h·vector‖, is known from the product before; the first one tries a guess, and if
    that was off by more than a factor of two, a second time.
    """

    def __init__(self, loss: Loss):
        self.loss = loss
        self.distance: float | None = None  # ‖h·vector‖ of the next product
        self.size = 1.0  # ‖θ‖ of the parameters that the vector names

    def __call__(
        self, params: Tensors, batch, grads: Tensors, vector: Tensors, total: Tensors
    ) -> None:
        """Add ∇²L(θ) · vector to ``total``, where ``grads`` = ∇L(θ).

        ``vector`` may name some parameters only and is written over.
        """
        length = joint_norm(vector).item()
        if not length:
            return
        if self.distance is None:
            self._first(params, batch, grads, vector, total, length)
            return
        h = self.distance / length
        found = self._ahead(params, batch, vector, h, out=vector)
        self._learn(self.distance, add_difference(total, found, grads, 1 / h))

    def _first(self, params, batch, grads, vector, total, length: float) -> None:
        """By the guess if it moves the gradient as it should, else by what it shows."""
        moving = {name: p for name, p in params.items() if name in vector}
        self.size = joint_norm(moving).item() or 1.0
        distance = GUESS * self.size
        h = distance / length
        found = self._ahead(params, batch, vector, h, out={})
        moved = add_difference(None, found, grads, 1 / h)
        self._learn(distance, moved)
        if 0.5 <= moved <= 2:
            add_difference(total, found, grads, 1 / h)
        else:
            del found  # not held beside the next one
            self(params, batch, grads, vector, total)

    def _ahead(self, params, batch, vector: Tensors, h: float, out: Tensors) -> Tensors:
        """∇L(θ + h·vector), the parameters written over those of ``out``."""
        ahead = {
            name: torch.add(params[name], v, alpha=h, out=out.get(name))
            for name, v in vector.items()
        }
        return loss_and_grad(self.loss, {**params, **ahead}, batch)[1]

    def _learn(self, distance: float, moved: float) -> None:
        """The next distance: one that moved the gradient too far is divided by that."""
        shortest, longest = SHORTEST * self.size, LONGEST * self.size
        self.distance = min(max(distance / moved, shortest), longest)


def add_difference(
    total: Tensors | None, new: Tensors, old: Tensors, share: float
) -> float:
    """total += share · (new − old), in one pass over memory.

    Returns ‖new − old‖ as a multiple of `CHANGE` · ‖old‖.
    """
    squares = []

    def add(blocks, out):
        change = blocks[0] - blocks[1]
        squares.append(torch.stack([x.dot(x) for x in (change, blocks[1])]))
        return [part.add_(change, alpha=share) for part in out]

    for name, g in old.items():
        map_blocks(add, [new[name], g], [] if total is None else [total[name]])
    change, size = torch.stack(squares).sum(0).sqrt().tolist()
    moved = change / max(CHANGE * size, 1e-30)
    return max(moved, 1e-30) if math.isfinite(moved) else BEYOND
