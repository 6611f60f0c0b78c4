"""A model's weights as tensors by name, and back."""

from collections.abc import Mapping

import torch

from ..errors import shown
from ..tensors import Tensors
from .guards import check_module
from .weight_guards import check_writable


def parameters(model: torch.nn.Module) -> Tensors:
    """The parameters that require grad, by name, detached, each tied tensor once.

    A frozen one (``requires_grad`` false) is left out: training moves what is here.
    GPT-2's head is ``transformer.wte.weight``. They share the model's memory: what
    changes the model (`write_back`, `meta_train`, an optimizer of torch) changes them.
    To keep weights, ``{name: p.clone() for name, p in parameters(model).items()}``.
    """
    check_module(model)
    moving = (named for named in model.named_parameters() if named[1].requires_grad)
    return {name: parameter.detach() for name, parameter in moving}


@torch.no_grad()
def write_back(model: torch.nn.Module, params: Tensors) -> None:
    """Make ``params`` the model's own weights; what they do not name stays as it is.

    They may be of the model's own memory, as those of `parameters` are: all are written
    as they were before the first was. Raises `ValueError` for a name that the model
    does not have, another shape, or a weight of the model that shares its memory with
    another or cannot be written, before anything is written.
    """
    check_module(model)
    if not isinstance(params, Mapping):
        adapted = "; take its .adapted" if hasattr(params, "adapted") else ""
        kind = type(params).__name__
        raise ValueError(f"params: expected tensors by name, found a {kind}{adapted}")
    own = dict(model.named_parameters())
    for name, value in params.items():
        where = f"params[{shown(name)}]: expected"
        if not _is_dense(value) or value.is_complex():
            raise ValueError(f"{where} a tensor of real numbers, found {shown(value)}")
        if name not in own or own[name].shape != value.shape:
            expected = tuple(own[name].shape) if name in own else "a parameter's name"
            raise ValueError(f"{where} {expected}, found {tuple(value.shape)}")
    check_writable(model, params.keys())
    held = {_memory(parameter) for parameter in own.values()}
    of_the_model = {
        name: value.clone()
        for name, value in params.items()
        if _memory(value) in held and not _same(value, own[name])
    }
    for name, value in {**params, **of_the_model}.items():
        own[name].copy_(value)


def _is_dense(value) -> bool:
    dense = isinstance(value, torch.Tensor) and value.layout is torch.strided
    return dense and not value.is_meta


def _memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors of a shape have each number in the same place."""
    places = ((x.data_ptr(), x.stride(), x.dtype) for x in (a, b))
    return next(places) == next(places)
