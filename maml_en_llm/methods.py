"""Meta-training methods: each turns a meta-batch of episodes into one gradient of the initial parameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .episodes import Episode
from .meta import Loss, MetaGradient, meta_gradient
from .optimizers import Frozen, Tensors
from .trees import tree_map, tree_mean

MOMENTS = ("shared", "shared-frozen", "fresh")


@dataclass(frozen=True)
class OuterGradient:
    """Mean query loss in nats, the gradient for θ, each task's inner losses, and the state the outer step starts from."""

    loss: float
    grads: Tensors
    inner_losses: tuple[tuple[float, ...], ...]
    state: Any


@dataclass(frozen=True)
class MetaICL:
    """MetaICL (Min et al. 2022): the mean gradient of the query losses at θ, no inner loop.

    ∇F(θ) = 1/n Σᵢ ∇L(θ, Qᵢ)
    """

    inner_steps: int = 0

    def gradient(self, loss: Loss, params: Tensors, episodes: Sequence[Episode], state: Any) -> OuterGradient:
        """The gradient of one meta-batch; support batches, if any, are not used."""
        return _average([meta_gradient(loss, params, (), e.query, None, state=state) for e in episodes], state)


@dataclass(frozen=True, kw_only=True)
class MAMLenLLM:
    """MAML-en-LLM: the gradient of the query losses at the adapted θᵢ, with respect to the unadapted θ.

    From the same θ each of the n tasks takes k ``inner`` steps, θᵢ = Uᵏ(θ; Sᵢ), and

        ∇F(θ) = 1/n Σᵢ d/dθ L(θᵢ(θ), Qᵢ)        (second order unless ``mode`` is "first_order")

    ``moments`` says what Adam's m and v the inner phase sees. "shared": every task starts from the outer optimiser's
    and advances its own copy, and the outer step goes on from their mean, so that both phases advance one
    optimiser. "shared-frozen": read, not advanced. "fresh": zero at the start of every inner loop. How the copies of n
    tasks are joined is not said in the source; the mean is our reading of it, and does not depend on their order.
    With k = 0, or an inner rate of 0, the gradient is MetaICL's.
    """

    inner: Any
    inner_steps: int = 1
    moments: str = "shared"
    mode: str = "reverse"

    def __post_init__(self):
        if self.moments not in MOMENTS:
            raise ValueError(f"moments: expected one of {', '.join(MOMENTS)}, found {self.moments!r}")

    def gradient(self, loss: Loss, params: Tensors, episodes: Sequence[Episode], state: Any) -> OuterGradient:
        """The gradient of one meta-batch, given the outer optimiser's state."""
        inner = Frozen(self.inner) if self.moments == "shared-frozen" else self.inner
        start = None if self.moments == "fresh" else state
        results = [
            meta_gradient(loss, params, e.support[: self.inner_steps], e.query, inner, mode=self.mode, state=start)
            for e in episodes
        ]
        advanced = self.moments == "shared" and self.inner_steps > 0
        return _average(results, tree_mean([r.state for r in results]) if advanced else state)


def _average(results: Sequence[MetaGradient], state: Any) -> OuterGradient:
    return OuterGradient(
        loss=sum(r.query_loss for r in results) / len(results),
        grads=tree_mean([r.grads for r in results]),
        inner_losses=tuple(r.inner_losses for r in results),
        state=state,
    )


def clip_by_norm(grads: Tensors, limit: float) -> tuple[Tensors, float]:
    """Scale all gradients down so that their joint Euclidean norm is at most ``limit``; returns the norm before."""
    norm = torch.stack([g.norm() for g in grads.values()]).norm()
    scale = (limit / norm).clamp(max=1.0)
    return tree_map(lambda g: g * scale, grads), norm.item()
