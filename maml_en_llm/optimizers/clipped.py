"""An optimizer whose gradients are clipped first, and the clip's exact derivative."""

from dataclasses import dataclass
from typing import Any

import torch

from ..errors import check_rate
from ..tensors import Tensors, check_named
from .base import State, first_state, not_none


@dataclass(frozen=True)
class Clipped:
    """Another optimizer U, fed with gradients of a joint norm of at most ``limit``.

        c(g) = ρ g,   ρ = limit / max(‖g‖, limit)
        (θ', s') = U(c(g), s, θ)

    ‖g‖ is the Euclidean norm of all gradients together. The clip is a part of the step,
    so it is a part of the step's derivative, with ĝ = g / ‖g‖:

        λ_g = ρ λ_c                      where ‖g‖ ≤ limit, that is ρ = 1
        λ_g = ρ (λ_c − ĝ ⟨ĝ, λ_c⟩)       where ‖g‖ > limit: only directions count

    With ``stacked`` tensors are (n, …) of n tasks, each of which is clipped alone.

    Raises `ValueError` for a limit that is no number above 0.
    """

    optimizer: Any  # an `Optimizer`, or one that is wrapped
    limit: float
    stacked: bool = False

    def __post_init__(self):
        limit = check_rate("limit", self.limit, above=True)
        object.__setattr__(self, "limit", limit)

    @property
    def slots(self) -> tuple[str, ...]:
        """The wrapped optimizer's moments."""
        return self.optimizer.slots

    @property
    def lr(self) -> float:
        """The wrapped optimizer's rate."""
        return self.optimizer.lr

    def init(self, params: Tensors) -> State:
        """The wrapped optimizer's state."""
        return first_state(self.optimizer, params)

    def update(
        self,
        grads: Tensors,
        state: State,
        params: Tensors,
        *,
        lr: float | None = None,
        out: Any = None,
    ) -> tuple[Tensors, State]:
        """One step of the wrapped optimizer on the clipped gradients."""
        check_named(grads=grads)
        clipped = _times(grads, self._scale(self._norm(grads)))
        return self.optimizer.update(clipped, state, params, **not_none(lr=lr, out=out))

    def pull_back_(
        self,
        grads: Tensors,
        state: State,
        params: Tensors,
        adjoint: Tensors,
        moments_adjoint,
        out: Tensors | None = None,
    ):
        """As the wrapped optimizer's, and back through the clip."""
        norm = self._norm(grads)
        scale = self._scale(norm)
        clipped = _times(grads, scale)
        to_clipped, moments_adjoint = self.optimizer.pull_back_(
            clipped, state, params, adjoint, moments_adjoint, out
        )
        del clipped
        along = self._dot(grads, to_clipped)  # ⟨g, λ_c⟩
        share = torch.where(norm > self.limit, along / norm.square(), 0.0)
        for name, g in grads.items():
            part = to_clipped[name]
            part.addcmul_(g, _beside(share, g), value=-1).mul_(_beside(scale, g))
        return to_clipped, moments_adjoint

    def _norm(self, tensors: Tensors) -> torch.Tensor:
        """‖g‖, a scalar; with ``stacked`` (n,)."""
        each = [self._flat(t).norm(dim=-1) for t in tensors.values()]
        return torch.stack(each, -1).norm(dim=-1)

    def _dot(self, xs: Tensors, ys: Tensors) -> torch.Tensor:
        products = [self._flat(xs[n] * y).sum(-1) for n, y in ys.items()]
        return torch.stack(products, -1).sum(-1)

    def _flat(self, tensor: torch.Tensor) -> torch.Tensor:
        """(N,), or (n, N) of stacked tasks."""
        return tensor.reshape(*tensor.shape[: int(self.stacked)], -1)

    def _scale(self, norm: torch.Tensor) -> torch.Tensor:
        """ρ; written so that a norm of 0 has a derivative too."""
        return self.limit / norm.clamp(min=self.limit)


def _times(tensors: Tensors, scale: torch.Tensor) -> Tensors:
    """In their own types, which the scale of a stack may be wider than."""
    return {n: (t * _beside(scale, t)).to(t.dtype) for n, t in tensors.items()}


def _beside(number: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """() or (n,) as it multiplies a tensor (n, …)."""
    return number.reshape(number.shape + (1,) * (tensor.dim() - number.dim()))
