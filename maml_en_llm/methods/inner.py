"""The optimizer of an inner phase: what it reads of the outer one, and hands on to it.

One optimizer serves both phases, and it clips its gradients. So a support gradient is
clipped as the outer gradient is, before the step that it makes and the moments that it
enters:

    c(g) = g · clip / max(‖g‖, clip)
    (θᵢ,ₜ₊₁, sᵢ,ₜ₊₁) = U(c(gᵢ,ₜ), sᵢ,ₜ, θᵢ,ₜ),   gᵢ,ₜ = ∇L(θᵢ,ₜ; Sᵢ,ₜ₊₁)

Unclipped, a support gradient of norm 10 beside an outer one of norm 1 has a hundred
times its weight in v: the meta-gradient is then hardly heard, and the run is the same
with an inner rate of 0.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch

from ..errors import check_choice, check_rate, shown
from ..optimizers import Clipped, Frozen, Optimizer
from ..optimizers.base import check_optimizer
from ..tensors import Tensors, tree_map

Note = Callable[[int, Tensors], Any]

MOMENTS = ("shared", "shared-frozen", "fresh", "second")
"""What an inner phase sees of Adam's moments.

- "shared": every task starts from the outer optimizer's and advances its own copy; the
  outer step goes on from the copies, joined: both phases advance one optimizer.
- "shared-frozen": m and v are read, not advanced.
- "fresh": zero at the start of every inner loop.
- "second": v is read, not advanced; β₁ = 0, so that a step follows its own gradient and
  not the direction of earlier ones.
"""

JOINS = ("mean", "mean-gradient")
"""How the n advanced copies become the state that the outer step goes on from.

- "mean" of the copies: v gets the mean of the tasks' squared gradients.
- "mean-gradient": the state advanced by the tasks' mean gradients; v gets the square of
  the mean, as if the n support batches were one. m is the same.
"""


def check_inner(inner, moments: str, clip: float | None, join: str = "mean") -> None:
    """`ValueError`, naming the argument, for what no inner phase can be made of.

    ``inner`` may be None, for no inner step.
    """
    if inner is not None:
        check_optimizer("inner", inner)
    check_choice("moments", moments, MOMENTS)
    check_choice("join", join, JOINS)
    if clip is not None:
        check_rate("clip", clip, above=True)
    if join == "mean-gradient" and not hasattr(taken_apart(inner)[0], "slots"):
        raise ValueError(
            "join: expected an optimizer of maml_en_llm.optimizers, whose state counts "
            f"its steps, for 'mean-gradient', found {shown(type(inner).__name__)}; "
            "choose 'mean'"
        )
    if moments == "second" and not _follows_alone(inner):
        raise ValueError(
            "moments: expected an inner optimizer with a second moment for 'second', "
            f"and betas if it has a first, found {shown(type(inner).__name__)}; choose "
            "'shared-frozen' or 'fresh'"
        )


def inner_step(
    optimizer,
    moments: str,
    clip: float | None,
    *,
    stacked: bool = False,
    note: Note | None = None,
):
    """``optimizer`` as an inner phase uses it.

    ``note`` is told of every gradient as the innermost optimizer sees it, clipped.
    """
    step: Any  # of many kinds, the more it is wrapped
    step, limits, frozen = taken_apart(optimizer)
    if moments == "second" and _has_betas(step):
        step = replace(step, betas=(0.0, step.betas[1]))
    if note is not None:
        step = Noted(step, note)
    if clip is not None:
        limits = [clip, *limits]
    for limit in reversed(limits):
        step = Clipped(step, limit, stacked=stacked)
    frozen = frozen or moments in ("shared-frozen", "second")
    return Frozen(step) if frozen else step


def taken_apart(optimizer: Any) -> tuple[Any, list[float], bool]:
    """The innermost optimizer, its clips' limits, and whether its state is frozen.

    The outermost limit comes first. Others that wrap an optimizer, of one's own or in 8
    bits, are taken as they are.
    """
    step: Any = optimizer
    limits, frozen = [], False
    while type(step) in (Clipped, Frozen):
        if isinstance(step, Clipped):
            limits.append(step.limit)
        else:
            frozen = True
        step = step.optimizer
    return step, limits, frozen


def stackable(optimizer) -> bool:
    """Whether one step on the stack of n tasks' parameters makes n tasks' own steps.

    That is, whether it is elementwise but for its clips, which `inner_step` makes clip
    each task alone. Whoever writes an ``update`` may look at whole tensors.
    """
    step = taken_apart(optimizer)[0]
    return step is None or getattr(type(step), "update", None) is Optimizer.update


def _follows_alone(optimizer) -> bool:
    """Whether a step can be made to follow its own gradient, scaled by v."""
    step = taken_apart(optimizer)[0]
    known = isinstance(step, Optimizer) or _has_betas(step)
    return known and "variance" in getattr(optimizer, "slots", ())


def _has_betas(step) -> bool:
    return is_dataclass(step) and "betas" in [each.name for each in fields(step)]


@dataclass(frozen=True)
class Noted:
    """Another optimizer, which tells of every gradient that it is given.

    ``note(t, grads)`` is called with the number of updates before; on the way back a
    step may be made, and told, again.
    """

    optimizer: Any
    note: Note

    def __getattr__(self, name: str):
        return getattr(self.optimizer, name)

    def update(self, grads: Tensors, state, params: Tensors, **how):
        """The wrapped optimizer's."""
        self.note(getattr(state, "step", 0), grads)
        return self.optimizer.update(grads, state, params, **how)


class MeanGradients:
    """Sums up the tasks' clipped support gradients, step by step, for "mean-gradient".

    ``note`` is told of them. The state is advanced by the optimizer less its clips.
    """

    def __init__(self, optimizer, *, stacked: bool):
        step, _, frozen = taken_apart(optimizer)
        self.optimizer = Frozen(step) if frozen else step
        self.stacked = stacked
        self.own: dict[int, Tensors] = {}  # of the task, or the stack, under way
        self.totals: dict[int, Tensors] = {}
        self.tasks = 0

    def note(self, step: int, grads: Tensors) -> None:
        """One gradient of the task, or the stack, under way, before update ``step``."""
        self.own[step] = {name: g.detach() for name, g in grads.items()}

    def counted(self, results: Iterable) -> Iterator:
        """The results; what is noted of each is added up as it comes."""
        for result in results:
            for step, grads in self.own.items():
                mine: Any = grads
                if self.stacked:
                    mine = tree_map(lambda g: g.sum(0), grads)
                if step in self.totals:
                    mine = tree_map(torch.add, self.totals[step], mine)
                self.totals[step] = mine
            self.own.clear()  # a stack is noted once, before its first result
            self.tasks += 1
            yield result

    def advanced(self, state, params: Tensors):
        """``state`` advanced by the mean gradients, in their order."""
        for step in sorted(self.totals):
            mean: Any = tree_map(lambda g: g / self.tasks, self.totals[step])
            _, state = self.optimizer.update(mean, state, params)
        return state
