"""What makes a derivative impossible or, worse, silently wrong.

Settings of a model that a way to differentiate it refuses, each with its cure.
"""

from collections.abc import Collection, Mapping

import torch
from transformers import PreTrainedModel

from ..errors import listed, nearest, shown
from ..meta.precision import check_precision
from .adapter_kinds import configs_of
from .attention import TWICE
from .safe import known_as, takes_twice
from .sizes import attention_of
from .weight_guards import check_trainable, check_weight_norm

_RANDOM = ("drop", "jitter", "noise")  # in names of rates, which training alone uses
SECOND_ORDER = ("reverse", "unrolled", "finite_difference")
EXACT = ("reverse", "unrolled")


def check_module(model) -> None:
    """Raise `ValueError` for what has no parameters, such as a model's name."""
    if not isinstance(model, torch.nn.Module):
        raise ValueError(
            f"model: expected a module of torch, found {shown(model)}; load_model "
            "gives a model and its tokenizer"
        )


def check_kind(model) -> None:
    """Raise `ValueError` for what is no language model of `transformers`."""
    module = isinstance(model, torch.nn.Module)
    if not module or not hasattr(model, "config"):
        found = f"a {type(model).__name__}" if module else shown(model)
        inner = "; take its .module" if hasattr(model, "module") else ""
        raise ValueError(
            "model: expected a causal language model of transformers, as load_model "
            f"gives, found {found}{inner}"
        )
    if getattr(model.config, "return_dict", True) is False:
        raise ValueError(
            "model: expected outputs with names, found config.return_dict False, "
            "which gives tuples; set it to True"
        )


def names_of(model: PreTrainedModel) -> frozenset[str]:
    """Names of parameters and buffers, tied ones by each of theirs."""
    return frozenset(name for name, _ in _named(model))


def _named(model: PreTrainedModel) -> list[tuple[str, torch.Tensor]]:
    parameters = model.named_parameters(remove_duplicate=False)
    return [*parameters, *model.named_buffers(remove_duplicate=False)]


def check_names(model: PreTrainedModel, params: Collection[str]) -> None:
    """Raise `ValueError` for a name that is no weight's: it would count for nothing."""
    own = names_of(model)
    for name in params:
        if name not in own:
            raise ValueError(
                f"params: expected names of the model's weights, found {shown(name)}"
                f"{nearest(name, sorted(own))}"
            )


def tied_names(model: PreTrainedModel) -> list[list[str]]:
    """The names of each parameter and buffer that has several."""
    names: dict[int, list[str]] = {}
    for name, tensor in _named(model):
        names.setdefault(id(tensor), []).append(name)
    return [each for each in names.values() if len(each) > 1]


def check_tied(tied: list[list[str]], params: Mapping[str, torch.Tensor]) -> None:
    """Raise `ValueError` for one tensor under two names: which would be the weight?"""
    for names in tied:
        given = [name for name in names if name in params]
        if len({id(params[name]) for name in given}) > 1:
            raise ValueError(
                f"params: expected each weight once, found {listed(given)}, which are "
                "one tensor of the model; use parameters(model)"
            )


def check(model: PreTrainedModel, derivative: str) -> None:
    """Raise `ValueError`, naming the cure, where a derivative cannot be had.

    ``derivative`` is one of `meta.DERIVATIVES`. First order goes in any precision, but
    not with gradient checkpointing, nor with attention "twice" in a class that is not
    known to be right with it, nor with weights that autograd does not see.
    """
    check_trainable(model)
    _check_lookups(model)
    _check_checkpointing(model)
    _check_attention(model, derivative)
    if derivative not in SECOND_ORDER:
        return
    _check_dropout(model, derivative)
    check_precision(derivative, dict(model.named_parameters()), [model.device.type])
    _check_compiled(model, derivative)
    _check_approximate(model, derivative)
    if derivative in EXACT:
        check_weight_norm(model, derivative)


def _check_lookups(model: PreTrainedModel) -> None:
    for name, module in model.named_modules():
        if getattr(module, "max_norm", None) is not None:
            raise ValueError(
                f"max_norm: expected embeddings that only look up, found {name}, which "
                "rewrites its rows when it is asked; set its max_norm to None"
            )


