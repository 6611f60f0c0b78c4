"""What a method gives: one gradient of the initial parameters for a meta-batch."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from ..meta.gradient import meta_gradient
from ..meta.sweep import MetaGradient
from ..tensors import Tensors, tree_map


@dataclass(frozen=True)
class OuterGradient:
    """Mean query loss in nats, the gradient for θ, each task's inner losses, and the state the outer step starts from."""

    loss: float
    grads: Tensors
    inner_losses: tuple[tuple[float, ...], ...]
    state: Any


def one_by_one(loss, params, episodes, k, inner, **how) -> Iterable[MetaGradient]:
    for e in episodes:
        yield meta_gradient(loss, params, e.support[:k], e.query, inner, **how)


def average(
    results: Iterable[MetaGradient], state: Any, advanced: bool = False
) -> OuterGradient:
    """Means over tasks, added up as they come so that one task's tensors are held at a time."""
    losses, inner_losses, total = [], [], None
    for result in results:
        losses.append(result.query_loss)
        inner_losses.append(result.inner_losses)
        part = (result.grads, result.state if advanced else ())
        total = (
            tree_map(torch.clone, part)
            if total is None
            else tree_map(torch.Tensor.add_, total, part)
        )
    grads, advanced_state = tree_map(lambda tensor: tensor.div_(len(losses)), total)
    return OuterGradient(
        sum(losses) / len(losses),
        grads,
        tuple(inner_losses),
        advanced_state if advanced else state,
    )
