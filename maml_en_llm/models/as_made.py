"""What in a model is not as its library made it.

What was measured of a class says nothing of a model of that name which somebody has
changed: a fork, a part of another kind, another ``forward``, a hook.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any
from weakref import ref

import torch
from transformers import PreTrainedModel

from .sizes import base_of, own_configs

_LIBRARIES = ("transformers", "torch", "peft")
_READS = "transformers.utils.output_capturing"  # its hooks keep outputs, as they are
_COMPILED = "torch._dynamo"  # its wrapper has a `forward` of its own, and hands on
_HOOKS = (
    *("_forward_hooks", "_forward_pre_hooks"),
    *("_backward_hooks", "_backward_pre_hooks"),
)


def foreign_part(model: PreTrainedModel) -> str:
    """The first part whose code is not the library's, or whose configuration is not
    the model's; "" for none.

    A ``forward`` that was put around the whole model, as by a counter, is let be.
    """
    copied = set(map(id, own_configs(model)))
    for name, module in model.named_modules():
        kind = type(module)
        if id(vars(module).get("config")) in copied:
            return f"{name} ({kind.__name__}), which has a configuration of its own"
        if kind.__module__.startswith(_COMPILED):
            continue
        own = "forward" in vars(module) and module not in _whole(model)
        if own or not _of_a_library(kind, kind.forward):
            return f"{name or 'the model'} ({kind.__name__}), which has code of its own"
    return ""


def altered_part(model: PreTrainedModel) -> str:
    """The first part with code that is not the library's, or a hook; "" for none.

    What is around the whole model is let be.
    """
    return foreign_part(model) or next(_hooked(model), "")


def wrapped(model: PreTrainedModel) -> str:
    """What is around the whole model, a hook or a ``forward``; "" for nothing."""
    for module in _whole(model):
        if type(module).__module__.startswith(_COMPILED):
            continue
        if "forward" in vars(module) or _hooks_of(module):
            return f"the model ({type(module).__name__}), which was wrapped"
    return ""


def own_code(model: PreTrainedModel) -> tuple[ref, ...]:
    """All forwards and hooks that no library made: equal while they are the same."""
    found = []
    for module in model.modules():
        kind = type(module)
        found += [*_hooks_of(module), vars(module).get("forward")]
        if not _of_a_library(kind, kind.forward):
            found.append(kind.forward)
    return tuple(ref(code) for code in found if code is not None)


def _hooked(model: PreTrainedModel) -> Iterator[str]:
    for name, module in model.named_modules():
        if _hooks_of(module) and module not in _whole(model):
            yield f"{name} ({type(module).__name__}), which has a hook"


def _hooks_of(module: torch.nn.Module) -> list:
    hooks = [hook for held in _HOOKS for hook in getattr(module, held).values()]
    return [hook for hook in hooks if getattr(hook, "__module__", "") != _READS]


def _whole(model: PreTrainedModel) -> tuple[torch.nn.Module, ...]:
    """The model, and that inside of `torch.compile` or adapters."""
    return model, getattr(model, "_orig_mod", model), base_of(model)


@lru_cache(maxsize=2**12)
def _of_a_library(kind: type[torch.nn.Module], forward: Callable) -> bool:
    """Whether a class and its ``forward`` are as a library wrote them.

    The ``forward`` may have been put into the class since. What `functools.wraps` made
    bears the name of what it is around, but not its globals.
    """
    homes: list[Any] = [kind.__module__]
    layer: Any = forward
    while layer is not None:
        homes.append(getattr(layer, "__module__", None))
        homes.append(getattr(layer, "__globals__", {}).get("__name__"))
        layer = getattr(layer, "__wrapped__", None)
    return all(str(home).partition(".")[0] in _LIBRARIES for home in homes)
