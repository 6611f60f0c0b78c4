"""The meta-gradient: the gradient of a query loss through k optimiser steps on support batches.

    θ₀ = θ,   (θₜ₊₁, sₜ₊₁) = U(∇Lₜ(θₜ), sₜ, θₜ)  for t = 0 … k−1,   F(θ) = L_Q(θ_k)

`meta_gradient` returns ∇F(θ), exactly in the modes "reverse" and "unrolled". Source: MAML (Finn et al. 2017) for the
objective; the reverse sweep is back-propagation through time with every inner gradient recomputed.
"""

from collections.abc import Collection, Sequence
from typing import Any

from ..errors import check_choice
from ..tensors import Tensors
from .calculus import Loss, as_loss
from .sweep import MetaGradient, finite_difference, first_order, reverse, unrolled

DERIVATIVES = ("reverse", "unrolled", "first_order", "finite_difference")


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
    check_choice("mode", mode, DERIVATIVES)
    names = list(params if adapt is None else adapt)
    unknown = set(names) - set(params)
    if unknown or not names:
        raise ValueError(
            f"adapt: expected names of parameters, found {sorted(unknown)[0] if unknown else None!r}"
        )
    loss = as_loss(loss)
    loss.check(mode if support else "first_order")
    params = {name: p.detach() for name, p in params.items()}
    if support and state is None:
        state = inner.init({name: params[name] for name in names})
    sweep = {
        "reverse": reverse,
        "unrolled": unrolled,
        "first_order": first_order,
        "finite_difference": finite_difference,
    }[mode]
    return sweep(loss, params, support, query, inner, state, names)
