"""MetaICL: no inner loop."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..meta.calculus import Loss, loss_and_grad
from ..meta.gradient import meta_gradient
from ..prompts import bucket
from ..tensors import Tensors, tree_map
from .base import OuterGradient, average
from .episodes import Episode


@dataclass(frozen=True)
class MetaICL:
    """MetaICL (Min et al. 2022): the mean gradient of the query losses at θ, no inner loop.

        ∇F(θ) = 1/n Σᵢ ∇L(θ, Qᵢ)

    MetaICT is the same with the tasks' instructions in their prompts, multi-task training the same without demonstrations. With
    ``tokens_at_once`` prompts of about the same length are run together: the same gradient up to rounding, in less time.
    """

    inner_steps: int = 0
    tokens_at_once: int = 0

    def gradient(
        self, loss: Loss, params: Tensors, episodes: Sequence[Episode], state: Any
    ) -> OuterGradient:
        """The gradient of one meta-batch; support batches, if any, are not used."""
        if not self.tokens_at_once:
            return average(
                (meta_gradient(loss, params, (), e.query, None) for e in episodes),
                state,
            )
        mean, total = 0.0, None
        for share, batch in bucket([e.query for e in episodes], self.tokens_at_once):
            value, grads = loss_and_grad(loss, params, batch)
            mean += share * value
            grads = tree_map(lambda g: g * share, grads)
            total = (
                grads if total is None else tree_map(torch.Tensor.add_, total, grads)
            )
        return OuterGradient(mean, total, ((),) * len(episodes), state)
