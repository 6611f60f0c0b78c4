"""What in a model is not as its library made it.

What was measured of a class says nothing of a model of that name which somebody has
changed: a fork, a part of another kind, another ``forward``, a hook.
"""

from collections.abc import Iterator
from functools import cache

import torch
from transformers import PreTrainedModel

_LIBRARIES = ("transformers", "torch", "peft")
_READS = "transformers.utils.output_capturing"  # its hooks keep outputs, as they are
_COMPILED = "torch._dynamo"  # its wrapper has a `forward` of its own, and hands on
_HOOKS = (
    *("_forward_hooks", "_forward_pre_hooks"),
    *("_backward_hooks", "_backward_pre_hooks"),
)


def foreign_part(model: PreTrainedModel) -> str:
    """The first part whose code is not the library's; "" for none."""
    return next(_foreign(model), "")


def altered_part(model: PreTrainedModel) -> str:
    """The first part with code that is not the library's, or a hook; "" for none."""
    return foreign_part(model) or next(_hooked(model), "")


def _foreign(model: PreTrainedModel) -> Iterator[str]:
    for name, module in model.named_modules():
        kind = type(module)
        if kind.__module__.startswith(_COMPILED):
            continue
        if "forward" in vars(module) or not _of_a_library(kind):
            yield f"{name or 'the model'} ({kind.__name__}), which has code of its own"


def _hooked(model: PreTrainedModel) -> Iterator[str]:
    for name, module in model.named_modules():
        hooks = [hook for held in _HOOKS for hook in getattr(module, held).values()]
        if any(getattr(hook, "__module__", "") != _READS for hook in hooks):
            yield f"{name or 'the model'} ({type(module).__name__}), which has a hook"


@cache
def _of_a_library(kind: type[torch.nn.Module]) -> bool:
    homes = (kind.__module__, kind.forward.__module__)
    return all(home.partition(".")[0] in _LIBRARIES for home in homes)
