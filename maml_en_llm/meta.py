"""The meta-gradient: the gradient of a query loss through k optimiser steps on support batches.

    θ₀ = θ,   (θₜ₊₁, sₜ₊₁) = U(∇Lₜ(θₜ), sₜ, θₜ)  for t = 0 … k−1,   F(θ) = L_Q(θ_k)

`meta_gradient` returns ∇F(θ), exactly in the modes "reverse" and "unrolled". Source: MAML (Finn et al. 2017) for the
objective; the reverse sweep is back-propagation through time with every inner gradient recomputed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd import grad

from .optimizers import Tensors
from .trees import tree_leaves, tree_map

MODES = ("reverse", "unrolled", "first_order")
Loss = Callable[[Tensors, Any], torch.Tensor]


@dataclass(frozen=True)
class MetaGradient:
    """``query_loss`` and ``inner_losses`` (before each inner step) in nats; ``grads`` like the parameters;
    ``adapted`` the parameters θ_k and ``state`` the optimiser state s_k after the inner phase, detached."""

    query_loss: float
    grads: Tensors
    inner_losses: tuple[float, ...]
    adapted: Tensors
    state: Any


def meta_gradient(
    loss: Loss, params: Tensors, support: Sequence, query: Any, inner, *, mode: str = "reverse", state: Any = None
) -> MetaGradient:
    """Differentiate the query loss after one ``inner`` step on each support batch, with respect to ``params``.

    Args:
        loss: ``loss(params, batch) -> scalar``. If it has a method ``check_second_order``, that is asked first.
        params: parameters by name; they are not changed.
        support: k batches, one inner step each. With none, the result is the plain gradient (MetaICL's).
        query: one batch.
        inner: an optimiser of `maml_en_llm.optimizers`; not used, and may be None, where ``support`` is empty.
        mode: "reverse" is exact and keeps one step's activations at a time; "unrolled" is exact, the textbook way, and
            keeps those of all k steps; "first_order" takes the adapted parameters for a constant shift of θ.
        state: the optimiser's state to begin with, taken as a constant; default: ``inner.init(params)``.

    Raises:
        ValueError: an unknown mode, or a loss that cannot be differentiated twice.
    """
    if mode not in MODES:
        raise ValueError(f"mode: expected one of {', '.join(MODES)}, found {mode!r}")
    if mode != "first_order" and support and hasattr(loss, "check_second_order"):
        loss.check_second_order()
    params = {name: p.detach() for name, p in params.items()}
    state = inner.init(params) if support and state is None else state
    sweep = {"reverse": _reverse, "unrolled": _unrolled, "first_order": _first_order}[mode]
    return sweep(loss, params, support, query, inner, state)


def _first_order(loss, params, support, query, inner, state) -> MetaGradient:
    losses = []
    for batch in support:
        value, grads = value_and_grad(loss, params, batch)
        params, state = inner.update(grads, state, params)
        losses.append(value)
    value, grads = value_and_grad(loss, params, query)
    return MetaGradient(value, grads, tuple(losses), params, state)


def _unrolled(loss, params, support, query, inner, state) -> MetaGradient:
    theta, losses = _leaves(params), []
    adapted = theta
    for batch in support:
        value = loss(adapted, batch)
        adapted, state = inner.update(_grads(value, adapted, create_graph=True), state, adapted)
        losses.append(value.item())
    value = loss(adapted, query)
    return MetaGradient(value.item(), _grads(value, theta), tuple(losses), _detached(adapted), _detached(state))


def _reverse(loss, params, support, query, inner, state) -> MetaGradient:
    tape, losses = [], []
    for batch in support:  # forward: all that is kept of a step is θₜ, gₜ and sₜ
        value, grads = value_and_grad(loss, params, batch)
        tape.append((params, grads, state))
        params, state = inner.update(grads, state, params)
        losses.append(value)
    value, adjoint = value_and_grad(loss, params, query)
    adapted, final, state_adjoint = params, state, None
    for batch in reversed(support):  # backward: λ ← ∂U/∂θ·λ + ∇²L(θₜ)·λ_g
        params, grads, state = tape.pop()
        grads_adjoint, state_adjoint, adjoint = pull_back(inner, grads, state, params, adjoint, state_adjoint)
        curved = hessian_vector_product(loss, params, batch, grads_adjoint)
        adjoint = {name: adjoint[name] + curved[name] for name in adjoint}
    return MetaGradient(value, adjoint, tuple(losses), adapted, final)


def value_and_grad(loss: Loss, params: Tensors, batch) -> tuple[float, Tensors]:
    """L(θ) as a number and ∇L(θ) by parameter name."""
    leaves = _leaves(params)
    value = loss(leaves, batch)
    return value.item(), _grads(value, leaves)


def hessian_vector_product(loss: Loss, params: Tensors, batch, vector: Tensors) -> Tensors:
    """∇²L(θ) · vector, by differentiating ⟨∇L(θ), vector⟩; about three times the work of a gradient."""
    leaves = _leaves(params)
    first = _grads(loss(leaves, batch), leaves, create_graph=True)
    curved = [name for name in first if first[name].requires_grad]  # a parameter that enters linearly has no curvature
    if not curved:
        return {name: torch.zeros_like(p) for name, p in params.items()}
    return _grads([first[name] for name in curved], leaves, [vector[name] for name in curved])


def pull_back(inner, grads: Tensors, state, params: Tensors, adjoint: Tensors, state_adjoint):
    """Adjoints of an update's inputs (g, s, θ) from those of its outputs (θ', s'); ``None`` is a zero adjoint of s'."""
    inputs = tuple(_leaves(part) for part in (grads, state, params))
    new, new_state = inner.update(*inputs)
    outputs, weights = tree_leaves(new), tree_leaves(adjoint)
    if state_adjoint is not None:
        outputs, weights = outputs + tree_leaves(new_state), weights + tree_leaves(state_adjoint)
    pulled = iter(grad(outputs, tree_leaves(inputs), weights, materialize_grads=True))
    return tree_map(lambda _: next(pulled), inputs)


def _grads(outputs, inputs: Tensors, weights=None, create_graph: bool = False) -> Tensors:
    # A parameter that the outputs do not depend on has a gradient of zero, not none.
    found = grad(outputs, list(inputs.values()), weights, create_graph=create_graph, materialize_grads=True)
    return dict(zip(inputs, found))


def _leaves(tree):
    return tree_map(lambda tensor: tensor.detach().requires_grad_(), tree)


def _detached(tree):
    return tree_map(torch.Tensor.detach, tree)
