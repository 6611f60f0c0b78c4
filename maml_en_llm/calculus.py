"""Derivatives of a loss by parameter name: gradients, Hessian-vector products, and their finite differences."""

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import grad

from .optimizers import Tensors

Loss = Callable[[Tensors, Any], torch.Tensor]
STEP = 1e-2  # of a difference quotient, relative to the size of the parameters


def loss_and_grad(loss: Loss, params: Tensors, batch) -> tuple[float, Tensors]:
    """L(θ) as a number and ∇L(θ) by parameter name."""
    total, grads = 0.0, None
    for weight, part in _parts(loss, batch):
        leaves = _leaves(params)
        value = weight * loss(leaves, part)
        grads = _add(grads, named_grad(value.sum(), leaves))
        total = total + value.detach()
    return total.tolist(), grads


def hessian_vector_product(loss: Loss, params: Tensors, batch, vector: Tensors) -> Tensors:
    """∂/∂θ ⟨∇L(θ), vector⟩ for every parameter; ``vector`` may name some of them only.

    By differentiating the gradient: about three gradients' work, in the memory of one part of the batch.
    """
    product = None
    for weight, part in _parts(loss, batch):
        leaves = _leaves(params)
        value = weight * loss(leaves, part)
        first = named_grad(value.sum(), {name: leaves[name] for name in vector}, create_graph=True)
        curved = [name for name in first if first[name].requires_grad]  # a linear loss has no curvature
        if curved:
            weights = [vector[name] for name in curved]
            product = _add(product, named_grad([first[name] for name in curved], leaves, weights))
    return product or {name: torch.zeros_like(p) for name, p in params.items()}


def difference_quotient(loss: Loss, params: Tensors, batch, grads: Tensors, vector: Tensors) -> Tensors:
    """(∇L(θ + h·vector) − ∇L(θ)) / h, one more gradient where ``grads`` = ∇L(θ) is known; error of order h.

    h = `STEP` · ‖θ‖ / ‖vector‖ over the parameters that ``vector`` names.
    """
    size = _norm({name: params[name] for name in vector}) / _norm(vector).clamp(min=1e-30)
    h = STEP * size
    moved = {**params, **{name: torch.addcmul(params[name], v, h) for name, v in vector.items()}}
    _, ahead = loss_and_grad(loss, moved, batch)
    return {name: ahead[name].sub_(grads[name]).div_(h) for name in grads}


def named_grad(outputs, inputs: Tensors, weights=None, create_graph: bool = False) -> Tensors:
    """Gradients by name; zero, not none, for a parameter that the outputs do not depend on."""
    found = grad(outputs, list(inputs.values()), weights, create_graph=create_graph, materialize_grads=True)
    return dict(zip(inputs, found))


def _parts(loss: Loss, batch) -> list[tuple[float, Any]]:
    return loss.split(batch) if hasattr(loss, "split") else [(1.0, batch)]


def _leaves(params: Tensors) -> Tensors:
    return {name: p.detach().requires_grad_() for name, p in params.items()}


def _add(total: Tensors | None, more: Tensors) -> Tensors:
    if total is None:
        return more
    return {name: total[name] + more[name] for name in more}


def _norm(tensors: Tensors) -> torch.Tensor:
    return torch.stack([t.norm() for t in tensors.values()]).norm()
