"""Optimisers as pure functions of (gradients, state, parameters), differentiable in all three.

``init(params)`` gives the state, ``update(grads, state, params)`` the new parameters and the new state; nothing is
changed in place, so one optimiser can serve the inner phase, the outer phase, or both with shared moments. Only the
parameters named in ``grads`` move, and only their moments.

An optimiser is an elementwise *rule* (g, θ, moments) → (θ', moments') and its *adjoint*, the transposed derivative,
written out by hand: autograd of the same rule would cost several times the passes over memory.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from .base import Optimizer


@dataclass(frozen=True)
class SGD(Optimizer):
    """θ ← θ − lr · g."""

    lr: float

    def rule(self, t, g, p, out=(None,)):
        """(θ',)"""
        return (torch.add(p, g, alpha=-self.lr, out=out[0]),)

    def adjoint(self, t, g, p, dp):
        """(λ_g, λ_θ)"""
        return -self.lr * dp, dp


@dataclass(frozen=True)
class Momentum(Optimizer):
    """b ← momentum · b + g,   θ ← θ − lr · b."""

    lr: float
    momentum: float = 0.9
    slots: ClassVar = ("buffer",)

    def rule(self, t, g, p, b, out=(None, None)):
        """(θ', b')"""
        b = torch.add(g, b, alpha=self.momentum, out=out[1])
        return torch.add(p, b, alpha=-self.lr, out=out[0]), b

    def adjoint(self, t, g, p, b, dp, db):
        """(λ_g, λ_θ, λ_b)"""
        db = torch.add(db, dp, alpha=-self.lr)
        return db, dp, self.momentum * db


@dataclass(frozen=True)
class Adam(Optimizer):
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
    slots: ClassVar = ("mean", "variance")
    decay: ClassVar = 1.0  # what is left of θ before the step

    def rule(self, t, g, p, m, v, out=(None, None, None)):
        """(θ', m', v')"""
        b1, b2 = self.betas
        c1, c2 = 1 - b1**t, 1 - b2**t
        m = torch.lerp(m, g, 1 - b1, out=out[1])
        v = torch.mul(v, b2, out=out[2]).addcmul_(g, g, value=1 - b2)
        root = (v + c2 * self.eps_root).sqrt()  # √c2 times that of the formula
        p = p if self.decay == 1 else self.decay * p
        return (
            torch.addcdiv(
                p,
                m,
                root + c2**0.5 * self.eps,
                value=-self.lr * c2**0.5 / c1,
                out=out[0],
            ),
            m,
            v,
        )

    def adjoint(self, t, g, p, m, v, dp, dm, dv):
        """(λ_g, λ_θ, λ_m, λ_v), the last two written over"""
        b1, b2 = self.betas
        c1, c2 = 1 - b1**t, 1 - b2**t
        root = (
            (v * (b2 / c2))
            .addcmul_(g, g, value=(1 - b2) / c2)
            .add_(self.eps_root)
            .sqrt_()
        )
        down = root + self.eps
        to_mean = dp / down  # through the numerator, up to −lr / c1
        to_root = (
            torch.lerp(m, g, 1 - b1).mul_(to_mean).div_(down)
        )  # through the denominator, up to lr / c1
        dm.add_(to_mean, alpha=-self.lr / c1)
        dv.addcdiv_(to_root, root, value=0.5 * self.lr / (c1 * c2))
        dg = torch.mul(dm, 1 - b1, out=to_mean).addcmul_(g, dv, value=2 * (1 - b2))
        return dg, dp if self.decay == 1 else self.decay * dp, dm.mul_(b1), dv.mul_(b2)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: θ ← (1 − lr · weight_decay) θ before Adam's step (Loshchilov & Hutter 2019)."""

    weight_decay: float = 0.01

    @property
    def decay(self) -> float:
        """What is left of θ before the step."""
        return 1 - self.lr * self.weight_decay


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """v ← alpha v + (1−alpha) g²,   θ ← θ − lr · g / (√(v + eps_root) + eps)."""

    lr: float
    alpha: float = 0.99
    eps: float = 1e-8
    eps_root: float = 1e-8
    slots: ClassVar = ("variance",)

    def _moments(self, g, v, out=None):
        v = torch.mul(v, self.alpha, out=out).addcmul_(g, g, value=1 - self.alpha)
        return v, (v + self.eps_root).sqrt()

    def rule(self, t, g, p, v, out=(None, None)):
        """(θ', v')"""
        v, root = self._moments(g, v, out[1])
        return torch.addcdiv(p, g, root + self.eps, value=-self.lr, out=out[0]), v

    def adjoint(self, t, g, p, v, dp, dv):
        """(λ_g, λ_θ, λ_v)"""
        v, root = self._moments(g, v)
        to_g = (dp / (root + self.eps)).mul_(-self.lr)
        dv = torch.addcdiv(dv, to_g * g / (root + self.eps), root, value=-0.5)
        return (
            torch.addcmul(to_g, g, dv, value=2 * (1 - self.alpha)),
            dp,
            self.alpha * dv,
        )


@dataclass(frozen=True)
class Lion(Optimizer):
    """Lion (Chen et al. 2023), its sign made differentiable:

        c = β₁ m + (1−β₁) g,   θ ← (1 − lr · weight_decay) θ − lr · c / √(c² + eps_root),   m ← β₂ m + (1−β₂) g

    With ``eps_root`` → 0 the direction is sign(c), whose derivative is zero: the second order is then lost.
    """

    lr: float
    betas: tuple[float, float] = (0.9, 0.99)
    eps_root: float = 1e-8
    weight_decay: float = 0.0
    slots: ClassVar = ("mean",)

    def rule(self, t, g, p, m, out=(None, None)):
        """(θ', m')"""
        c = torch.lerp(m, g, 1 - self.betas[0])
        root = (c.square() + self.eps_root).sqrt()
        p = (1 - self.lr * self.weight_decay) * p
        return torch.addcdiv(p, c, root, value=-self.lr, out=out[0]), torch.lerp(
            m, g, 1 - self.betas[1], out=out[1]
        )

    def adjoint(self, t, g, p, m, dp, dm):
        """(λ_g, λ_θ, λ_m)"""
        b1, b2 = self.betas
        square = torch.lerp(m, g, 1 - b1).square_().add_(self.eps_root)
        dc = dp * square.pow(-1.5).mul_(-self.lr * self.eps_root)
        dg = torch.add((1 - b1) * dc, dm, alpha=1 - b2)
        return (
            dg,
            (1 - self.lr * self.weight_decay) * dp,
            torch.add(b1 * dc, dm, alpha=b2),
        )
