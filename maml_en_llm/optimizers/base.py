"""What all optimisers share: pure updates and their adjoints."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from ..tensors import Tensors, map_blocks


class State(NamedTuple):
    """The moments of an optimiser, each like the parameters, and the number of updates so far."""

    moments: tuple[Tensors, ...]
    step: int


class Optimizer:
    """What all optimisers share; a subclass gives ``slots``, ``rule``, which writes its results to ``out`` where that is
    given, and ``adjoint``, which may write over the adjoints that it is given."""

    slots: ClassVar[tuple[str, ...]] = ()  # names of the moments

    def __post_init__(self):
        for name, value in vars(self).items():
            for number in value if isinstance(value, tuple) else (value,):
                if not number >= 0:
                    raise ValueError(f"{name}: expected a number ≥ 0, found {value}")
                if name in ("betas", "momentum", "alpha") and number >= 1:
                    raise ValueError(f"{name}: expected less than 1, found {value}")

    def init(self, params: Tensors) -> State:
        """Zero moments, no step taken; each takes the memory of a single zero."""
        return State(
            tuple(
                {n: p.new_zeros(()).expand(p.shape) for n, p in params.items()}
                for _ in self.slots
            ),
            0,
        )

    def update(
        self, grads: Tensors, state: State, params: Tensors, *, out=None
    ) -> tuple[Tensors, State]:
        """One step: the new parameters and the new state.

        ``out``, (parameters, state) of an earlier step or the arguments themselves, is written over, which saves new
        memory; not where autograd records.
        """
        moved = {}
        for n, g in grads.items():
            inputs = [g, params[n], *(m[n] for m in state.moments)]
            outputs = (
                [None] * (1 + len(self.slots))
                if out is None
                else [out[0][n], *(m[n] for m in out[1].moments)]
            )
            moved[n] = self._step(state.step + 1, inputs, outputs)
        moments = tuple(
            old | {n: new[i] for n, new in moved.items()}
            for i, old in enumerate(state.moments, 1)
        )
        return {**params, **{n: new[0] for n, new in moved.items()}}, State(
            moments, state.step + 1
        )

    def pull_back_(
        self,
        grads: Tensors,
        state: State,
        params: Tensors,
        adjoint: Tensors,
        moments_adjoint,
        out=None,
    ):
        """The adjoint of `update`: from (λ_θ', λ_s') to (λ_g, λ_θ, λ_s).

        Returns λ_g, new or written over ``out``, and λ_s; λ_θ is written over ``adjoint``, λ_s over ``moments_adjoint``
        (``None`` stands for zeros). The arguments are those of the update.
        """
        if moments_adjoint is None:
            moments_adjoint = tuple(
                {
                    n: torch.zeros(g.shape, dtype=g.dtype, device=g.device)
                    for n, g in grads.items()
                }
                for _ in self.slots
            )
        to_grads = {}
        for n, g in grads.items():
            carried = [adjoint[n], *(part[n] for part in moments_adjoint)]
            inputs = [g, params[n], *(m[n] for m in state.moments), *carried]
            outputs = [out and out[n], *carried]
            to_grads[n] = map_blocks(
                lambda x, out: self.adjoint(state.step + 1, *x), inputs, outputs
            )[0]
        return to_grads, moments_adjoint

    def _step(
        self, t: int, inputs: list[torch.Tensor], outputs: list
    ) -> list[torch.Tensor]:
        if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
            return list(self.rule(t, *inputs))  # autograd has to see whole tensors
        return map_blocks(lambda x, out: self.rule(t, *x, out=out), inputs, outputs)


@dataclass(frozen=True)
class Frozen:
    """Another optimiser whose state is read but not advanced: every step starts from the same moments."""

    optimizer: Optimizer
    slots: ClassVar = ()  # no step writes the moments

    def init(self, params: Tensors) -> State:
        """The wrapped optimiser's state."""
        return self.optimizer.init(params)

    def update(self, grads: Tensors, state: State, params: Tensors, *, out=None):
        """One step of the wrapped optimiser, into new memory; the state comes back unchanged."""
        return self.optimizer.update(grads, state, params)[0], state

    def pull_back_(
        self,
        grads: Tensors,
        state: State,
        params: Tensors,
        adjoint: Tensors,
        moments_adjoint,
        out=None,
    ):
        """As the wrapped optimiser's; no adjoint reaches the moments, since no step has written them."""
        return self.optimizer.pull_back_(grads, state, params, adjoint, None, out)[
            0
        ], None
