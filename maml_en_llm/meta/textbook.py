"""The two ways that need no sweep: all steps in one graph, and first order."""

import torch

from ..tensors import tree_map
from .calculus import leaves_of, loss_and_grad, loss_grad, loss_value


def unrolled(loss, params, support, query, inner, state, names):
    """Differentiate L_Q(θ_k) through the graph of all k steps (Finn et al. 2017).

    Arguments and returns as `reverse_sweep`'s; the steps move the parameters ``names``.
    """
    theta = leaves_of(params)
    adapted, losses = theta, []
    for batch in support:
        value = loss_value(loss, adapted, batch)
        moving = {name: adapted[name] for name in names}
        grads = loss_grad(value, moving, create_graph=True)
        adapted, state = inner.update(grads, state, adapted)
        losses.append(value.tolist())
    value = loss_value(loss, adapted, query)
    grads = loss_grad(value, theta)
    adapted = {name: p.detach() for name, p in adapted.items()}
    state = tree_map(torch.Tensor.detach, state)
    return value.tolist(), grads, tuple(losses), adapted, state


def first_order(loss, params, support, query, inner, state, names):
    """∇L_Q(θ_k): the way from θ₀ to θ_k is taken for a constant.

    Arguments and returns as `unrolled`'s.
    """
    losses = []
    for batch in support:
        value, grads = loss_and_grad(loss, params, batch, names)
        params, state = inner.update(grads, state, params)
        losses.append(value)
        del grads  # not held beside the next ones
    value, grads = loss_and_grad(loss, params, query)
    return value, grads, tuple(losses), params, state
