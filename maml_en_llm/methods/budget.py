"""What a meta-training run costs, counted exactly: the currencies in which methods can be compared at an equal budget."""

from collections.abc import Sequence
from dataclasses import dataclass

from .episodes import Episode
from .maml import MAMLenLLM
from .reptile import Reptile

# How often a support batch goes forward and backward through the model, and the gradients (one forward and one backward) that
# take as long. A Hessian-vector product is a forward, a backward and a backward through both. `meta_gradient` names the totals.
_PLAIN = (1, 1, 1)


_SUPPORT = {
    "reverse": (2, 3, 4),
    "unrolled": (1, 2, 3),
    "finite_difference": (2, 2, 2),
    "first_order": _PLAIN,
}


# the last inner step: "reverse" keeps its graph, "finite_difference" finds out how far to go, in two tries at most
_LAST = _SUPPORT | {"reverse": (1, 2, 3), "finite_difference": (3, 3, 3)}


@dataclass
class Budget:
    """Sums over a run, of all tasks. ``gradients`` is in forward-and-backward passes of one batch."""

    outer_steps: int = 0
    gradients: int = 0
    tokens_forward: int = 0
    tokens_backward: int = 0

    def add(self, method, episodes: Sequence[Episode]) -> None:
        """Count one outer step."""
        self.outer_steps += 1
        for episode in episodes:
            batches = (*episode.support[: method.inner_steps], episode.query)
            for batch, (forward, backward, gradients) in zip(
                batches, passes(method, len(batches) - 1), strict=True
            ):
                self.gradients += gradients
                self.tokens_forward += forward * batch.n_tokens
                self.tokens_backward += backward * batch.n_tokens


def passes(method, k: int) -> list[tuple[int, int, int]]:
    """Forward passes, backward passes and gradients of each of ``k`` support batches, and of the query batch."""
    if not isinstance(method, (MAMLenLLM, Reptile)):
        return [_PLAIN]
    mode = "first_order" if isinstance(method, Reptile) else method.mode
    return [_SUPPORT[mode]] * (k - 1) + [_LAST[mode]] * (k > 0) + [_PLAIN]
