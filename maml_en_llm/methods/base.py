"""What a method is, and what it gives: one gradient for a meta-batch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ..errors import check_integer, check_truth, shown
from ..meta import Loss, MetaGradient
from ..tensors import Tensors, tree_map
from .episodes import Episode

Passes = tuple[int, int, int]
"""Forward passes, backward passes, and their cost in gradients of one batch."""


@dataclass(frozen=True)
class OuterGradient:
    """What the outer step is made from.

    ``loss`` is the mean query loss in nats per target token, ``grads`` the gradient for
    θ by name, ``inner_losses`` has a row per task, ``state`` is the optimizer state
    that the outer step starts from.
    """

    loss: float
    grads: Tensors
    inner_losses: tuple[tuple[float, ...], ...]
    state: Any


class Method(Protocol):
    """What training asks of a method."""

    @property
    def inner_steps(self) -> int:
        """k, the support batches of an episode that are used; 0 for none."""
        ...

    @property
    def instructions(self) -> bool:
        """Whether prompts begin with their task's instruction."""
        ...

    @property
    def demonstrations(self) -> bool:
        """Whether prompts show solved examples."""
        ...

    @property
    def derivative(self) -> str:
        """How losses are differentiated, one of `meta.DERIVATIVES`."""
        ...

    def gradient(
        self, loss: Loss, params: Tensors, episodes: Sequence[Episode], state: Any
    ) -> OuterGradient:
        """The gradient of one meta-batch at ``params``.

        ``state`` is the outer optimizer's.
        """
        ...

    def passes(self, k: int, in_parts: bool = False) -> list[Passes]:
        """What each of ``k`` support batches costs, and, last, the query batch.

        ``in_parts``: support batches have several graphs each (``prompts_at_once``).
        """
        ...


def check_method(method: Any) -> None:
    """`ValueError`, naming the field, for a value that no method takes."""
    check_integer("inner_steps", method.inner_steps)
    for name in ("instructions", "demonstrations"):
        check_truth(name, getattr(method, name))


def check_episodes(episodes: Any, k: int = 0) -> None:
    """`ValueError` for no list of episodes, or too few support batches for k steps.

    One batch for all of them is what ``inner_batch`` = "all" draws.
    """
    listed = isinstance(episodes, Sequence)
    if not listed or not episodes or not all(isinstance(e, Episode) for e in episodes):
        raise ValueError(
            "episodes: expected a list of one Episode or more, as "
            f"EpisodeSampler(...).sample(step) gives, found {shown(episodes)}"
        )
    found = min(len(episode.support) for episode in episodes)
    if found < k and found != 1:
        raise ValueError(
            f"episodes: expected {k} support batches, the method's inner_steps, found "
            f"{found or 'none'}; EpisodeSampler(..., inner_steps={k})"
        )


def average(
    results: Iterable[MetaGradient], state: Any, advanced: bool = False
) -> OuterGradient:
    """Means over tasks.

    They are added up as they come, so that one task's tensors are held at a time. With
    ``advanced`` the state is the mean of the tasks' own, else ``state`` as it is.
    """
    losses = []
    inner_losses = []
    total: Any = None
    for result in results:
        losses.append(result.query_loss)
        inner_losses.append(result.inner_losses)
        part = (result.grads, result.state if advanced else ())
        if total is None:
            total = tree_map(torch.clone, part)
        else:
            total = tree_map(torch.Tensor.add_, total, part)
        del result, part  # five copies of the parameters, before the next task's
    mean: Any = tree_map(lambda tensor: tensor.div_(len(losses)), total)
    grads, advanced_state = mean
    return OuterGradient(
        sum(losses) / len(losses),
        grads,
        tuple(inner_losses),
        advanced_state if advanced else state,
    )
