"""MetaICL: no inner loop."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from ..errors import check_integer
from ..meta import Loss, loss_and_grad, meta_gradient
from ..prompts import bucket
from ..tensors import Tensors, tree_map
from .base import OuterGradient, Passes, average, check_episodes, check_method
from .episodes import Episode

_add = torch.Tensor.add_


@dataclass(frozen=True, kw_only=True)
class MetaICL:
    """MetaICL (Min et al. 2022): the mean gradient of the query losses at θ.

        ∇F(θ) = 1/n Σᵢ ∇L(θ, Qᵢ)

    MetaICT is the same with the tasks' ``instructions`` in their prompts, multi-task
    training the same without ``demonstrations``. With ``tokens_at_once`` prompts of
    about the same length are run together: the same gradient up to rounding, in less
    time.
    """

    tokens_at_once: int = 0
    instructions: bool = False
    demonstrations: bool = True
    inner_steps: ClassVar[int] = 0
    derivative: ClassVar[str] = "first_order"

    def __post_init__(self):
        check_integer("tokens_at_once", self.tokens_at_once)
        check_method(self)

    def gradient(
        self, loss: Loss, params: Tensors, episodes: Sequence[Episode], state: Any
    ) -> OuterGradient:
        """The gradient of one meta-batch; support batches, if any, are not used."""
        check_episodes(episodes)
        if not self.tokens_at_once:
            each = (meta_gradient(loss, params, (), e.query, None) for e in episodes)
            return average(each, state)
        mean = 0.0
        total: Any = None
        for share, batch in bucket([e.query for e in episodes], self.tokens_at_once):
            value, grads = loss_and_grad(loss, params, batch)
            mean += share * value
            part = tree_map(lambda g, share=share: g * share, grads)
            total = part if total is None else tree_map(_add, total, part)
        return OuterGradient(mean, total, ((),) * len(episodes), state)

    def passes(
        self,
        k: int,  # noqa: ARG002  # support batches are not used
        in_parts: bool = False,  # noqa: ARG002  # a part costs its share
    ) -> list[Passes]:
        """One gradient, of the query batch."""
        return [(1, 1, 1)]
