"""Derivatives of a loss by parameter name: gradients and Hessian-vector products."""

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch.autograd import grad

from ..tensors import Tensors, add_to

Loss = Callable[[Tensors, Any], torch.Tensor]


def loss_and_grad(
    loss: Loss, params: Tensors, batch, names: Collection[str] | None = None
) -> tuple[float, Tensors]:
    """L(θ) as a number and ∇L(θ) by parameter name; with ``names`` by these parameters only, which is less work."""
    total, grads = 0.0, None
    for weight, part in parts_of(loss, batch):
        leaves = leaves_of(params, names)
        value = weight * loss(leaves, part)
        grads = _add(grads, named_grad(value.sum(), _some(leaves, names)))
        total = total + value.detach()
        del value  # and with it what it holds of this part, before the next one is run
    return total.tolist(), grads


def gradient_and_product(loss: Loss, params: Tensors, batch, names: Collection[str]):
    """L(θ), ∇L(θ) by ``names``, and a function (vector, total) that adds ∂/∂θ ⟨∇L(θ), vector⟩ to ``total``.

    All from one graph, which lives until the function is called: it saves computing the gradient again where the product
    is wanted next.
    """
    leaves = leaves_of(params)
    value = loss(leaves, batch)
    grads = named_grad(value.sum(), _some(leaves, names), create_graph=True)

    def add_product(vector: Tensors, total: Tensors) -> None:
        add_to(total, _product(grads, leaves, vector))

    return value.tolist(), {name: g.detach() for name, g in grads.items()}, add_product


def hessian_vector_product(
    loss: Loss, params: Tensors, batch, vector: Tensors
) -> Tensors:
    """∂/∂θ ⟨∇L(θ), vector⟩ for every parameter; ``vector`` may name some of them only.

    By differentiating the gradient: about three gradients' work, in the memory of one part of the batch.
    """
    product = None
    for weight, part in parts_of(loss, batch):
        leaves = leaves_of(params)
        value = weight * loss(leaves, part)
        first = named_grad(value.sum(), _some(leaves, vector), create_graph=True)
        product = _add(product, _product(first, leaves, vector))
        del (
            value,
            first,
        )  # and with them what they hold of this part, before the next one is run
    return product


def _product(grads: Tensors, leaves: Tensors, vector: Tensors) -> Tensors:
    curved = [
        name for name in grads if grads[name].requires_grad
    ]  # a linear loss has no curvature
    if not curved:
        return {name: torch.zeros_like(p) for name, p in leaves.items()}
    return named_grad(
        [grads[name] for name in curved], leaves, [vector[name] for name in curved]
    )


def named_grad(
    outputs, inputs: Tensors, weights=None, create_graph: bool = False
) -> Tensors:
    """Gradients by name; zero, not none, for a parameter that the outputs do not depend on."""
    found = grad(
        outputs,
        list(inputs.values()),
        weights,
        create_graph=create_graph,
        materialize_grads=True,
    )
    return dict(zip(inputs, found))


def parts_of(loss: Loss, batch) -> list[tuple[float, Any]]:
    """Weights and parts of a batch, of which the loss is the weighted sum."""
    return loss.split(batch) if hasattr(loss, "split") else [(1.0, batch)]


def leaves_of(params: Tensors, names: Collection[str] | None = None) -> Tensors:
    """The same values as new variables, of which autograd tracks all or those of ``names``."""
    tracked = params if names is None else set(names)
    return {
        name: p.detach().requires_grad_(name in tracked) for name, p in params.items()
    }


def _some(tensors: Tensors, names: Collection[str] | None) -> Tensors:
    return tensors if names is None else {name: tensors[name] for name in names}


def _add(total: Tensors | None, more: Tensors) -> Tensors:
    if total is None:
        return more
    return {name: total[name] + more[name] for name in more}
