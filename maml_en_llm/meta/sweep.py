"""The four ways to a meta-gradient."""

from dataclasses import dataclass
from typing import Any

import torch

from ..tensors import Tensors, add_to, tree_map
from .calculus import (
    gradient_and_product,
    hessian_vector_product,
    leaves_of,
    loss_and_grad,
    named_grad,
)
from .finite_differences import DifferenceQuotient
from .trajectory import Trajectory


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


def reverse(loss, params, support, query, inner, state, names) -> MetaGradient:
    if any(
        len(loss.split(batch)) > 1 for batch in support
    ):  # parts cannot wait for one another: each is visited twice

        def look_back(params, batch, grads):
            return grads, lambda vector, total: add_to(
                total, hessian_vector_product(loss, params, batch, vector)
            )

        return _sweep(loss, params, support, query, inner, state, names, look_back)

    def recompute(params, batch, grads=None):
        return gradient_and_product(loss, params, batch, names)[1:]

    return _sweep(
        loss, params, support, query, inner, state, names, recompute, recomputes=True
    )


def finite_difference(
    loss, params, support, query, inner, state, names
) -> MetaGradient:
    quotient = DifferenceQuotient(loss)

    def look_back(params, batch, grads):
        return grads, lambda vector, total: quotient(
            params, batch, grads, vector, total
        )

    return _sweep(
        loss, params, support, query, inner, state, names, look_back, by=list(params)
    )


def _sweep(
    loss,
    params,
    support,
    query,
    inner,
    state,
    names,
    look_back,
    recomputes=False,
    by=None,
) -> MetaGradient:
    trajectory, losses, waiting = (
        Trajectory(inner, names, keep_grads=not recomputes),
        [],
        None,
    )
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
    adjoint = {
        name: g.clone(memory_format=torch.contiguous_format)
        for name, g in adjoint.items()
    }
    for batch in reversed(support):  # backward: λ ← ∂U/∂θ·λ + ∇²L(θₜ)·λ_g
        params, state, grads = trajectory.pop()
        grads, add_product = waiting or look_back(params, batch, grads)
        moved = {name: grads[name] for name in names}
        to_grads, moments_adjoint = inner.pull_back_(
            moved, state, params, adjoint, moments_adjoint, to_grads
        )
        add_product(to_grads, adjoint)
        waiting = grads = add_product = moved = (
            None  # frees the step's graph before the next one is built
        )
    return MetaGradient(value, adjoint, tuple(losses), adapted, final)


def unrolled(loss, params, support, query, inner, state, names) -> MetaGradient:
    theta, losses = leaves_of(params), []
    adapted = theta
    for batch in support:
        value = loss(adapted, batch)
        grads = named_grad(
            value.sum(), {name: adapted[name] for name in names}, create_graph=True
        )
        adapted, state = inner.update(grads, state, adapted)
        losses.append(value.tolist())
    value = loss(adapted, query)
    grads = named_grad(value.sum(), theta)
    return MetaGradient(
        value.tolist(),
        grads,
        tuple(losses),
        *tree_map(torch.Tensor.detach, (adapted, state)),
    )


def first_order(loss, params, support, query, inner, state, names) -> MetaGradient:
    losses = []
    for batch in support:
        value, grads = loss_and_grad(loss, params, batch, names)
        params, state = inner.update(grads, state, params)
        losses.append(value)
        grads = None  # not held beside the next ones
    value, grads = loss_and_grad(loss, params, query)
    return MetaGradient(value, grads, tuple(losses), params, state)
