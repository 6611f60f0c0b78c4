"""MAML-en-LLM: gradients through the inner loop."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import torch

from ..errors import check_choice, check_truth, shown
from ..meta import DERIVATIVES, Loss, MetaGradient, as_loss, meta_gradient
from ..meta.calculus import PlainLoss
from ..optimizers import decoded
from ..prompts import stack
from ..tensors import Tensors, check_named, distance_moved, joint_norm, tree_map
from .base import OuterGradient, Passes, average, check_episodes, check_method
from .episodes import Episode
from .inner import MeanGradients, Noted, check_inner, inner_step, stackable

LOOKED = ("query_before", "query_after", "moved", "support_norm")
"""What `MAMLenLLM.look` says of a task: its query loss at θ and at θᵢ in nats per
target token, ‖θᵢ − θ‖ / ‖θ‖, and the mean norm of its support gradients, unclipped."""

# What a support batch costs in each mode, and in the last inner step: "reverse" keeps
# its graph, "finite_difference" finds out how far to go, in two tries at most. A
# Hessian-vector product is a forward, a backward and a backward through both.
_SUPPORT: dict[str, Passes] = {
    "reverse": (2, 3, 4),
    "unrolled": (1, 2, 3),
    "finite_difference": (2, 2, 2),
    "first_order": (1, 1, 1),
}
_LAST = _SUPPORT | {"reverse": (1, 2, 3), "finite_difference": (3, 3, 3)}


@dataclass(frozen=True, kw_only=True)
class MAMLenLLM:
    """MAML-en-LLM: the gradient of the query losses at the adapted θᵢ, by θ.

    From the same θ each of the n tasks takes k ``inner`` steps, θᵢ = Uᵏ(θ; Sᵢ), and

        ∇F(θ) = 1/n Σᵢ d/dθ L(θᵢ(θ), Qᵢ)

    of second order unless ``mode`` is "first_order". What the inner phase sees of the
    outer optimizer's state, and what the outer step goes on from, is said by
    ``moments`` and ``join`` (see `maml_en_llm.methods.inner`); with ``clip`` every
    support gradient is scaled down to that norm before it makes its step. How the
    copies of n tasks are joined is not said in the source; the mean is our reading of
    it, and does not depend on their order.

    With ``together`` the n inner loops run as one, over stacked parameters: the same
    numbers up to rounding (with finite differences up to their error, since one h
    serves all tasks), in n times the memory; by default where the loss says that it is
    faster and ``inner`` is elementwise, which one with an ``update`` of its own may not
    be. ``inner_steps`` is k: the sampler needs the same, and support batches
    beyond the k-th are not used. The inner loops move the parameters named by ``adapt``
    (default: all). With k = 0, or an inner rate of 0, the gradient is MetaICL's.
    """

    inner: Any
    inner_steps: int = 1
    moments: str = "shared"
    mode: str = "reverse"
    clip: float | None = None
    join: str = "mean"
    together: bool | None = None
    adapt: Collection[str] | None = None
    instructions: bool = False
    demonstrations: bool = True

    def __post_init__(self):
        check_inner(self.inner, self.moments, self.clip, self.join)
        check_method(self)
        if check_truth("together", self.together, or_none=True) and not self._stacks:
            raise ValueError(
                "together: expected an elementwise inner optimizer for True, whose "
                f"update is Optimizer's own, found {shown(self.inner)}; leave it out"
            )
        names = isinstance(self.adapt, Collection) and not isinstance(self.adapt, str)
        if self.adapt is not None and not names:
            raise ValueError(
                f"adapt: expected names of parameters, found {shown(self.adapt)}"
            )
        check_choice("mode", self.mode, DERIVATIVES)

    @property
    def derivative(self) -> str:
        """The mode; without inner steps there is nothing to differentiate twice."""
        return self.mode if self.inner_steps else "first_order"

    @property
    def advances(self) -> bool:
        """Whether the outer step goes on from moments that inner steps advanced."""
        return self.moments == "shared" and self.inner_steps > 0

    def gradient(
        self, loss: Loss, params: Tensors, episodes: Sequence[Episode], state: Any
    ) -> OuterGradient:
        """The gradient of one meta-batch, given the outer optimizer's state."""
        check_named(params=params)
        check_episodes(episodes, self.inner_steps)
        loss = as_loss(loss)
        together = self._runs_together(loss, params, episodes)
        run = _together if together else _one_by_one
        if not self.advances or self.join == "mean":
            inner = inner_step(self.inner, self.moments, self.clip, stacked=together)
            results = run(loss, params, episodes, inner, **self._how(state))
            return average(results, state, self.advances)
        means = MeanGradients(self.inner, stacked=together)
        inner = inner_step(
            self.inner, self.moments, self.clip, stacked=together, note=means.note
        )
        results = run(loss, params, episodes, inner, **self._how(state))
        outer = average(means.counted(results), state)
        return replace(outer, state=means.advanced(decoded(state), params))

    def look(
        self, loss: Loss, params: Tensors, episodes: Sequence[Episode], state: Any
    ) -> OuterGradient:
        """What the inner loops of a meta-batch do, by going through them once more.

        ``grads`` is the gradient of first order, ``loss`` the mean query loss at θ,
        before any inner step, and ``inner_losses`` has a row of `LOOKED` per task.
        """
        check_episodes(episodes, self.inner_steps)
        loss = as_loss(loss)
        inner = inner_step(self.inner, self.moments, self.clip)
        norms: list[float] = []
        noted = Noted(inner, lambda _, grads: norms.append(joint_norm(grads).item()))
        how = self._how(state) | {"mode": "first_order"}
        rows: list[tuple[float, ...]] = []

        def seen() -> Iterable[MetaGradient]:
            results = _one_by_one(loss, params, episodes, noted, **how)
            for episode, result in zip(episodes, results, strict=True):
                before = _value(loss, params, episode.query)
                moved = distance_moved(params, result.adapted)
                support = fmean(norms) if norms else 0.0  # without inner steps
                rows.append((before, result.query_loss, moved, support))
                norms.clear()
                yield result

        mean = average(seen(), state)
        before = sum(row[0] for row in rows) / len(rows)
        return replace(mean, loss=before, inner_losses=tuple(rows))

    def _runs_together(self, loss: Loss, params: Tensors, episodes) -> bool:
        if self.together and isinstance(loss, PlainLoss) and not loss.stacks:
            raise ValueError(
                "together: expected a loss of stacked tasks for True, as PromptLoss "
                "is, found a plain function of one task; leave it out"
            )
        if self.together is not None:
            return self.together
        batches = [(*e.support, e.query) for e in episodes]
        return self._stacks and loss.faster_together(params, batches)

    @property
    def _stacks(self) -> bool:
        """Whether the inner steps of n tasks are those of a stack of them."""
        return self.inner_steps == 0 or stackable(self.inner)

    def _how(self, state) -> dict[str, Any]:
        start = None if self.moments == "fresh" else decoded(state)
        return {
            "k": self.inner_steps,
            "state": start,
            "mode": self.mode,
            "adapt": self.adapt,
        }

    def passes(self, k: int, in_parts: bool = False) -> list[Passes]:
        """A gradient and its derivative per support batch, a gradient of the query."""
        last = _LAST[self.mode]
        if in_parts and self.mode == "reverse":  # no graph of a part can be kept
            last = _SUPPORT[self.mode]
        support = [_SUPPORT[self.mode]] * (k - 1) + [last] * (k > 0)
        return [*support, (1, 1, 1)]


