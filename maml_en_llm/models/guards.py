"""What makes a derivative impossible or, worse, silently wrong: settings of a model that each mode of `meta_gradient` refuses."""

import torch
from transformers import PreTrainedModel

from ..meta.finite_differences import CHANGE
from .attention import TWICE


def check(model: PreTrainedModel, mode: str) -> None:
    """Raise `ValueError`, naming the cure, where a derivative of ``mode`` (one of `meta.MODES`) cannot be had from ``model``."""
    if any(
        getattr(module, "gradient_checkpointing", False) for module in model.modules()
    ):
        raise ValueError(
            "gradient checkpointing: the module would be recomputed with its own weights instead of the adapted "
            "ones, silently; model.activation_checkpointing_disable() (mode 'reverse' keeps memory flat instead)"
        )
    if mode != "first_order" and (active := _active_dropout(model)):
        raise ValueError(
            f"dropout: mode {mode!r} needs one and the same function at every call, found {active[0]} and "
            f"{len(active) - 1} more in training; model.eval() or set them to 0"
        )
    attention = model.config._attn_implementation
    if mode in ("reverse", "unrolled") and attention not in ("eager", TWICE):
        raise ValueError(
            f"attention: mode {mode!r} needs 'eager' or {TWICE!r} attention, found {attention!r}, which has no "
            f"second derivative; load_model(..., attention={TWICE!r}) or model.set_attn_implementation({TWICE!r})"
        )
    if mode == "finite_difference" and torch.finfo(model.dtype).eps > CHANGE / 10:
        raise ValueError(
            f"dtype: mode {mode!r} needs gradients finer than {CHANGE:g} of their size, found {model.dtype}; "
            "load_model(..., dtype=torch.float32)"
        )


def _active_dropout(model: PreTrainedModel) -> list[str]:
    """Names of all dropout rates that are in use: those of modules, and numbers that modules hand to functions."""
    rates = []
    for name, module in model.named_modules():
        dropout = isinstance(module, torch.nn.modules.dropout._DropoutNd)
        held = (
            {"p": module.p}
            if dropout
            else {
                n: v
                for n, v in vars(module).items()
                if "drop" in n and isinstance(v, float)
            }
        )
        rates += [
            f"{name}.{n} = {v:g}".lstrip(".")
            for n, v in held.items()
            if v and module.training
        ]
    return rates
