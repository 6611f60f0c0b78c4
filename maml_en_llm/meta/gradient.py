"""The meta-gradient: the gradient of a query loss through k optimizer steps.

    θ₀ = θ,   (θₜ₊₁, sₜ₊₁) = U(∇Lₜ(θₜ), sₜ, θₜ)  for t = 0 … k−1,   F(θ) = L_Q(θ_k)

`meta_gradient` returns ∇F(θ). Source of the objective: MAML (Finn et al. 2017).
Its modes, and what they cost where one gradient costs 1:

- "reverse": exact, about 4k. Holds the activations of one step at a time (the last
  step's also while the query's gradient is computed).
- "unrolled": exact, the textbook way, 3k + 1. Holds the activations of all k steps.
- "first_order": k + 1. Takes the adapted parameters for a constant shift of θ.
- "finite_difference": 2k + 1 (2k + 2 where the first guess of a way fails). The
  sweep with a difference of two gradients for every Hessian-vector product: for any
  kernel. Error in float64: about 1e-3 of the largest entry under Adam, 1e-4 under
  SGD.

"reverse" and "finite_difference" call the loss again at the same θ: it has to be
one and the same function at every call, without dropout or other random numbers.
The other two call it once per batch. "Exact" is about what autograd sees. What a
model's forward pass detaches (DoRA's norms, early cycles that run without
gradients) is a constant to all modes but the last.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

from ..errors import check_choice, shown
from ..optimizers import EightBit, Optimizer
from ..optimizers.base import check_optimizer, check_variances, first_state, layers_of
from ..tensors import Tensors, check_floating, check_in_memory, check_named
from .calculus import as_loss, checked_names, recorded
from .precision import check_precision
from .steps import FromOneGraph, check_draws, random_states, steps_for
from .sweep import reverse_sweep
from .textbook import first_order, unrolled

DERIVATIVES = ("reverse", "unrolled", "first_order", "finite_difference")
"""Ways to a meta-gradient, see `meta.gradient`."""


@dataclass(frozen=True)
class MetaGradient:
    """What `meta_gradient` returns.

    Args:
        query_loss: L_Q(θ_k) in the loss's unit, nats per target token; for n stacked
            tasks a list of n.
        grads: ∇F(θ), like the parameters.
        inner_losses: Lₜ(θₜ) before each of the k inner steps, as ``query_loss``.
        adapted: θ_k; those that did not move share the memory of what was given.
        state: the optimizer's state s_k after the inner phase, detached.
    """

    query_loss: Any
    grads: Tensors
    inner_losses: tuple
    adapted: Tensors
    state: Any


@recorded
def meta_gradient(
    loss: Callable,
    params: Tensors,
    support: Sequence,
    query: Any,
    inner,
    *,
    mode: str = "reverse",
    state: Any = None,
    adapt: Collection[str] | None = None,
) -> MetaGradient:
    """Differentiate the query loss after one ``inner`` step per support batch.

    Args:
        loss: a `Loss`, or ``loss(params, batch) -> scalar``, computed from ``params``
            (``torch.func.functional_call``).
        params: θ, floating-point tensors by name; they are not changed.
        support: k batches, one inner step each; with none, the plain gradient.
        query: one batch.
        inner: an optimizer; not used, and may be None, where ``support`` is empty.
        mode: one of `DERIVATIVES`, see ``help(maml_en_llm.meta.gradient)``.
        state: the optimizer's state at the start, a constant; default: ``inner.init``.
        adapt: names of the parameters that the inner steps move (default: all). The
            gradient is still with respect to every parameter of ``params``.

    Raises:
        ValueError: an unknown mode or parameter name, no name at all, no optimizer,
            a state that is not its own, types, precision, a loss or an optimizer that
            the mode cannot differentiate, or `torch.inference_mode`.
    """
    check_choice("mode", mode, DERIVATIVES)
    _check_kinds(params, support, inner, state)
    check_floating(params)
    check_in_memory(params)
    names = _to_adapt(adapt, params)
    loss = as_loss(loss)
    loss.check(mode if support else "first_order")
    params = {name: p.detach() for name, p in params.items()}
    if support and mode != "first_order":
        _check_derivative(mode, inner, params)
    if support and state is None:
        state = first_state(inner, {name: params[name] for name in names})
    if mode in ("unrolled", "first_order"):
        way = unrolled if mode == "unrolled" else first_order
        return MetaGradient(*way(loss, params, support, query, inner, state, names))
    steps, before = steps_for(mode, loss, support, inner, names), random_states(params)
    found = reverse_sweep(loss, params, support, query, inner, state, steps)
    if not isinstance(steps, FromOneGraph):  # which compares all that it computes again
        check_draws(loss, params, support, before)
    return MetaGradient(*found)


def _check_kinds(params, support, inner, state) -> None:
    """`ValueError` for arguments that are of another kind altogether."""
    check_named(params=params)
    if not params:  # as of a frozen model
        raise ValueError(
            "params: expected one tensor or more, found none; those of a model have to "
            "require grad: model.requires_grad_(), or for adapters "
            "PeftModel.from_pretrained(..., is_trainable=True)"
        )
    if not isinstance(support, Sequence) or isinstance(support, (str, bytes)):
        raise ValueError(
            f"support: expected a list of batches, found a {type(support).__name__}"
        )
    if not support:
        return
    check_optimizer("inner", inner, " for the support")
    last = layers_of(inner)[-1]
    moments = hasattr(last, "slots")  # of `maml_en_llm.optimizers`
    if state is not None and moments and not hasattr(state, "moments"):
        raise ValueError(
            f"state: expected that of the optimizer, inner.init(params), or None, "
            f"found {shown(state)}"
        )
    if state is not None and moments:
        check_variances(state, last.slots)


def _check_derivative(mode: str, inner, params: Tensors) -> None:
    """`ValueError` for types, or an optimizer's steps, that the mode cannot take.

    Every optimizer that wraps another is asked, and the last.
    """
    check_precision(mode, params, {p.device.type for p in params.values()})
    for step in layers_of(inner):
        if isinstance(step, EightBit):
            raise ValueError(
                f"inner: expected an optimizer with a derivative, which mode {mode!r} "
                f"needs, found {shown(step)}, which rounds its moments; take "
                f"{shown(step.optimizer)}, or mode 'first_order'"
            )
        if mode != "unrolled":
            _check_adjoint(mode, inner, step)


def _check_adjoint(mode: str, inner, step) -> None:
    """`ValueError` for a step without an adjoint, or with that of another step.

    A class that overrides the update of the class it inherits its adjoint from has the
    derivative of what it no longer does.
    """
    kind = type(step)
    forward = _first_with(kind, "rule", "update")
    back = _first_with(kind, "adjoint", "pull_back_")
    owner = (*kind.__mro__, None)[back]  # None: the step may hand it on
    lacks = owner is Optimizer or not callable(getattr(step, "pull_back_", None))
    if lacks or (owner and forward < back):
        name = getattr(owner, "__name__", "")
        more = "" if lacks else f", whose update is not that of its {name}"
        raise ValueError(
            f"inner: expected an optimizer with an adjoint, which mode {mode!r} "
            f"needs, found {shown(inner)}{more}; write {kind.__name__}.adjoint, or use "
            "mode 'unrolled'"
        )
    taken = signature(step.update).parameters
    if "out" not in taken and not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        raise ValueError(
            f"inner: expected an update with an argument `out`, which mode {mode!r} "
            f"needs (memory that it may write over), found {kind.__name__}.update"
            f"{signature(step.update)}; add out=None, or use mode 'unrolled'"
        )


def _first_with(kind: type, *names: str) -> int:
    """How far up the first class is that defines one of ``names`` itself."""
    line = kind.__mro__
    own = (any(name in vars(each) for name in names) for each in line)
    return next((place for place, found in enumerate(own) if found), len(line))


def _to_adapt(adapt: Collection[str] | None, params: Tensors) -> list[str]:
    if adapt is None:
        return list(params)
    # a set has no order of its own
    of_these = set(checked_names("adapt", adapt, params))
    return [name for name in params if name in of_these]