def _one_by_one(loss, params, episodes, inner, *, k, **how) -> Iterable[MetaGradient]:
    for e in episodes:
        yield meta_gradient(loss, params, e.support[:k], e.query, inner, **how)


@torch.no_grad()
def _value(loss: Loss, params: Tensors, batch) -> float:
    parts = [weight * loss(dict(params), part) for weight, part in loss.split(batch)]
    return sum(part.item() for part in parts)


def _together(
    loss, params, episodes, inner, *, k, state, **how
) -> Iterable[MetaGradient]:
    """One meta-gradient over stacked tasks.

    No task's loss depends on another's parameters, so the gradient of the sum of their
    losses is the stack of theirs.
    """
    n = len(episodes)

    def n_times(tensor):  # (…) to (n, …)
        return tensor.expand(n, *tensor.shape)

    stacked: Any = tree_map(n_times, params)
    state = tree_map(n_times, state)
    steps = zip(*(e.support[:k] for e in episodes), strict=True)
    support = [stack(batches) for batches in steps]
    query = stack([e.query for e in episodes])
    joint = meta_gradient(loss, stacked, support, query, inner, state=state, **how)
    for i in range(n):
        found: Any = joint.grads, joint.adapted, joint.state
        own: Any = tree_map(lambda tensor, i=i: tensor[i], found)
        grads, adapted, end = own
        inner_losses = tuple(losses[i] for losses in joint.inner_losses)
        yield MetaGradient(joint.query_loss[i], grads, inner_losses, adapted, end)
