"""Weights that cannot be differentiated or trained as they are, each with its cure."""

from collections.abc import Collection, Iterator

import torch
from torch.nn.utils import parametrize
from transformers import PreTrainedModel

_PACKED = ("torch.ao.nn.quantized", "torch.nn.quantized")  # modules without parameters
_WEIGHT_NORM = ("_WeightNorm", "WeightNorm")  # of torch: a parametrization, a hook


def check_trainable(model: PreTrainedModel) -> None:
    """Raise `ValueError` for weights that autograd does not see as they are used."""
    for name, module in model.named_modules():
        if type(module).__module__.startswith(_PACKED):
            raise ValueError(
                "quantisation: expected weights in floating point, found those of "
                f"{name} packed, which would not be trained; use the model that was "
                "quantised"
            )
    if parametrize._cache_enabled:
        raise ValueError(
            "parametrize.cached: expected weights that are computed at every call, "
            "found those of the first kept; leave the block"
        )
    first: dict[torch.dtype, str] = {}
    for name, parameter in model.named_parameters():
        _check_weight(name, parameter)
        first.setdefault(parameter.dtype, name)
    adapted = hasattr(model, "peft_config")  # adapters see to their own types
    if {torch.float32, torch.float64} <= set(first) and not adapted:
        found = ", ".join(f"{name} in {dtype}" for dtype, name in first.items())
        raise ValueError(
            f"dtype: expected weights of one type, found {found}; model.to(one of them)"
        )
    for one, other in _sharing(model):
        raise _of_one_memory(one, other)


def check_writable(model: torch.nn.Module, names: Collection[str]) -> None:
    """Raise `ValueError` for parameters that cannot be written each by itself."""
    for name, parameter in model.named_parameters():
        if name in names:
            _check_memory(name, parameter)
    for pair in _sharing(model):
        if any(name in names for name in pair):
            raise _of_one_memory(*pair)


def _of_one_memory(one: str, other: str) -> ValueError:
    return ValueError(
        f"model: expected weights with memory of their own, found {one} and "
        f"{other} over one memory, of which training would make two; tie them as "
        "one parameter (model.tie_weights()), or give one a .clone()"
    )


def check_rescaled(model: PreTrainedModel) -> None:
    """Raise `ValueError` for RWKV's weights, where its first call divides some of them.

    It does so in place, outside of evaluation it undoes that: what is saved, or handed
    in as parameters, depends on when. `keep_scale` is for before that call.
    """
    if _rescaled_every(model):
        raise ValueError(
            "rescale_every: expected weights that no call writes to, found those of "
            "RWKV, which evaluation divides for half precision; load_model leaves them "
            "as they are, or set config.rescale_every to 0 before the first call"
        )


def keep_scale(model: PreTrainedModel) -> None:
    """Let RWKV's weights be as they are, see `check_rescaled`.

    The function is that of training mode, and of evaluation but for LayerNorm's ε.
    """
    if _rescaled_every(model):
        model.config.rescale_every = 0


def _rescaled_every(model: PreTrainedModel) -> int:
    """Every how many layers weights are halved, if the model has as many."""
    every = getattr(model.config, "rescale_every", 0) or 0
    return every if 0 < every < model.config.num_hidden_layers else 0


def check_weight_norm(model: PreTrainedModel, derivative: str) -> None:
    """Raise `ValueError` for weight normalisation under an exact derivative.

    What torch gives as its second derivative (`torch._weight_norm`) is wrong, as
    `gradgradcheck` says of torch 2.13.
    """
    for name, module in model.named_modules():
        hooks = module._forward_pre_hooks.values()
        if any(type(part).__name__ in _WEIGHT_NORM for part in (module, *hooks)):
            raise ValueError(
                f"weight_norm: mode {derivative!r} needs second derivatives, and those "
                f"of torch are wrong, found it in {name}; remove_weight_norm or "
                "remove_parametrizations, or mode 'finite_difference'"
            )


def _check_weight(name: str, parameter: torch.nn.Parameter) -> None:
    _check_memory(name, parameter)
    hooks = parameter._backward_hooks, parameter._post_accumulate_grad_hooks
    if parameter.requires_grad and any(hooks):
        raise ValueError(
            f"model: expected gradients as they are, found a hook on that of {name}, "
            "which copies of a weight do not have; remove it (to freeze a weight: "
            "requires_grad_(False))"
        )


def _check_memory(name: str, parameter: torch.nn.Parameter) -> None:
    if parameter.is_meta:
        raise ValueError(
            f"device: expected weights in memory, found {name} on 'meta'; "
            "load_model, or model.to_empty and load_state_dict"
        )
    if parameter.is_inference():
        raise ValueError(
            "torch.inference_mode: expected weights that autograd may track, "
            f"found {name} made within; load the model outside of it"
        )
    if parameter.numel() > _extent(parameter):
        raise ValueError(
            f"model: expected weights with memory of their own, found {name} with "
            "several entries in one place (.expand); give it a .clone()"
        )


def _extent(parameter: torch.Tensor) -> int:
    """Places in memory from the first entry to the last."""
    if not parameter.numel():
        return 0
    steps = zip(parameter.shape, parameter.stride(), strict=True)
    return 1 + int(sum((size - 1) * stride for size, stride in steps))


def _sharing(model: torch.nn.Module) -> Iterator[tuple[str, str]]:
    """Pairs of parameters with an entry in common."""
    held: dict[int, list[tuple[str, torch.Tensor]]] = {}
    for name, parameter in model.named_parameters():
        place = parameter.untyped_storage().data_ptr()
        if parameter.numel() and place:  # 0: nothing is held
            held.setdefault(place, []).append((name, parameter))
    for together in held.values():
        together.sort(key=lambda named: named[1].storage_offset())
        for n, (one, a) in enumerate(together):
            end = a.storage_offset() + _extent(a)
            for other, b in together[n + 1 :]:
                if b.storage_offset() >= end:
                    break
                if _overlap(a, b):
                    yield one, other


def _overlap(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors over one storage have an entry in common."""
    start = min(x.storage_offset() for x in (a, b))
    end = max(x.storage_offset() + _extent(x) for x in (a, b))
    # their spans overlap, and columns of one matrix lie between each other
    every = torch.arange(int(end - start))
    one, other = (
        every.as_strided(x.shape, x.stride(), x.storage_offset() - start)
        for x in (a, b)
    )
    return bool(torch.isin(one, other).any())
