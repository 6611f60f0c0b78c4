"""Optimisers as pure functions of (gradients, state, parameters), differentiable in all three.

``init(params)`` gives the state, ``update(grads, state, params)`` the new parameters and the new state; nothing is
changed in place, so the same optimiser can serve the inner phase, the outer phase, or both with shared moments.
Parameters, gradients and moments are dictionaries of tensors by parameter name.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch

Tensors = dict[str, torch.Tensor]


class AdamState(NamedTuple):
    """First moment m, second moment v, both like the parameters, and the number of updates t."""

    mean: Tensors
    variance: Tensors
    step: int


@dataclass(frozen=True)
class SGD:
    """θ ← θ − lr · g."""

    lr: float

    def __post_init__(self):
        _check(lr=self.lr)

    def init(self, params: Tensors) -> tuple:
        """No state."""
        return ()

    def update(self, grads: Tensors, state: tuple, params: Tensors) -> tuple[Tensors, tuple]:
        """One step."""
        return {name: p - self.lr * grads[name] for name, p in params.items()}, state


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba 2015) with a second safety term under the root:

        m ← β₁ m + (1−β₁) g          m̂ = m / (1−β₁ᵗ)
        v ← β₂ v + (1−β₂) g²         v̂ = v / (1−β₂ᵗ)
        θ ← θ − lr · m̂ / (√(v̂ + eps_root) + eps)

    At v̂ = 0 the root has an infinite derivative, so without ``eps_root`` the meta-gradient is NaN wherever a
    gradient has always been zero: every word and position that the prompts do not use.
    """

    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    eps_root: float = 1e-8

    def __post_init__(self):
        _check(lr=self.lr, eps=self.eps, eps_root=self.eps_root)
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas: expected two numbers in [0, 1), found {self.betas}")

    def init(self, params: Tensors) -> AdamState:
        """Zero moments, no step taken."""
        return AdamState({n: torch.zeros_like(p) for n, p in params.items()},
                         {n: torch.zeros_like(p) for n, p in params.items()}, 0)

    def update(self, grads: Tensors, state: AdamState, params: Tensors) -> tuple[Tensors, AdamState]:
        """One step."""
        (b1, b2), t = self.betas, state.step + 1
        mean = {n: b1 * state.mean[n] + (1 - b1) * grads[n] for n in params}
        variance = {n: b2 * state.variance[n] + (1 - b2) * grads[n].square() for n in params}
        new = {n: p - self.lr * self._direction(mean[n] / (1 - b1**t), variance[n] / (1 - b2**t))
               for n, p in params.items()}
        return new, AdamState(mean, variance, t)

    def _direction(self, mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
        return mean / ((variance + self.eps_root).sqrt() + self.eps)


@dataclass(frozen=True)
class Frozen:
    """Another optimiser whose state is read but not advanced: every step starts from the same moments."""

    optimizer: object

    def init(self, params: Tensors):
        """The wrapped optimiser's state."""
        return self.optimizer.init(params)

    def update(self, grads: Tensors, state, params: Tensors):
        """One step of the wrapped optimiser; the state comes back unchanged."""
        return self.optimizer.update(grads, state, params)[0], state


def _check(**values: float) -> None:
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name}: expected a number ≥ 0, found {value}")
