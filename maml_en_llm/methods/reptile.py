"""Reptile: the way of plain steps as a gradient."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import check_choice
from ..meta.calculus import Loss, loss_and_grad
from ..meta.sweep import MetaGradient
from ..optimizers.base import Frozen
from ..optimizers.eight_bit import decoded
from ..tensors import Tensors
from .base import OuterGradient, average
from .episodes import Episode
from .maml import MOMENTS


@dataclass(frozen=True, kw_only=True)
class Reptile:
    """Reptile (Nichol et al. 2018): the way from θ to where k + 1 plain steps lead, as if it were a gradient.

        ∇F(θ) = 1/n Σᵢ (θ − U(θ; Sᵢ, Qᵢ)) / α

    with a step on each of the k support batches and, at last, on the query batch; α is the ``inner`` rate. With k = 0 and
    SGD this is MetaICL's gradient. ``moments`` as in `MAMLenLLM`.
    """

    inner: Any
    inner_steps: int = 1
    moments: str = "shared"

    def __post_init__(self):
        check_choice("moments", self.moments, MOMENTS)
        if not self.inner.lr > 0:
            raise ValueError(
                f"inner: expected a rate above 0, by which Reptile divides, found {self.inner.lr}"
            )

    def gradient(
        self, loss: Loss, params: Tensors, episodes: Sequence[Episode], state: Any
    ) -> OuterGradient:
        """The direction of one meta-batch, given the outer optimiser's state."""
        inner = Frozen(self.inner) if self.moments == "shared-frozen" else self.inner
        start = inner.init(params) if self.moments == "fresh" else decoded(state)
        results = (self._way(loss, params, e, inner, start) for e in episodes)
        return average(results, state, advanced=self.moments == "shared")

    def _way(self, loss, params, episode, inner, state) -> MetaGradient:
        theta, losses = params, []
        for batch in (*episode.support[: self.inner_steps], episode.query):
            value, grads = loss_and_grad(loss, theta, batch)
            theta, state = inner.update(grads, state, theta)
            losses.append(value)
        way = {name: (p - theta[name]) / self.inner.lr for name, p in params.items()}
        return MetaGradient(losses[-1], way, tuple(losses[:-1]), theta, state)
