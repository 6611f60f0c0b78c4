"""MAML-en-LLM: gradients through the inner loop."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import check_choice
from ..meta.calculus import Loss
from ..meta.gradient import meta_gradient
from ..meta.sweep import MetaGradient
from ..optimizers.base import Frozen
from ..optimizers.eight_bit import decoded
from ..prompts import stack
from ..tensors import Tensors, tree_map
from .base import OuterGradient, average, one_by_one
from .episodes import Episode

MOMENTS = ("shared", "shared-frozen", "fresh")


# Numbers in one layer's hidden states of a batch (tokens × width) up to which n = 4 tasks are faster together on a CPU, in 0.43
# to 0.95 of the time; beyond it the stacked tensors leave the cache. Measured by benchmarks/together.py, up to so many parameters
TOGETHER, PARAMETERS = 2**15, 2**22


@dataclass(frozen=True, kw_only=True)
class MAMLenLLM:
    """MAML-en-LLM: the gradient of the query losses at the adapted θᵢ, with respect to the unadapted θ.

    From the same θ each of the n tasks takes k ``inner`` steps, θᵢ = Uᵏ(θ; Sᵢ), and

        ∇F(θ) = 1/n Σᵢ d/dθ L(θᵢ(θ), Qᵢ)        (second order unless ``mode`` is "first_order")

    ``moments`` says what Adam's m and v the inner phase sees. "shared": every task starts from the outer optimiser's
    and advances its own copy, and the outer step goes on from their mean, so that both phases advance one
    optimiser. "shared-frozen": read, not advanced. "fresh": zero at the start of every inner loop. How the copies of n
    tasks are joined is not said in the source; the mean is our reading of it, and does not depend on their order.
    With ``together`` the n inner loops run as one, over stacked parameters: the same numbers up to rounding, in n times
    the memory; by default where that is faster, see `TOGETHER`. The inner loops move the parameters named by
    ``adapt`` (default: all). With k = 0, or an inner rate of 0, the gradient is MetaICL's.
    """

    inner: Any
    inner_steps: int = 1
    moments: str = "shared"
    mode: str = "reverse"
    together: bool | None = None
    adapt: Collection[str] | None = None

    def __post_init__(self):
        check_choice("moments", self.moments, MOMENTS)

    def gradient(
        self, loss: Loss, params: Tensors, episodes: Sequence[Episode], state: Any
    ) -> OuterGradient:
        """The gradient of one meta-batch, given the outer optimiser's state."""
        inner = Frozen(self.inner) if self.moments == "shared-frozen" else self.inner
        start = None if self.moments == "fresh" else decoded(state)
        together = (
            _is_small(loss, params, episodes)
            if self.together is None
            else self.together
        )
        run = _together if together else one_by_one
        results = run(
            loss,
            params,
            episodes,
            self.inner_steps,
            inner,
            state=start,
            mode=self.mode,
            adapt=self.adapt,
        )
        return average(
            results, state, advanced=self.moments == "shared" and self.inner_steps > 0
        )


def _is_small(loss, params: Tensors, episodes: Sequence[Episode]) -> bool:
    if not hasattr(loss, "model") or loss.model.device.type != "cpu":
        return False
    batches = [(*e.support, e.query) for e in episodes]
    alike = (
        len({tuple(len(batch.input_ids) for batch in some) for some in batches}) == 1
    )  # can be stacked
    tokens = max(batch.input_ids.numel() for some in batches for batch in some)
    small = (
        tokens * loss.model.config.hidden_size <= TOGETHER
        and sum(p.numel() for p in params.values()) <= PARAMETERS
    )
    return alike and small


def _together(loss, params, episodes, k, inner, state, **how) -> Iterable[MetaGradient]:
    """One meta-gradient over stacked tasks: since no task's loss depends on another's parameters, that of the sum
    of their losses is the stack of theirs."""
    n = len(episodes)
    params, state = tree_map(
        lambda tensor: tensor.expand(n, *tensor.shape), (params, state)
    )
    support = [
        stack(batches)
        for batches in zip(*(e.support[:k] for e in episodes), strict=True)
    ]
    joint = meta_gradient(
        loss,
        params,
        support,
        stack([e.query for e in episodes]),
        inner,
        state=state,
        **how,
    )
    for i in range(n):
        grads, adapted, end = tree_map(
            lambda tensor: tensor[i], (joint.grads, joint.adapted, joint.state)
        )
        inner_losses = tuple(losses[i] for losses in joint.inner_losses)
        yield MetaGradient(joint.query_loss[i], grads, inner_losses, adapted, end)
