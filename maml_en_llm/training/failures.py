"""Weights, losses and steps that cannot be used: which, why, and what to do."""

import math
import warnings
from collections.abc import Sequence

import torch

from ..errors import listed
from ..methods import Episode, Method
from ..models import PromptLoss
from ..prompts import Cut
from ..tensors import Tensors


def check_start(params: Tensors) -> None:
    """Raise `FloatingPointError` where weights are not finite before the first step."""
    cure = "the file is damaged: fetch it again"
    _check_weights(params, "model", "before the first step", cure)


def check_end(params: Tensors, step: int) -> None:
    """Raise `FloatingPointError` where weights are not finite after the last step."""
    _check_weights(params, f"step {step}", "after the last step", "lower lr")


def warn_if_hidden(params: Tensors, clip: float, optimizer) -> None:
    """Warn where Adam's safety term is larger than a typical entry of a gradient.

    An entry of a gradient of norm ``clip`` over N parameters is about clip / √N. Where
    √eps_root is more, most coordinates move by far less than the rate.
    """
    optimizer = getattr(optimizer, "optimizer", optimizer)  # of 8 bits: what it wraps
    root = getattr(optimizer, "eps_root", 0.0) ** 0.5
    count = sum(p.numel() for p in params.values())
    entry = clip / count**0.5
    if root > entry:
        warnings.warn(
            f"eps_root: {optimizer.eps_root:g} shortens the steps of gradients whose "
            f"entries are below {root:.0e}, and those of {count:,} parameters clipped "
            f"to norm {clip:g} are about {entry:.0e}; eps_root=1e-12",
            stacklevel=2,
        )


def warn_if_cut(cut: Cut, demonstrations: int, max_length: int) -> None:
    """Warn where prompts are too long for all of their demonstrations."""
    if cut.prompts:
        warnings.warn(
            f"max_length: {max_length} tokens are too few for {cut.prompts:.0%} of the "
            f"prompts, which are cut; of {demonstrations} demonstrations "
            f"{cut.whole:.1f} are left whole in the mean; raise max_length, or lower "
            "demonstrations",
            stacklevel=2,
        )


def warn_if_unmoved(before: Tensors, after: Tensors) -> None:
    """Warn where the first step has changed no weight: rounding has taken it all."""
    if all(torch.equal(before[name], after[name]) for name in before):
        warnings.warn(
            "step 0: no weight has changed, the step is too small for the weights' "
            "type; raise lr or clip, or take dtype='float64'",
            stacklevel=2,
        )


def explained(
    step: int,
    loss: float,
    norm: float,
    names: Sequence[str],
    *,
    where: str,
    advice: str,
) -> FloatingPointError:
    """The error of a step whose loss or gradient is not finite."""
    return FloatingPointError(
        f"step {step}: expected a finite loss and gradient, found loss {loss:g} and "
        f"gradient norm {norm:g} on tasks {listed(names)}; {advice}{where}"
    )


def cause_of(
    step: int,
    found_loss: float,
    loss: PromptLoss,
    params: Tensors,
    method: Method,
    episodes: Sequence[Episode],
) -> tuple[str, str]:
    """Which prompt comes first whose loss is not finite, and advice for its cause.

    The losses are computed again, prompt by prompt, at the weights before any inner
    step. If all are finite there, it is an inner step or the gradient that is not.
    """
    half = {p.dtype for p in params.values()} & {torch.float16, torch.bfloat16}
    kind = str(min(half, key=str)).removeprefix("torch.") if half else ""
    found = _first_bad_prompt(loss, params, method, episodes)
    where = f" ({found or 'all losses are finite before the inner steps'})"
    if kind:
        return where, f"{kind} holds too few numbers for it: dtype='float32'"
    if found and step == 0:
        return where, "the model's own weights give it: load other weights"
    if found or not method.inner_steps:
        return where if found else "", "lower lr"
    inner = getattr(method, "inner", None)
    second = getattr(method, "mode", "first_order") != "first_order"
    if second and math.isfinite(found_loss) and getattr(inner, "eps_root", 1.0) == 0:
        return where, "at a second moment of 0 a root has no slope: eps_root=1e-12"
    return where, "lower inner_lr" if step == 0 else "lower lr or inner_lr"


def _first_bad_prompt(loss, params, method, episodes) -> str:
    for episode in episodes:
        named = [
            (f"support batch {t}", batch)
            for t, batch in enumerate(episode.support[: method.inner_steps], 1)
        ]
        for name, batch in [*named, ("query batch", episode.query)]:
            for row in range(len(batch.input_ids)):
                with torch.no_grad():
                    value = loss(params, batch.rows(row, row + 1)).item()
                if not math.isfinite(value):
                    return f"task {episode.task}, {name}, prompt {row + 1}: {value:g}"
    return ""


def _check_weights(params: Tensors, where: str, when: str, cure: str) -> None:
    for name, p in params.items():
        bad = int((~p.isfinite()).sum())
        if bad:
            raise FloatingPointError(
                f"{where}: expected finite weights {when}, found {bad} of {p.numel()} "
                f"in {name} that are not; {cure}"
            )
