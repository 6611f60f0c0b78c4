"""Meta-training methods: each turns a meta-batch of episodes into one gradient of the initial parameters."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .episodes import Episode
from .calculus import Loss, joint_norm, loss_and_grad
from .eight_bit import decoded
from .errors import check_choice
from .meta import MetaGradient, meta_gradient
from .optimizers import Frozen, Tensors
from .prompts import bucket, stack
from .trees import tree_map

MOMENTS = ("shared", "shared-frozen", "fresh")
# Numbers in one layer's hidden states of a batch (tokens × width) up to which n = 4 tasks are faster together on a CPU, in 0.43
# to 0.95 of the time; beyond it the stacked tensors leave the cache. Measured by benchmarks/together.py, up to so many parameters
TOGETHER, PARAMETERS = 2**15, 2**22


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

    MetaICT is the same with the tasks' instructions in their prompts, multi-task training the same without demonstrations. With
    ``tokens_at_once`` prompts of about the same length are run together: the same gradient up to rounding, in less time.
    """

    inner_steps: int = 0
    tokens_at_once: int = 0

    def gradient(self, loss: Loss, params: Tensors, episodes: Sequence[Episode], state: Any) -> OuterGradient:
        """The gradient of one meta-batch; support batches, if any, are not used."""
        if not self.tokens_at_once:
            return _average((meta_gradient(loss, params, (), e.query, None) for e in episodes), state)
        mean, total = 0.0, None
        for share, batch in bucket([e.query for e in episodes], self.tokens_at_once):
            value, grads = loss_and_grad(loss, params, batch)
            mean += share * value
            grads = tree_map(lambda g: g * share, grads)
            total = grads if total is None else tree_map(torch.Tensor.add_, total, grads)
        return OuterGradient(mean, total, ((),) * len(episodes), state)


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

    def gradient(self, loss: Loss, params: Tensors, episodes: Sequence[Episode], state: Any) -> OuterGradient:
        """The gradient of one meta-batch, given the outer optimiser's state."""
        inner = Frozen(self.inner) if self.moments == "shared-frozen" else self.inner
        start = None if self.moments == "fresh" else decoded(state)
        together = _is_small(loss, params, episodes) if self.together is None else self.together
        run = _together if together else _one_by_one
        results = run(loss, params, episodes, self.inner_steps, inner, state=start, mode=self.mode, adapt=self.adapt)
        return _average(results, state, advanced=self.moments == "shared" and self.inner_steps > 0)


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
            raise ValueError(f"inner: expected a rate above 0, by which Reptile divides, found {self.inner.lr}")

    def gradient(self, loss: Loss, params: Tensors, episodes: Sequence[Episode], state: Any) -> OuterGradient:
        """The direction of one meta-batch, given the outer optimiser's state."""
        inner = Frozen(self.inner) if self.moments == "shared-frozen" else self.inner
        start = inner.init(params) if self.moments == "fresh" else decoded(state)
        results = (self._way(loss, params, e, inner, start) for e in episodes)
        return _average(results, state, advanced=self.moments == "shared")

    def _way(self, loss, params, episode, inner, state) -> MetaGradient:
        theta, losses = params, []
        for batch in (*episode.support[: self.inner_steps], episode.query):
            value, grads = loss_and_grad(loss, theta, batch)
            theta, state = inner.update(grads, state, theta)
            losses.append(value)
        way = {name: (p - theta[name]) / self.inner.lr for name, p in params.items()}
        return MetaGradient(losses[-1], way, tuple(losses[:-1]), theta, state)


def _is_small(loss, params: Tensors, episodes: Sequence[Episode]) -> bool:
    if not hasattr(loss, "model") or loss.model.device.type != "cpu":
        return False
    batches = [(*e.support, e.query) for e in episodes]
    alike = len({tuple(len(batch.input_ids) for batch in some) for some in batches}) == 1  # can be stacked
    tokens = max(batch.input_ids.numel() for some in batches for batch in some)
    small = tokens * loss.model.config.hidden_size <= TOGETHER and sum(p.numel() for p in params.values()) <= PARAMETERS
    return alike and small


def _one_by_one(loss, params, episodes, k, inner, **how) -> Iterable[MetaGradient]:
    for e in episodes:
        yield meta_gradient(loss, params, e.support[:k], e.query, inner, **how)


def _together(loss, params, episodes, k, inner, state, **how) -> Iterable[MetaGradient]:
    """One meta-gradient over stacked tasks: since no task's loss depends on another's parameters, that of the sum
    of their losses is the stack of theirs."""
    n = len(episodes)
    params, state = tree_map(lambda tensor: tensor.expand(n, *tensor.shape), (params, state))
    support = [stack(batches) for batches in zip(*(e.support[:k] for e in episodes), strict=True)]
    joint = meta_gradient(loss, params, support, stack([e.query for e in episodes]), inner, state=state, **how)
    for i in range(n):
        grads, adapted, end = tree_map(lambda tensor: tensor[i], (joint.grads, joint.adapted, joint.state))
        inner_losses = tuple(losses[i] for losses in joint.inner_losses)
        yield MetaGradient(joint.query_loss[i], grads, inner_losses, adapted, end)


def _average(results: Iterable[MetaGradient], state: Any, advanced: bool = False) -> OuterGradient:
    """Means over tasks, added up as they come so that one task's tensors are held at a time."""
    losses, inner_losses, total = [], [], None
    for result in results:
        losses.append(result.query_loss)
        inner_losses.append(result.inner_losses)
        part = (result.grads, result.state if advanced else ())
        total = tree_map(torch.clone, part) if total is None else tree_map(torch.Tensor.add_, total, part)
    grads, advanced_state = tree_map(lambda tensor: tensor.div_(len(losses)), total)
    return OuterGradient(sum(losses) / len(losses), grads, tuple(inner_losses), advanced_state if advanced else state)


def clip_by_norm(grads: Tensors, limit: float) -> tuple[Tensors, float]:
    """Scale all gradients down so that their joint Euclidean norm is at most ``limit``; returns the norm before."""
    norm = joint_norm(grads)
    scale = (limit / norm).clamp(max=1.0)
    return tree_map(lambda g: g * scale, grads), norm.item()
