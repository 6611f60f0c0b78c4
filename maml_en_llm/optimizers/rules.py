"""Optimizers as pure functions of (gradients, state, parameters).

They are differentiable in all three. ``init(params)`` gives the state, ``update(grads,
state, params)`` the new parameters and the new state; nothing is changed in place, so
one optimizer can serve the inner phase, the outer phase, or both with shared moments.
Only the parameters named in ``grads`` move, and only their moments.

An optimizer is an elementwise *rule* (g, θ, moments) → (θ', moments') and its
*adjoint*, the transposed derivative, written out by hand: autograd of the same rule
would cost several times the passes over memory. In both, g, θ, every moment and every
λ ("d" in the code: ``dp`` = λ_θ') is a block of one parameter's numbers, all (N,).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from .base import Optimizer


@dataclass(frozen=True)
class SGD(Optimizer):
    """θ ← θ − lr · g."""

    lr: float

    def rule(self, t, g, p, out=(None,)):  # noqa: ARG002  # one signature for all
        """(θ',)"""
        return (torch.add(p, g, alpha=-self.lr, out=out[0]),)

    def adjoint(self, t, g, p, dp):  # noqa: ARG002  # one signature for all
        """(λ_g, λ_θ)"""
        return -self.lr * dp, dp


@dataclass(frozen=True)
class Momentum(Optimizer):
    """b ← momentum · b + g,   θ ← θ − lr · b."""

    lr: float
    momentum: float = 0.9
    slots: ClassVar = ("buffer",)

    def rule(self, t, g, p, b, out=(None, None)):  # noqa: ARG002  # one signature
        """(θ', b')"""
        b = torch.add(g, b, alpha=self.momentum, out=out[1])
        return torch.add(p, b, alpha=-self.lr, out=out[0]), b

    def adjoint(self, t, g, p, b, dp, db):  # noqa: ARG002  # one signature for all
        """(λ_g, λ_θ, λ_b)"""
        db = torch.add(db, dp, alpha=-self.lr)  # λ_b' whole: θ' was made of b' too
        return db, dp, self.momentum * db


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015) with a second safety term under the root:

        m ← β₁ m + (1−β₁) g          m̂ = m / c₁,   c₁ = 1 − β₁ᵗ
        v ← β₂ v + (1−β₂) g²         v̂ = v / c₂,   c₂ = 1 − β₂ᵗ
        θ ← θ − lr · m̂ / (√(v̂ + eps_root) + eps)

    At v̂ = 0 the root has an infinite derivative, so without ``eps_root`` the
    meta-gradient is NaN wherever a gradient has always been zero: every token and
    position that the prompts do not use. It acts as an ``eps`` of √eps_root: entries
    well below 1e-4 hardly move. Those of N parameters' gradient, clipped to norm 1, are
    about 1/√N, 5e-5 for 355 million; there take 1e-12. With ``eps_root`` = 0 this is
    torch's Adam, for outer steps only.
    """

    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    eps_root: float = 1e-8
    slots: ClassVar = ("mean", "variance")

    @property
    def decay(self) -> float:
        """What is left of θ before the step."""
        return 1.0

    def safety(self, t):
        """The terms as `rule` adds them, which has √c₂ on both sides of the bar."""
        c2 = 1 - self.betas[1] ** t
        return {"eps": c2**0.5 * self.eps, "eps_root": c2 * self.eps_root}

    def rule(self, t, g, p, m, v, out=(None, None, None)):
        """(θ', m', v'): first m and v, then the step, both bars of it times √c₂."""
        b1, b2 = self.betas
        c1 = 1 - b1**t
        c2 = 1 - b2**t
        m = torch.lerp(m, g, 1 - b1, out=out[1])  # β₁ m + (1−β₁) g
        v = torch.mul(v, b2, out=out[2])  # β₂ v
        v = v.addcmul_(g, g, value=1 - b2)  #      + (1−β₂) g²
        root = (v + c2 * self.eps_root).sqrt()  # √c₂ · √(v̂ + eps_root)
        down = root + c2**0.5 * self.eps  # √c₂ · (√(v̂ + eps_root) + eps)
        rate = self.lr * c2**0.5 / c1
        kept = p if self.decay == 1 else self.decay * p
        return torch.addcdiv(kept, m, down, value=-rate, out=out[0]), m, v

    def adjoint(self, t, g, p, m, v, dp, dm, dv):  # noqa: ARG002  # one signature
        """(λ_g, λ_θ, λ_m, λ_v), the last two written over; m', v', r, d as in `rule`:

        r = √(v'/c₂ + eps_root),   d = r + eps,   θ' = decay · θ − lr/c₁ · m'/d
        λ_m' += −lr/c₁ · λ_θ'/d                        through the numerator
        λ_v' += lr/c₁ · λ_θ' m'/d² · 1/(2 r c₂)         through the denominator
        λ_g = (1−β₁) λ_m' + 2 (1−β₂) g λ_v',   λ_m = β₁ λ_m',   λ_v = β₂ λ_v'
        """
        b1, b2 = self.betas
        c1 = 1 - b1**t
        c2 = 1 - b2**t
        root = v * (b2 / c2)
        root = root.addcmul_(g, g, value=(1 - b2) / c2)  # v'/c₂
        root = root.add_(self.eps_root).sqrt_()  # r
        down = root + self.eps  # d
        to_mean = dp / down  # λ_θ'/d
        to_root = torch.lerp(m, g, 1 - b1)  # m'
        to_root = to_root.mul_(to_mean).div_(down)  # λ_θ' m'/d²
        dm.add_(to_mean, alpha=-self.lr / c1)  # λ_m' whole
        dv.addcdiv_(to_root, root, value=0.5 * self.lr / (c1 * c2))  # λ_v' whole
        dg = torch.mul(dm, 1 - b1, out=to_mean)
        dg = dg.addcmul_(g, dv, value=2 * (1 - b2))
        dp = dp if self.decay == 1 else self.decay * dp
        return dg, dp, dm.mul_(b1), dv.mul_(b2)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019).

    θ ← (1 − lr · weight_decay) θ before Adam's step.
    """

    weight_decay: float = 0.01

    @property
    def decay(self) -> float:
        """What is left of θ before the step."""
        return 1 - self.lr * self.weight_decay


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """v ← alpha v + (1−alpha) g²,   θ ← θ − lr · g / (√(v + eps_root) + eps).

    ``eps_root`` as in `Adam`.
    """

    lr: float
    alpha: float = 0.99
    eps: float = 1e-8
    eps_root: float = 1e-8
    slots: ClassVar = ("variance",)

    def safety(self, t):  # noqa: ARG002  # the same at every step
        """Both terms, as they are."""
        return {"eps": self.eps, "eps_root": self.eps_root}

    def _moments(self, g, v, out=None):
        v = torch.mul(v, self.alpha, out=out)  # alpha · v
        v = v.addcmul_(g, g, value=1 - self.alpha)  #  + (1−alpha) g²
        return v, (v + self.eps_root).sqrt()

    def rule(self, t, g, p, v, out=(None, None)):  # noqa: ARG002  # one signature
        """(θ', v')"""
        v, root = self._moments(g, v, out[1])
        down = root + self.eps
        return torch.addcdiv(p, g, down, value=-self.lr, out=out[0]), v

    def adjoint(self, t, g, p, v, dp, dv):  # noqa: ARG002  # one signature for all
        """(λ_g, λ_θ, λ_v), with r = √(v' + eps_root) and d = r + eps:

        λ_v' += lr · λ_θ' g/d² · 1/(2r)
        λ_g = −lr · λ_θ'/d + 2 (1−alpha) g λ_v',   λ_v = alpha · λ_v'
        """
        v, root = self._moments(g, v)
        down = root + self.eps
        to_g = (dp / down).mul_(-self.lr)  # −lr · λ_θ'/d
        dv = torch.addcdiv(dv, to_g * g / down, root, value=-0.5)  # λ_v' whole
        dg = torch.addcmul(to_g, g, dv, value=2 * (1 - self.alpha))
        return dg, dp, self.alpha * dv


@dataclass(frozen=True)
class Lion(Optimizer):
    """Lion (Chen et al. 2023), its sign made differentiable:

        c = β₁ m + (1−β₁) g,   m ← β₂ m + (1−β₂) g
        θ ← (1 − lr · weight_decay) θ − lr · c / √(c² + eps_root)

    With ``eps_root`` → 0 the direction is sign(c), whose derivative is zero: the second
    order is then lost. Entries of c well below √eps_root hardly move.
    """

    lr: float
    betas: tuple[float, float] = (0.9, 0.99)
    eps_root: float = 1e-8
    weight_decay: float = 0.0
    slots: ClassVar = ("mean",)

    def safety(self, t):  # noqa: ARG002  # the same at every step
        """What `adjoint` divides by at c = 0, the smallest of its numbers."""
        return {"eps_root": self.eps_root**1.5}

    def rule(self, t, g, p, m, out=(None, None)):  # noqa: ARG002  # one signature
        """(θ', m'): the step first, since it needs the old m."""
        b1, b2 = self.betas
        c = torch.lerp(m, g, 1 - b1)  # β₁ m + (1−β₁) g
        root = (c.square() + self.eps_root).sqrt()
        kept = (1 - self.lr * self.weight_decay) * p
        p = torch.addcdiv(kept, c, root, value=-self.lr, out=out[0])
        m = torch.lerp(m, g, 1 - b2, out=out[1])  # β₂ m + (1−β₂) g
        return p, m

    def adjoint(self, t, g, p, m, dp, dm):  # noqa: ARG002  # one signature for all
        """(λ_g, λ_θ, λ_m), from d/dc c/√(c² + e) = e (c² + e)^−1.5, e = eps_root:

        λ_c = −lr · λ_θ' · e (c² + e)^−1.5
        λ_g = (1−β₁) λ_c + (1−β₂) λ_m',   λ_m = β₁ λ_c + β₂ λ_m'
        """
        b1, b2 = self.betas
        square = torch.lerp(m, g, 1 - b1).square_().add_(self.eps_root)  # c² + e
        slope = square.pow(-1.5).mul_(-self.lr * self.eps_root)
        dc = dp * slope
        dg = torch.add((1 - b1) * dc, dm, alpha=1 - b2)
        dm = torch.add(b1 * dc, dm, alpha=b2)
        return dg, (1 - self.lr * self.weight_decay) * dp, dm