def _check_checkpointing(model: PreTrainedModel) -> None:
    modules = model.modules()
    if any(getattr(module, "gradient_checkpointing", False) for module in modules):
        raise ValueError(
            "gradient checkpointing: the module would be recomputed with its own "
            "weights instead of the adapted ones, silently; "
            "model.activation_checkpointing_disable() (mode 'reverse' keeps memory "
            "flat instead)"
        )


def _check_attention(model: PreTrainedModel, derivative: str) -> None:
    attention = attention_of(model)
    if attention == TWICE and not takes_twice(model):
        raise ValueError(
            f"attention: {TWICE!r} is not known to be right for {known_as(model)}; "
            "load_model(..., attention='eager') or "
            "model.set_attn_implementation('eager')"
        )
    if derivative in EXACT and attention not in ("eager", TWICE):
        raise ValueError(
            f"attention: mode {derivative!r} needs 'eager' or {TWICE!r} attention, "
            f"found {attention!r}, which has no second derivative; "
            f"load_model(..., attention={TWICE!r}) or "
            f"model.set_attn_implementation({TWICE!r})"
        )


def _check_approximate(model: PreTrainedModel, derivative: str) -> None:
    configs = configs_of(model)
    if any(getattr(config, "velora_config", None) for config in configs):
        raise ValueError(
            f"velora_config: mode {derivative!r} needs gradients that are derivatives "
            "of the loss, and VeLoRA's are made of compressed activations; set it to "
            "None, or use mode 'first_order'"
        )


def _check_dropout(model: PreTrainedModel, derivative: str) -> None:
    active = active_dropout(model)
    if active:
        raise ValueError(
            f"dropout: mode {derivative!r} needs one and the same function at every "
            f"call, found {active[0]} and {len(active) - 1} more in training; "
            "model.eval() or set them to 0"
        )


def _check_compiled(model: PreTrainedModel, derivative: str) -> None:
    if torch.compiler.is_compiling() or _is_compiled(model):
        raise ValueError(
            f"torch.compile: mode {derivative!r} needs a second derivative, which "
            "compiled code does not have; use the model that was compiled (float32 or "
            "float64), or mode 'first_order'"
        )


def _is_compiled(model: PreTrainedModel) -> bool:
    for module in model.modules():
        compiled = hasattr(module, "_orig_mod") or module._compiled_call_impl
        if compiled or hasattr(module.forward, "_torchdynamo_orig_callable"):
            return True
    return False


def check_no_dropout(model: torch.nn.Module, why: str) -> None:
    """Raise `ValueError` for dropout, or other noise of training, in use.

    ``why`` it may not be is for the message.
    """
    active = active_dropout(model)
    if active:
        raise ValueError(
            f"model: expected one without dropout or noise, {why}, found {active[0]} "
            f"and {len(active) - 1} more in training mode; model.eval()"
        )


def active_dropout(model: torch.nn.Module) -> list[str]:
    """All rates of dropout and noise in use: of modules, and those of functions."""
    rates = []
    for name, module in model.named_modules():
        if not module.training:
            continue
        for held, rate in _rates_of(module).items():
            if rate:
                rates.append(f"{name}.{held} = {rate:g}".lstrip("."))
    return rates


def _rates_of(module: torch.nn.Module) -> dict[str, float]:
    rate = getattr(module, "p", None)
    if "Dropout" in type(module).__name__ and isinstance(rate, float):
        return {"p": rate}
    if isinstance(module, torch.nn.modules.dropout._DropoutNd):
        return {"p": module.p}
    if isinstance(module, torch.nn.RReLU):
        return {"upper - lower": module.upper - module.lower}
    if type(module).__name__ == "MontecloraSampler":  # of peft, draws weights
        return {"draws": 1.0}
    rates = {}
    for name, value in vars(module).items():
        if not any(word in name for word in _RANDOM):
            continue
        held = value.items() if isinstance(value, dict) else [("", value)]  # by adapter
        named = [(f"{name}.{key}".rstrip("."), rate) for key, rate in held]
        rates |= {key: rate for key, rate in named if isinstance(rate, float)}
    return rates
