"""MAML-en-LLM: gradients through the inner loop."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import check_choice
from ..meta import DERIVATIVES, Loss, MetaGradient, as_loss, meta_gradient
from ..optimizers import Frozen, decoded
from ..prompts import stack
from ..tensors import Tensors, tree_map
from .base import OuterGradient, Passes, average
from .episodes import Episode

MOMENTS = ("shared", "shared-frozen", "fresh")

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

    of second order unless ``mode`` is "first_order". ``moments`` says what Adam's m and
    v the inner phase sees. "shared": every task starts from the outer optimiser's and
    advances its own copy, and the outer step goes on from their mean, so that both
    phases advance one optimiser. "shared-frozen": read, not advanced. "fresh": zero at
    the start of every inner loop. How the copies of n tasks are joined is not said in
    the source; the mean is our reading of it, and does not depend on their order.

    With ``together`` the n inner loops run as one, over stacked parameters: the same
    numbers up to rounding, in n times the memory; by default where the loss says that
    it is faster. The inner loops move the parameters named by ``adapt`` (default: all).
    With k = 0, or an inner rate of 0, the gradient is MetaICL's.
    """

    inner: Any
    inner_steps: int = 1
    moments: str = "shared"
    mode: str = "reverse"
    together: bool | None = None
    adapt: Collection[str] | None = None
    instructions: bool = False
    demonstrations: bool = True

    def __post_init__(self):
        check_choice("moments", self.moments, MOMENTS)
        check_choice("mode", self.mode, DERIVATIVES)

    @property
    def derivative(self) -> str:
        """The mode; without inner steps there is nothing to differentiate twice."""
        return self.mode if self.inner_steps else "first_order"

    def gradient(
        self, loss: Loss, params: Tensors, episodes: Sequence[Episode], state: Any
    ) -> OuterGradient:
        """The gradient of one meta-batch, given the outer optimiser's state."""
        inner = Frozen(self.inner) if self.moments == "shared-frozen" else self.inner
        start = None if self.moments == "fresh" else decoded(state)
        loss = as_loss(loss)
        together = self.together
        if together is None:
            batches = [(*e.support, e.query) for e in episodes]
            together = loss.faster_together(params, batches)
        run = _together if together else _one_by_one
        how = {"state": start, "mode": self.mode, "adapt": self.adapt}
        results = run(loss, params, episodes, self.inner_steps, inner, **how)
        advanced = self.moments == "shared" and self.inner_steps > 0
        return average(results, state, advanced)

    def passes(self, k: int) -> list[Passes]:
        """A gradient and its derivative per support batch, a gradient of the query."""
        support = [_SUPPORT[self.mode]] * (k - 1) + [_LAST[self.mode]] * (k > 0)
        return [*support, (1, 1, 1)]


def _one_by_one(loss, params, episodes, k, inner, **how) -> Iterable[MetaGradient]:
    for e in episodes:
        yield meta_gradient(loss, params, e.support[:k], e.query, inner, **how)


def _together(loss, params, episodes, k, inner, state, **how) -> Iterable[MetaGradient]:
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
