"""Adam's moments in 8 bits between the steps, a quarter of their memory (Dettmers et al. 2022), as in the published recipe.

A moment is cut into blocks of 256 numbers. Each is divided by its block's largest and rounded to the nearest of 256 levels,
which lie densest near zero; the variance, never negative, has all of its levels on one side. The coding is `bitsandbytes`'.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch

from ..tensors import Tensors
from .base import Optimizer, State

NUMBERS_PER_SCALE = 256  # numbers that share a scale


SMALLEST = 4096  # numbers of a tensor that is coded; smaller ones stay as they are


class Coded(NamedTuple):
    """A tensor in 8 bits: ``levels`` (uint8) and what `bitsandbytes` decodes them with."""

    levels: torch.Tensor
    key: Any


@dataclass(frozen=True)
class EightBit:
    """Another optimiser, whose moments are held in 8 bits between its steps and decoded one parameter at a time.

    For the outer phase: what is coded has no derivative. `decoded` gives an inner phase its starting point.

    Raises:
        ImportError: `bitsandbytes` is not installed.
    """

    optimizer: Optimizer

    def __post_init__(self):
        _library()

    def init(self, params: Tensors) -> State:
        """The wrapped optimiser's state, coded."""
        return self._coded(self.optimizer.init(params))

    def update(
        self, grads: Tensors, state: State, params: Tensors
    ) -> tuple[Tensors, State]:
        """One step of the wrapped optimiser from ``state``, coded or not; the new state is coded."""
        params, moments = dict(params), [{} for _ in self.optimizer.slots]
        for name, g in grads.items():
            one = State(
                tuple({name: _decode(m[name])} for m in state.moments), state.step
            )
            moved, one = self.optimizer.update({name: g}, one, {name: params[name]})
            params |= moved
            for found, part in zip(moments, self._coded(one).moments):
                found |= part
        return params, State(tuple(moments), state.step + 1)

    def _coded(self, state: State) -> State:
        signs = (slot != "variance" for slot in self.optimizer.slots)
        return State(
            tuple(
                {n: _code(t, signed) for n, t in m.items()}
                for m, signed in zip(state.moments, signs)
            ),
            state.step,
        )


def decoded(state: Any) -> Any:
    """``state`` with every moment as an ordinary tensor; one that was not coded comes back as it is."""
    if not isinstance(state, State):
        return state
    return State(
        tuple({name: _decode(t) for name, t in m.items()} for m in state.moments),
        state.step,
    )


def _code(tensor: torch.Tensor, signed: bool):
    if tensor.numel() < SMALLEST:
        return tensor
    return Coded(
        *_library().quantize_blockwise(
            tensor.contiguous(),
            code=_levels(signed, tensor.device),
            blocksize=NUMBERS_PER_SCALE,
        )
    )


def _decode(tensor):
    return (
        _library().dequantize_blockwise(tensor.levels, tensor.key)
        if isinstance(tensor, Coded)
        else tensor
    )


@lru_cache
def _levels(signed: bool, device: torch.device) -> torch.Tensor:
    return _library().create_dynamic_map(signed=signed).to(device)


def _library():
    try:
        import bitsandbytes.functional
    except ImportError as error:
        raise ImportError(
            "optimizer: 'adam-8bit' needs bitsandbytes, found none; pip install bitsandbytes"
        ) from error
    return bitsandbytes.functional
