"""The meta-gradient: the gradient of a query loss through k optimiser steps on support batches.

    θ₀ = θ,   (θₜ₊₁, sₜ₊₁) = U(∇Lₜ(θₜ), sₜ, θₜ)  for t = 0 … k−1,   F(θ) = L_Q(θ_k)

`meta_gradient` returns ∇F(θ), exactly in the modes "reverse" and "unrolled". Source: MAML (Finn et al. 2017) for the
objective; the reverse sweep is back-propagation through time with every inner gradient recomputed.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .calculus import (
    Loss,
    add_to,
    gradient_and_product,
    hessian_vector_product,
    leaves_of,
    loss_and_grad,
    named_grad,
    parts_of,
)
from .differences import DifferenceQuotient
from .errors import check_choice
from .optimizers import Tensors
from .trajectory import Trajectory
from .trees import tree_map

MODES = ("reverse", "unrolled", "first_order", "finite_difference")


@dataclass(frozen=True)
class MetaGradient:
    """``query_loss`` and ``inner_losses`` (before each inner step) in nats, for stacked tasks a list of one a task;
    ``grads`` like the parameters; ``adapted`` the parameters θ_k, of which those that did not move are the ones that were
    given, and ``state`` the optimiser state s_k after the inner phase, detached."""

    query_loss: float
    grads: Tensors
    inner_losses: tuple[float, ...]
    adapted: Tensors
    state: Any


def meta_gradient(
    loss: Loss,
    params: Tensors,
    support: Sequence,
    query: Any,
    inner,
    *,
    mode: str = "reverse",
    state: Any = None,
    adapt: Collection[str] | None = None,
) -> MetaGradient:
    """Differentiate the query loss after one ``inner`` step on each support batch, with respect to ``params``.

    Args:
        loss: ``loss(params, batch) -> scalar``. Two methods are used where it has them: ``check(mode)`` is asked before
            anything is computed, and ``split(batch) -> [(weight, part), …]`` names parts of which the loss is the
            weighted sum, so that one part's activations are held at a time.
        params: parameters by name; they are not changed.
        support: k batches, one inner step each. With none, the result is the plain gradient (MetaICL's).
        query: one batch.
        inner: an optimiser of `maml_en_llm.optimizers`; not used, and may be None, where ``support`` is empty.
        mode: "reverse" is exact and keeps the activations of one step at a time (the last step's are still held while
            the query's gradient is computed); "unrolled" is exact, the textbook way, and keeps those of all k steps;
            "finite_difference" is the sweep with every Hessian-vector product replaced by a difference of two
            gradients, for any kernel; "first_order" takes the adapted parameters for a constant shift of θ.
            Cost in gradients: about 4k, 3k+1, 2k+1 (2k+2 where the first guess of a step fails), k+1.
        state: the optimiser's state to begin with, taken as a constant; default: ``inner.init``.
        adapt: names of the parameters that the inner steps move (default: all). The gradient is still with respect to
            every parameter of ``params``.

    Raises:
        ValueError: an unknown mode or parameter name, no name at all, or a loss that the mode cannot differentiate.
    """
    check_choice("mode", mode, MODES)
    names = list(params if adapt is None else adapt)
    unknown = set(names) - set(params)
    if unknown or not names:
        raise ValueError(f"adapt: expected names of parameters, found {sorted(unknown)[0] if unknown else None!r}")
    if hasattr(loss, "check"):
        loss.check(mode if support else "first_order")
    params = {name: p.detach() for name, p in params.items()}
    if support and state is None:
        state = inner.init({name: params[name] for name in names})
    sweep = {"reverse": _reverse, "unrolled": _unrolled, "first_order": _first_order,
             "finite_difference": _finite_difference}[mode]
    return sweep(loss, params, support, query, inner, state, names)


def _reverse(loss, params, support, query, inner, state, names) -> MetaGradient:
    if any(len(parts_of(loss, batch)) > 1 for batch in support):  # parts cannot wait for one another: each is visited twice
        def look_back(params, batch, grads):
            return grads, lambda vector, total: add_to(total, hessian_vector_product(loss, params, batch, vector))

        return _sweep(loss, params, support, query, inner, state, names, look_back)

    def recompute(params, batch, grads=None):
        return gradient_and_product(loss, params, batch, names)[1:]

    return _sweep(loss, params, support, query, inner, state, names, recompute, recomputes=True)


def _finite_difference(loss, params, support, query, inner, state, names) -> MetaGradient:
    quotient = DifferenceQuotient(loss)

    def look_back(params, batch, grads):
        return grads, lambda vector, total: quotient(params, batch, grads, vector, total)

    return _sweep(loss, params, support, query, inner, state, names, look_back, by=list(params))


def _sweep(loss, params, support, query, inner, state, names, look_back, recomputes=False, by=None) -> MetaGradient:
    trajectory, losses, waiting = Trajectory(inner, names, keep_grads=not recomputes), [], None
    for t, batch in enumerate(support, 1):  # forward: no graph is kept
        last = t == len(support)
        if recomputes and last:  # looked back at next: this graph can wait
            value, grads, add_product = gradient_and_product(loss, params, batch, names)
            waiting = grads, add_product
        else:
            value, grads = loss_and_grad(loss, params, batch, by or names)
        params, state = trajectory.step(params, state, grads, last)
        losses.append(value)
        grads = None  # not held beside the next ones
    value, adjoint = loss_and_grad(loss, params, query)
    adapted, final, moments_adjoint, to_grads = params, state, None, None
    adjoint = {name: g.clone(memory_format=torch.contiguous_format) for name, g in adjoint.items()}
    for batch in reversed(support):  # backward: λ ← ∂U/∂θ·λ + ∇²L(θₜ)·λ_g
        params, state, grads = trajectory.pop()
        grads, add_product = waiting or look_back(params, batch, grads)
        moved = {name: grads[name] for name in names}
        to_grads, moments_adjoint = inner.pull_back_(moved, state, params, adjoint, moments_adjoint, to_grads)
        add_product(to_grads, adjoint)
        waiting = grads = add_product = moved = None  # frees the step's graph before the next one is built
    return MetaGradient(value, adjoint, tuple(losses), adapted, final)


def _unrolled(loss, params, support, query, inner, state, names) -> MetaGradient:
    theta, losses = leaves_of(params), []
    adapted = theta
    for batch in support:
        value = loss(adapted, batch)
        grads = named_grad(value.sum(), {name: adapted[name] for name in names}, create_graph=True)
        adapted, state = inner.update(grads, state, adapted)
        losses.append(value.tolist())
    value = loss(adapted, query)
    grads = named_grad(value.sum(), theta)
    return MetaGradient(value.tolist(), grads, tuple(losses), *tree_map(torch.Tensor.detach, (adapted, state)))


def _first_order(loss, params, support, query, inner, state, names) -> MetaGradient:
    losses = []
    for batch in support:
        value, grads = loss_and_grad(loss, params, batch, names)
        params, state = inner.update(grads, state, params)
        losses.append(value)
        grads = None  # not held beside the next ones
    value, grads = loss_and_grad(loss, params, query)
    return MetaGradient(value, grads, tuple(losses), params, state)
