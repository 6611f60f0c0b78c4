"""How far an inner loop matters: what a run's record says of it.

At a few outer steps the meta-batch is gone through once more, in first order and with
nothing changed, and compared with the step that was made.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from ..methods import Episode, MAMLenLLM, OuterGradient
from ..methods.maml import LOOKED
from ..tensors import Tensors, cosine, distance_moved, joint_norm
from .config import TrainConfig
from .damage import is_number

NOTED = ("step", "cosine", "second_order", *LOOKED, "norm")
"""Columns of a record's ``inner_loop``, a number per look:

- step: the outer step, from 0
- cosine: of the outer step with the direction that the meta-gradient points down
- second_order: ‖G − G₁‖ / ‖G₁‖, where G₁ is the gradient of first order; 0 for FOMAML
- query_before, query_after: query loss at θ and at θᵢ, mean over tasks, in nats per
  target token
- moved: ‖θᵢ − θ‖ / ‖θ‖, mean over tasks
- support_norm: mean norm of a support gradient, before any clipping
- norm: of the meta-gradient G, before clipping
"""

SPARSE = 20  # outer steps per look at least, so that looking costs little


def looked_at(config: TrainConfig) -> frozenset[int]:
    """The outer steps at which a run looks: at most ``looks``, spread evenly.

    None for a method without an inner loop that is differentiated.
    """
    method = config.make_method()
    if not isinstance(method, MAMLenLLM) or not method.inner_steps:
        return frozenset()
    looks = min(config.looks, max(1, config.steps // SPARSE))
    return frozenset(int((i + 0.5) * config.steps / looks) for i in range(looks))


def look(
    loop, state: Any, own: Sequence[Episode], outer: OuterGradient, after: Tensors
) -> dict[str, float]:
    """A row of `NOTED` for the outer step from ``state`` to the parameters ``after``.

    ``own`` are this process's episodes; all processes look together.
    """
    local = None
    if own:
        local = loop.method.look(loop.loss, state.params, own, state.optimizer)
    first, _ = loop.ranks.joined(
        local,
        (),
        n=loop.config.tasks_per_step,
        params=state.params,
        state=state.optimizer,
    )
    step = {name: p - after[name] for name, p in state.params.items()}  # downwards
    share = 0.0
    if loop.method.derivative != "first_order":
        share = distance_moved(first.grads, outer.grads)
    columns = zip(*first.inner_losses, strict=True)
    means = {name: fmean(column) for name, column in zip(LOOKED, columns, strict=True)}
    return {
        "step": state.step,
        "cosine": cosine(step, outer.grads),
        "second_order": share,
        **means,
        "norm": float(joint_norm(outer.grads)),
    }


def as_columns(rows: Sequence[Mapping]) -> dict[str, list]:
    """What a run's rows say of its inner loops: `NOTED`, a list of numbers each."""
    found = [row["inner_loop"] for row in rows if row.get("inner_loop")]
    return {name: [row[name] for row in found] for name in NOTED} if found else {}


def are_columns(columns) -> bool:
    """Whether these are what `as_columns` gives."""
    if not isinstance(columns, dict):
        return False
    lists = [columns.get(name) for name in NOTED] if columns else []
    return all(
        isinstance(values, list) and values and all(map(is_number, values))
        for values in lists
    )


def in_words(record: Mapping) -> str:
    """One sentence on a record's inner loops, means over its looks; "" for none."""
    columns = record.get("inner_loop")
    if not columns:
        return ""
    mean = {name: fmean(column) for name, column in columns.items()}
    change = mean["query_after"] - mean["query_before"]
    return (
        f"the inner loop moves the weights by {mean['moved']:.2%} and changes the "
        f"query loss by {change:+.3f} nats ({mean['query_before']:.3f} → "
        f"{mean['query_after']:.3f}), second order is {mean['second_order']:.0%} of "
        f"the first-order gradient, and the outer step's cosine with the meta-gradient "
        f"is {mean['cosine']:.2f} (means of {len(columns['step'])} outer steps)"
    )
