"""NAdam: Adam with Nesterov's look ahead."""

from dataclasses import dataclass
from functools import lru_cache

import torch

from .rules import Adam

NOTHING = 2.0**-60  # a product of rates below this no longer shows in 1 − product


@dataclass(frozen=True)
class NAdam(Adam):
    """NAdam (Dozat 2016), with Adam's second safety term under the root:

        μₜ = β₁ (1 − ½ · 0.96^(t · momentum_decay)),   Πₜ = μ₁ μ₂ … μₜ
        m ← β₁ m + (1−β₁) g
        v ← β₂ v + (1−β₂) g²,   v̂ = v / c₂,   c₂ = 1 − β₂ᵗ
        θ ← θ − lr · (a g + b m) / (√(v̂ + eps_root) + eps)
        a = (1−μₜ) / (1−Πₜ),   b = μₜ₊₁ / (1−Πₜ₊₁)

    The schedule depends on the count of steps alone, so the state is Adam's.
    """

    momentum_decay: float = 4e-3

    def rule(self, t, g, p, m, v, out=(None, None, None)):
        """(θ', m', v'): first m and v, then the direction a g + b m', then the step."""
        b1, b2 = self.betas
        c2 = 1 - b2**t
        a, b = look_ahead(b1, self.momentum_decay, t)
        m = torch.lerp(m, g, 1 - b1, out=out[1])  # β₁ m + (1−β₁) g
        v = torch.mul(v, b2, out=out[2])  # β₂ v
        v = v.addcmul_(g, g, value=1 - b2)  #      + (1−β₂) g²
        root = (v + c2 * self.eps_root).sqrt()  # √c₂ · √(v̂ + eps_root)
        down = root + c2**0.5 * self.eps  # √c₂ · (√(v̂ + eps_root) + eps)
        ahead = torch.add(a * g, m, alpha=b)  # a g + b m'
        rate = self.lr * c2**0.5
        return torch.addcdiv(p, ahead, down, value=-rate, out=out[0]), m, v

    def adjoint(self, t, g, p, m, v, dp, dm, dv):  # noqa: ARG002  # one signature
        """(λ_g, λ_θ, λ_m, λ_v), with r = √(v'/c₂ + eps_root) and d = r + eps:

        n = a g + b m',   θ' = θ − lr · n/d
        λ_n = −lr · λ_θ'/d                            through the numerator
        λ_v' += lr · λ_θ' n/d² · 1/(2 r c₂)            through the denominator
        λ_m' += b λ_n
        λ_g = a λ_n + (1−β₁) λ_m' + 2 (1−β₂) g λ_v',   λ_m = β₁ λ_m',   λ_v = β₂ λ_v'
        """
        b1, b2 = self.betas
        c2 = 1 - b2**t
        a, b = look_ahead(b1, self.momentum_decay, t)
        root = v * (b2 / c2)
        root = root.addcmul_(g, g, value=(1 - b2) / c2)  # v'/c₂
        root = root.add_(self.eps_root).sqrt_()  # r
        down = root + self.eps  # d
        to_ahead = (dp / down).mul_(-self.lr)  # λ_n
        ahead = torch.lerp(m, g, 1 - b1).mul_(b)  # b m'
        ahead = ahead.add_(g, alpha=a)  # n
        to_root = ahead.mul_(to_ahead).div_(down)  # −lr · λ_θ' n/d²
        dm = torch.add(dm, to_ahead, alpha=b)  # λ_m' whole
        dv = torch.addcdiv(dv, to_root, root, value=-0.5 / c2)  # λ_v' whole
        dg = to_ahead.mul_(a)
        dg = dg.add_(dm, alpha=1 - b1)
        dg = dg.addcmul_(g, dv, value=2 * (1 - b2))
        return dg, dp, dm.mul_(b1), dv.mul_(b2)


@lru_cache
def look_ahead(beta: float, decay: float, t: int) -> tuple[float, float]:
    """(a, b): the weights of the gradient and of its mean in step ``t``."""
    now = momentum(beta, decay, t)
    then = momentum(beta, decay, t + 1)
    product = 1.0  # Πₜ
    for step in range(1, t + 1):
        product *= momentum(beta, decay, step)
        if product < NOTHING:
            break
    return (1 - now) / (1 - product), then / (1 - product * then)


def momentum(beta: float, decay: float, t: int) -> float:
    """μₜ = β₁ (1 − ½ · 0.96^(t · decay))."""
    return beta * (1 - 0.5 * 0.96 ** (t * decay))
