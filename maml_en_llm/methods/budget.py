"""What a meta-training run costs: counted, for finite differences at most.

These are the currencies in which methods can be compared at an equal budget.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .base import Method
from .episodes import Episode


def gradients_per_task(method: Method, k: int, in_parts: bool = False) -> int:
    """Gradient equivalents of one task with k inner steps, as `Budget` counts them."""
    return sum(gradients for _, _, gradients in method.passes(k, in_parts))


@dataclass
class Budget:
    """Sums over a run, of all tasks.

    ``gradients`` is in forward-and-backward passes of one batch.
    """

    outer_steps: int = 0
    gradients: int = 0
    tokens_forward: int = 0
    tokens_backward: int = 0

    def add(
        self, method: Method, episodes: Sequence[Episode], in_parts: bool = False
    ) -> None:
        """Count one outer step; ``in_parts`` is that of `Method.passes`."""
        self.outer_steps += 1
        for episode in episodes:
            batches = (*episode.support[: method.inner_steps], episode.query)
            costs = method.passes(len(batches) - 1, in_parts)
            for batch, (forward, backward, gradients) in zip(
                batches, costs, strict=True
            ):
                self.gradients += gradients
                self.tokens_forward += forward * batch.n_tokens
                self.tokens_backward += backward * batch.n_tokens
