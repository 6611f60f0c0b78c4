"""Derivatives of a loss by parameter name: gradients and Hessian-vector products."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar, runtime_checkable

import torch
from torch.autograd import grad

from ..errors import nearest, shown
from ..tensors import Tensors, add_to, check_floating, check_named

P = ParamSpec("P")
R = TypeVar("R")


@runtime_checkable
class Loss(Protocol):
    """What the engine asks of a loss; `as_loss` makes one of a plain function.

    It is one and the same function at every call, see `meta.gradient`.
    """

    def __call__(self, params: Tensors, batch: Any) -> torch.Tensor:
        """L(θ, batch), a scalar; for stacked tasks one loss per task, (n,)."""
        ...

    def check(self, derivative: str) -> None:
        """Raise `ValueError` where a way to differentiate would be silently wrong."""
        ...

    def split(self, batch: Any) -> list[tuple[float, Any]]:
        """Weights and parts of a batch, of which the loss is the weighted sum."""
        ...

    def faster_together(self, params: Tensors, batches: Sequence) -> bool:
        """Whether tasks with such batches are better computed stacked than in turn."""
        ...


@dataclass(frozen=True)
class PlainLoss:
    """A function (θ, batch) → scalar as a `Loss`: no check, one part, tasks in turn.

    Only one that says whether it is ``faster_together`` ``stacks``.
    """

    function: Callable[[Tensors, Any], torch.Tensor]
    check: Any = lambda *_: None
    split: Any = lambda batch: [(1.0, batch)]
    faster_together: Any = lambda *_: False
    stacks: bool = False

    def __call__(self, params: Tensors, batch: Any) -> torch.Tensor:
        """L(θ, batch)."""
        return self.function(params, batch)


def as_loss(loss: Callable) -> Loss:
    """``loss`` as a `Loss`: itself if it is one, else with what it lacks filled in.

    Raises:
        ValueError: it cannot be called.
    """
    if hasattr(loss, "get_input_embeddings"):
        raise ValueError(
            "loss: expected a function (params, batch) -> scalar, found a model, "
            f"{type(loss).__name__}; PromptLoss(model) is its loss"
        )
    if isinstance(loss, Loss):
        return loss
    if not callable(loss):
        raise ValueError(
            f"loss: expected a function (params, batch) -> scalar, found a "
            f"{type(loss).__name__}"
        )
    methods = ("check", "split", "faster_together")
    own = {name: getattr(loss, name) for name in methods if hasattr(loss, name)}
    return PlainLoss(loss, **own, stacks="faster_together" in own)


def in_parts(loss: Loss, batches: Iterable) -> bool:
    """Whether ``loss`` is differentiated in several parts on any of ``batches``."""
    return any(len(loss.split(batch)) > 1 for batch in batches)


def loss_value(loss: Loss, params: Tensors, batch: Any) -> torch.Tensor:
    """L(θ, batch); `ValueError` for what has no gradient by ``params``."""
    value = loss(dict(params), batch)  # its own: what it rebinds is not θ
    real = isinstance(value, torch.Tensor) and value.is_floating_point()
    if not real or (value.numel() != 1 and not _is_of_stacked(loss, value)):
        kind = getattr(value, "dtype", f"a {type(value).__name__}")
        raise ValueError(
            "loss: expected a scalar, a tensor of one real number, found "
            f"{f'shape {tuple(value.shape)}' if real else kind}; return its .mean() "
            "(one loss per stacked task is for a `Loss`)"
        )
    if not value.requires_grad:
        raise ValueError(
            "loss: expected a tensor that depends on the parameters that move, found "
            "one without a gradient; compute it from params, without .detach(), "
            ".item() or torch.no_grad, and adapt what it uses"
        )
    return value if _is_of_stacked(loss, value) else value.reshape(())


def _is_of_stacked(loss: Loss, value: torch.Tensor) -> bool:
    stacks = not isinstance(loss, PlainLoss) or loss.stacks
    return stacks and value.dim() == 1 and len(value) > 0


def recorded(function: Callable[P, R]) -> Callable[P, R]:
    """``function`` with autograd on, even within `torch.no_grad`.

    It raises `ValueError` within `torch.inference_mode`, which nothing can undo.
    """

    @wraps(function)
    def with_grad(*args: P.args, **how: P.kwargs) -> R:
        if torch.is_inference_mode_enabled():
            raise ValueError(
                "torch.inference_mode: expected a mode in which autograd works, found "
                f"{function.__name__} called within; leave it, or use torch.no_grad"
            )
        with torch.enable_grad():
            return function(*args, **how)

    return with_grad


@recorded
def loss_and_grad(
    loss: Callable, params: Tensors, batch, names: Collection[str] | None = None
) -> tuple[Any, Tensors]:
    """L(θ) as a number and ∇L(θ) by parameter name, one part of the batch at a time.

    With ``names`` the gradient is by these parameters only, which is less work. For
    stacked tasks the number is a list of one loss per task.
    """
    check_floating(params)
    if names is not None:
        names = checked_names("names", names, params)
    loss = as_loss(loss)
    total: Any = 0.0
    grads = None
    for weight, part in loss.split(batch):
        leaves = leaves_of(params, names)
        value = weight * loss_value(loss, leaves, part)
        grads = _add(grads, loss_grad(value, _some(leaves, names)))
        total = total + value.detach()
        del value  # and what it holds of this part, before the next one is run
    assert grads is not None, "a loss splits a batch into at least one part"
    return total.tolist(), grads


AddProduct = Callable[[Tensors, Tensors], None]
"""(vector, total): total ← total + ∂/∂θ ⟨∇L(θ), vector⟩, in place"""


@recorded
def gradient_and_product(
    loss: Loss, params: Tensors, batch, names: Collection[str]
) -> tuple[Any, Tensors, AddProduct]:
    """L(θ), ∇L(θ) by ``names``, and what adds ∂/∂θ ⟨∇L(θ), vector⟩ to a total.

    All from one graph, which lives as long as the function that is returned: it saves
    computing the gradient again where the product is wanted next.
    """
    leaves = leaves_of(params)
    value = loss_value(loss, leaves, batch)
    grads = loss_grad(value, _some(leaves, names), create_graph=True)

    def add_product(vector: Tensors, total: Tensors) -> None:
        add_to(total, _product(grads, leaves, vector))

    return value.tolist(), {name: g.detach() for name, g in grads.items()}, add_product


@recorded
def hessian_vector_product(
    loss: Callable, params: Tensors, batch, vector: Tensors
) -> Tensors:
    """∂/∂θ ⟨∇L(θ), vector⟩ for every parameter; ``vector`` may name some of them only.

    By differentiating the gradient: about three gradients' work, in the memory of one
    part of the batch.
    """
    check_floating(params)
    check_named(vector=vector)
    for name in checked_names("vector", vector, params):
        if getattr(vector[name], "shape", None) != params[name].shape:
            raise ValueError(
                f"vector: expected a tensor of shape {tuple(params[name].shape)} for "
                f"{shown(name)}, as the parameter is, found {shown(vector[name])}"
            )
    loss = as_loss(loss)
    product = None
    for weight, part in loss.split(batch):
        leaves = leaves_of(params)
        value = weight * loss_value(loss, leaves, part)
        first = loss_grad(value, _some(leaves, vector), create_graph=True)
        product = _add(product, _product(first, leaves, vector))
        del value, first  # and what they hold of this part, before the next one is run
    assert product is not None, "a loss splits a batch into at least one part"
    return product


def _product(grads: Tensors, leaves: Tensors, vector: Tensors) -> Tensors:
    curved = [name for name in grads if grads[name].requires_grad]
    if not curved:  # a linear loss has no curvature
        return _filled({}, leaves)
    found = _grads(
        [grads[name] for name in curved], leaves, [vector[name] for name in curved]
    )
    return _filled(found, leaves)


def loss_grad(
    value: torch.Tensor, inputs: Tensors, create_graph: bool = False
) -> Tensors:
    """∇ of a loss; `ValueError` where it comes from none of ``inputs``.

    A module that is called with its own weights has a gradient, but not by ours.
    """
    found = _grads(value.sum(), inputs, create_graph=create_graph)
    if not found:
        raise ValueError(
            "loss: expected a function of the parameters that move, found one that "
            "uses none of them; compute it from params, as by "
            "torch.func.functional_call(model, params, inputs), and adapt what it uses"
        )
    return _filled(found, inputs)


def _filled(found: Tensors, inputs: Tensors) -> Tensors:
    """Gradients of all inputs: zero for one that the outputs do not need."""
    return {
        name: found[name] if name in found else torch.zeros_like(p)
        for name, p in inputs.items()
    }


def _grads(outputs, inputs: Tensors, weights=None, create_graph=False) -> Tensors:
    """Gradients by name, of the inputs that the outputs need."""
    found = grad(
        outputs,
        list(inputs.values()),
        weights,
        create_graph=create_graph,
        allow_unused=True,
    )
    needed = {n: g for n, g in zip(inputs, found, strict=True) if g is not None}
    for name, g in needed.items():
        if g.layout is not torch.strided:
            raise ValueError(
                f"loss: expected dense gradients, found {g.layout} for {shown(name)}; "
                "build it of layers without sparse=True"
            )
    return needed


def leaves_of(params: Tensors, names: Collection[str] | None = None) -> Tensors:
    """The same values as new variables; autograd tracks all, or those of ``names``."""
    tracked = params if names is None else set(names)
    return {
        name: p.detach().requires_grad_(name in tracked) for name, p in params.items()
    }


def checked_names(argument: str, names: Any, params: Tensors) -> list[str]:
    """Names of some of ``params``; `ValueError` for another, and for none at all."""
    if isinstance(names, (str, bytes)) or not isinstance(names, Iterable):
        raise ValueError(
            f"{argument}: expected a list of parameters' names, found {shown(names)}"
        )
    chosen = list(names)
    unknown = [x for x in chosen if not isinstance(x, str) or x not in params]
    if unknown or not chosen:
        found = unknown[0] if unknown else names
        raise ValueError(
            f"{argument}: expected names of parameters, found {shown(found)}"
            f"{nearest(found, params)}"
        )
    return chosen


def _some(tensors: Tensors, names: Collection[str] | None) -> Tensors:
    return tensors if names is None else {name: tensors[name] for name in names}


def _add(total: Tensors | None, more: Tensors) -> Tensors:
    if total is None:
        return more
    return {name: total[name] + more[name] for name in more}
