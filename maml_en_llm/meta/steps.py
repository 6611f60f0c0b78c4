"""How the reverse sweep goes forward, and how it looks back on a gradient.

Going back over a step needs ∇²Lₜ(θₜ) · λ_g. There are three ways to it, one class each:

- `FromOneGraph`: compute the gradient again, with its graph, and differentiate that.
- `InParts`: the same, part by part of a batch, in the memory of one part.
- `ByDifferences`: a difference of two gradients; no second derivative.
"""

from collections.abc import Sequence
from typing import Any

import torch

from ..errors import shown
from ..tensors import Tensors, add_to
from .calculus import (
    AddProduct,
    Loss,
    gradient_and_product,
    hessian_vector_product,
    in_parts,
    loss_and_grad,
)
from .finite_differences import DifferenceQuotient
from .trajectory import Trajectory


class Steps:
    """k inner steps of ``inner`` by ``loss``, moving the parameters ``names``."""

    keeps_grads = True  # whether looking back needs the gradient as it was

    def __init__(self, loss: Loss, inner, names: list[str], k: int):
        self.loss, self.names = loss, names
        self.trajectory = Trajectory(inner, names, k, keep_grads=self.keeps_grads)
        self.values: list = []  # Lₜ(θₜ) of the steps not yet gone back over

    def forward(self, params: Tensors, state, batch) -> tuple[Any, Tensors, Any]:
        """Lₜ(θₜ), θₜ₊₁ and sₜ₊₁."""
        value, grads = self.gradient(params, batch)
        self.values.append(value)
        params, state = self.trajectory.step(params, state, grads)
        return value, params, state

    def back(self, batch) -> tuple[Tensors, Any, Tensors, AddProduct]:
        """θₜ, sₜ, gₜ of the last step not yet gone back over, and its product's adder.

        What an earlier call gave back is written over.
        """
        params, state, kept = self.trajectory.pop()
        grads, add_product = self.look_back(params, batch, kept)
        self.values.pop()
        return params, state, {name: grads[name] for name in self.names}, add_product

    def gradient(self, params: Tensors, batch) -> tuple[Any, Tensors]:
        """Lₜ(θₜ) and gₜ on the way forward."""
        return loss_and_grad(self.loss, params, batch, self.names)

    def look_back(self, params: Tensors, batch, grads) -> tuple[Tensors, AddProduct]:
        """gₜ, and what adds ∇²Lₜ(θₜ) · vector to a total."""
        raise NotImplementedError


class FromOneGraph(Steps):
    """The gradient is computed again; the last step's graph, wanted next, waits."""

    keeps_grads = False
    waiting: tuple[Tensors, AddProduct] | None = None

    def gradient(self, params, batch):
        """No graph is kept but the last step's."""
        if not self.trajectory.at_last:
            return super().gradient(params, batch)
        value, grads, add_product = self._recompute(params, batch)
        self.waiting = grads, add_product
        return value, grads

    def look_back(self, params, batch, grads):  # noqa: ARG002  # computed again
        """Both from one graph."""
        found, self.waiting = self.waiting, None
        if found is None:
            value, *found = self._recompute(params, batch)
            check_same(self.values[-1], value, params)
        return found

    def _recompute(self, params: Tensors, batch):
        return gradient_and_product(self.loss, params, batch, self.names)


class InParts(Steps):
    """Parts cannot wait for one another: each is visited twice, forward and back."""

    def look_back(self, params, batch, grads):
        """The gradient as it was; a product by one graph per part."""

        def add_product(vector: Tensors, total: Tensors) -> None:
            add_to(total, hessian_vector_product(self.loss, params, batch, vector))

        return grads, add_product


class ByDifferences(Steps):
    """One more gradient per step, near the first."""

    def __init__(self, loss: Loss, inner, names: list[str], k: int):
        super().__init__(loss, inner, names, k)
        self.quotient = DifferenceQuotient(loss)

    def gradient(self, params, batch):
        """By every parameter: their differences are what is wanted."""
        return loss_and_grad(self.loss, params, batch)

    def look_back(self, params, batch, grads):
        """The gradient as it was; its change over a short way along the vector."""

        def add_product(vector: Tensors, total: Tensors) -> None:
            self.quotient(params, batch, grads, vector, total)

        return grads, add_product


def check_same(value, again, params: Tensors) -> None:
    """`ValueError` where a loss had two values at one θ, by more than rounding.

    Half the digits of the coarsest parameter have to agree.
    """
    if value == again:
        return
    eps = max(torch.finfo(p.dtype).eps for p in params.values())
    first, second = (torch.tensor(v, dtype=torch.float64) for v in (value, again))
    if not torch.allclose(first, second, rtol=eps**0.5, atol=eps, equal_nan=True):
        raise ValueError(
            "loss: expected one and the same function at every call, found "
            f"{shown(value)} and {shown(again)} at the same parameters; switch dropout "
            "and other random numbers off (model.eval()), or use mode 'unrolled'"
        )


def check_draws(loss: Loss, params: Tensors, support: Sequence, before: list) -> None:
    """`check_same` of each batch if random numbers were drawn since ``before``."""
    if all(map(torch.equal, random_states(params), before)):
        return
    parts = [part for batch in support for _, part in loss.split(batch)]
    with torch.no_grad(), torch.random.fork_rng(_gpus(params)):
        for part in parts:
            value, again = (loss(dict(params), part) for _ in range(2))
            check_same(value.tolist(), again.tolist(), params)


def random_states(params: Tensors) -> list[torch.Tensor]:
    """The states of the random numbers of the CPU and of the parameters' GPUs."""
    gpus = [torch.cuda.get_rng_state(device) for device in _gpus(params)]
    return [torch.get_rng_state(), *gpus]


def _gpus(params: Tensors) -> list[torch.device]:
    return sorted({p.device for p in params.values() if p.is_cuda}, key=str)


def steps_for(mode: str, loss: Loss, support: Sequence, inner, names: list[str]):
    """The way of ``mode`` ("reverse" or "finite_difference") over these batches."""
    k = len(support)
    if mode == "finite_difference":
        return ByDifferences(loss, inner, names, k)
    if in_parts(loss, support):
        return InParts(loss, inner, names, k)
    return FromOneGraph(loss, inner, names, k)
