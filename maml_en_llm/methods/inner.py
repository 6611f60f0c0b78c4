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
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from ..errors import check_choice, check_rate, shown
from ..optimizers import Clipped, Frozen
from ..optimizers.base import check_optimizer
from ..tensors import Tensors, tree_map

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
    if moments == "second" and "variance" not in getattr(inner, "slots", ()):
        raise ValueError(
            "moments: expected an inner optimizer with a second moment for 'second', "
            f"found {shown(type(inner).__name__)}; choose 'shared-frozen' or 'fresh'"
        )


def inner_step(optimizer, moments: str, clip: float | None, *, stacked: bool = False):
    """``optimizer`` as an inner phase uses it."""
    step = optimizer
    if moments == "second" and "betas" in [each.name for each in fields(step)]:
        step = replace(step, betas=(0.0, step.betas[1]))
    if clip is not None:
        step = Clipped(step, clip, stacked=stacked)
    return Frozen(step) if moments in ("shared-frozen", "second") else step


@dataclass(frozen=True)
class Noted:
    """Another optimizer, which tells of every gradient that it is given.

    ``note(t, grads)`` is called with the number of updates before; on the way back a
    step may be made, and told, again.
    """

    optimizer: Any
    note: Callable[[int, Tensors], Any]

    def __getattr__(self, name: str):
        return getattr(self.optimizer, name)

    def update(self, grads: Tensors, state, params: Tensors, **how):
        """The wrapped optimizer's."""
        self.note(state.step, grads)
        return self.optimizer.update(grads, state, params, **how)


class MeanGradients:
    """Sums up the tasks' clipped support gradients, step by step, for "mean-gradient".

    ``noted`` is the plain optimizer as it goes inside the clip.
    """

    def __init__(self, optimizer, *, stacked: bool):
        self.optimizer, self.stacked = optimizer, stacked
        self.noted = Noted(optimizer, self._note)
        self.own: dict[int, Tensors] = {}  # of the task, or the stack, under way
        self.totals: dict[int, Tensors] = {}
        self.tasks = 0

    def _note(self, step: int, grads: Tensors) -> None:
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
