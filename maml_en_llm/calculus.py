"""Derivatives of a loss by parameter name: gradients, Hessian-vector products, and their finite differences."""

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import grad

from .blocks import map_blocks
from .optimizers import Tensors

Loss = Callable[[Tensors, Any], torch.Tensor]
CHANGE = 1e-3  # of the gradient over a difference quotient: less drowns in float32 rounding, more bends


def loss_and_grad(loss: Loss, params: Tensors, batch) -> tuple[float, Tensors]:
    """L(θ) as a number and ∇L(θ) by parameter name."""
    total, grads = 0.0, None
    for weight, part in parts_of(loss, batch):
        leaves = leaves_of(params)
        value = weight * loss(leaves, part)
        grads = _add(grads, named_grad(value.sum(), leaves))
        total = total + value.detach()
    return total.tolist(), grads


def gradient_and_product(loss: Loss, params: Tensors, batch, names: list[str]):
    """L(θ), ∇L(θ), and a function (vector, total) that adds ∂/∂θ ⟨∇L(θ), vector⟩ to ``total``, for vectors over ``names``.

    All from one graph, which lives until the function is called: it saves computing the gradient again where the product
    is wanted next.
    """
    leaves = leaves_of(params)
    value = loss(leaves, batch)
    grads = named_grad(value.sum(), leaves, create_graph=True)

    def add_product(vector: Tensors, total: Tensors) -> None:
        add_to(total, _product({name: grads[name] for name in names}, leaves, vector))

    return value.tolist(), {name: g.detach() for name, g in grads.items()}, add_product


def hessian_vector_product(loss: Loss, params: Tensors, batch, vector: Tensors) -> Tensors:
    """∂/∂θ ⟨∇L(θ), vector⟩ for every parameter; ``vector`` may name some of them only.

    By differentiating the gradient: about three gradients' work, in the memory of one part of the batch.
    """
    product = None
    for weight, part in parts_of(loss, batch):
        leaves = leaves_of(params)
        value = weight * loss(leaves, part)
        first = named_grad(value.sum(), {name: leaves[name] for name in vector}, create_graph=True)
        product = _add(product, _product(first, leaves, vector))
    return product


def _product(grads: Tensors, leaves: Tensors, vector: Tensors) -> Tensors:
    curved = [name for name in grads if grads[name].requires_grad]  # a linear loss has no curvature
    if not curved:
        return {name: torch.zeros_like(p) for name, p in leaves.items()}
    return named_grad([grads[name] for name in curved], leaves, [vector[name] for name in curved])


class DifferenceQuotient:
    """(∇L(θ + h·vector) − ∇L(θ)) / h, one more gradient where ∇L(θ) is known; error of order h.

    h is chosen so that the gradient moves by `CHANGE` of its size, whatever the optimiser has made of the vector. How fast
    it moves is taken from the product before; the first one finds it out with one gradient more.
    """

    def __init__(self, loss: Loss):
        self.loss = loss
        self.rate = self.size = None  # ‖Hv‖ / ‖v‖ of the last vector, ‖θ‖

    def __call__(self, params: Tensors, batch, grads: Tensors, vector: Tensors, total: Tensors) -> None:
        """Add ∇²L(θ) · vector to ``total``, where ``grads`` = ∇L(θ); ``vector`` may name some parameters only and is
        written over."""
        length = joint_norm(vector).item()
        if not length:
            return
        self.size = self.size or joint_norm(params).item()
        unit = self.size / length
        if self.rate is None:
            h = 1e-5 * unit
            ahead = {name: torch.add(params[name], v, alpha=h) for name, v in vector.items()}
            self._compare(params, batch, grads, ahead, h * length)
        h = CHANGE * joint_norm(grads).item() / (self.rate * length)
        h = min(max(h, 1e-7 * unit), 1e-2 * unit)  # a straight or a flat loss says nothing about the step
        ahead = {name: torch.add(params[name], v, alpha=h, out=v) for name, v in vector.items()}
        self._compare(params, batch, grads, ahead, h * length, total, 1 / h)

    def _compare(self, params, batch, grads, ahead, distance, total=None, scale=0.0) -> None:
        """Take the rate from ∇L(ahead) − ∇L(θ), and add that, times ``scale``, to ``total``."""
        _, found = loss_and_grad(self.loss, {**params, **ahead}, batch)
        squares = []

        def change(new, old, *sums):
            new.sub_(old)
            squares.append(new.norm().double() ** 2)
            return [part.add_(new, alpha=scale) for part in sums]

        for name, old in grads.items():
            sums = [] if total is None else [total[name]]
            map_blocks(change, [found[name], old, *sums], sums)
        self.rate = max(sum(squares).item() ** 0.5 / distance, 1e-30)


def add_to(total: Tensors, more: Tensors, share: float = 1) -> None:
    """total += share · more, in place."""
    for name, part in more.items():
        total[name].add_(part, alpha=share)


def named_grad(outputs, inputs: Tensors, weights=None, create_graph: bool = False) -> Tensors:
    """Gradients by name; zero, not none, for a parameter that the outputs do not depend on."""
    found = grad(outputs, list(inputs.values()), weights, create_graph=create_graph, materialize_grads=True)
    return dict(zip(inputs, found))


def parts_of(loss: Loss, batch) -> list[tuple[float, Any]]:
    """Weights and parts of a batch, of which the loss is the weighted sum."""
    return loss.split(batch) if hasattr(loss, "split") else [(1.0, batch)]


def leaves_of(params: Tensors) -> Tensors:
    """The same values as new variables that autograd tracks."""
    return {name: p.detach().requires_grad_() for name, p in params.items()}


def _add(total: Tensors | None, more: Tensors) -> Tensors:
    if total is None:
        return more
    return {name: total[name] + more[name] for name in more}


def joint_norm(tensors: Tensors) -> torch.Tensor:
    """Euclidean norm of all tensors taken together."""
    return torch.stack([t.norm() for t in tensors.values()]).norm()
