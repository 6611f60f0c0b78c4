"""Derivatives of a loss by parameter name: gradients, Hessian-vector products, and their finite differences."""

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import grad

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
    """L(θ), ∇L(θ), and the function ``vector`` → ∂/∂θ ⟨∇L(θ), vector⟩ for vectors over ``names``, from one graph.

    The graph lives until the function is called: it saves computing the gradient again where the product is wanted next.
    """
    leaves = leaves_of(params)
    value = loss(leaves, batch)
    grads = named_grad(value.sum(), leaves, create_graph=True)

    def product(vector: Tensors) -> Tensors:
        return _product({name: grads[name] for name in names}, leaves, vector)

    return value.tolist(), {name: g.detach() for name, g in grads.items()}, product


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
        self.loss, self.rate = loss, None  # rate: ‖Hv‖ / ‖v‖, of the last vector

    def __call__(self, params: Tensors, batch, grads: Tensors, vector: Tensors) -> Tensors:
        """∇²L(θ) · vector for every parameter, where ``grads`` = ∇L(θ); ``vector`` may name some of them only and is
        written over."""
        length = joint_norm(vector).item()
        if not length:
            return {name: torch.zeros_like(g) for name, g in grads.items()}
        unit = joint_norm(params).item() / length
        if self.rate is None:
            probe = {name: v.clone() for name, v in vector.items()}
            self._ahead(params, batch, grads, probe, 1e-5 * unit, length)
        h = CHANGE * joint_norm(grads).item() / (self.rate * length)
        h = min(max(h, 1e-7 * unit), 1e-2 * unit)  # a straight or a flat loss says nothing about the step
        return {name: change.div_(h) for name, change in self._ahead(params, batch, grads, vector, h, length).items()}

    def _ahead(self, params, batch, grads, vector, h, length) -> Tensors:
        """∇L(θ + h·vector) − ∇L(θ); θ + h·vector takes the place of the vector."""
        moved = {name: v.mul_(h).add_(params[name]) for name, v in vector.items()}
        _, change = loss_and_grad(self.loss, {**params, **moved}, batch)
        change = {name: change[name].sub_(g) for name, g in grads.items()}
        self.rate = max(joint_norm(change).item() / (h * length), 1e-30)
        return change


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
