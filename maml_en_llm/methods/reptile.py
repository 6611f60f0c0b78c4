"""Reptile: where plain steps lead."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..meta import Loss, MetaGradient, loss_and_grad
from ..optimizers import decoded
from ..optimizers.base import check_optimizer, first_state
from ..tensors import Tensors
from .base import OuterGradient, Passes, average, check_episodes, check_method
from .episodes import Episode
from .inner import check_inner, inner_step


@dataclass(frozen=True, kw_only=True)
class Reptile:
    """Reptile (Nichol et al. 2018): the way that k + 1 plain steps lead from θ.

        ∇F(θ) = 1/n Σᵢ (θ − U(θ; Sᵢ, Qᵢ)) / α

    with a step on each of the k support batches and, at last, on the query batch, as if
    it were a gradient; α is the ``inner`` rate. With k = 0 and SGD this is MetaICL's
    gradient. ``moments`` and ``clip`` as in `MAMLenLLM`.
    """

    inner: Any
    inner_steps: int = 1
    moments: str = "shared"
    clip: float | None = None
    instructions: bool = False
    demonstrations: bool = True
    derivative: ClassVar[str] = "first_order"

    def __post_init__(self):
        check_optimizer("inner", self.inner)  # it always steps, on the query
        check_inner(self.inner, self.moments, self.clip)
        check_method(self)
        if not self.inner.lr > 0:
            raise ValueError(
                "inner: expected a rate above 0, by which Reptile divides, found "
                f"{self.inner.lr}"
            )

    def gradient(
        self, loss: Loss, params: Tensors, episodes: Sequence[Episode], state: Any
    ) -> OuterGradient:
        """The direction of one meta-batch, given the outer optimizer's state."""
        check_episodes(episodes, self.inner_steps)
        inner = inner_step(self.inner, self.moments, self.clip)
        fresh = self.moments == "fresh"
        start = first_state(inner, params) if fresh else decoded(state)
        results = (self._way(loss, params, e, inner, start) for e in episodes)
        return average(results, state, advanced=self.moments == "shared")

    def passes(
        self,
        k: int,
        in_parts: bool = False,  # noqa: ARG002  # a part costs its share
    ) -> list[Passes]:
        """One gradient per batch."""
        return [(1, 1, 1)] * (k + 1)

    def _way(self, loss, params, episode, inner, state) -> MetaGradient:
        theta = params
        losses = []
        for batch in (*episode.support[: self.inner_steps], episode.query):
            value, grads = loss_and_grad(loss, theta, batch)
            theta, state = inner.update(grads, state, theta)
            losses.append(value)
        way = {name: (p - theta[name]) / self.inner.lr for name, p in params.items()}
        return MetaGradient(losses[-1], way, tuple(losses[:-1]), theta, state)
