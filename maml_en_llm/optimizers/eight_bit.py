"""Adam's moments in 8 bits between the steps: a quarter of their memory.

Source: Dettmers et al. 2022, and the published recipe. A moment is cut into blocks of
256 numbers. Each is divided by its block's largest and rounded to the nearest of 256
levels, which lie densest near zero; the variance, never negative, has all of its levels
on one side. The coding is `bitsandbytes`'.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import torch

from ..tensors import Tensors, check_named
from .base import Optimizer, State, check_alike, check_state
from .rules import Adam

NUMBERS_PER_SCALE = 256  # numbers that share a scale
SMALLEST = 4096  # numbers of a tensor that is coded; smaller ones stay as they are


class Coded(NamedTuple):
    """A tensor in 8 bits: ``levels`` (uint8), and the key that decodes them."""

    levels: torch.Tensor
    key: Any


@dataclass(frozen=True)
class EightBit:
    """Another optimizer, whose moments are held in 8 bits between its steps.

    They are decoded one parameter at a time. For the outer phase: what is coded has no
    derivative. `decoded` gives an inner phase its starting point.

    Raises:
        ImportError: `bitsandbytes` is not installed.
    """

    optimizer: Optimizer

    def __post_init__(self):
        _library()

    def init(self, params: Tensors) -> State:
        """The wrapped optimizer's state, coded. Raises `ValueError` for float64."""
        check_named(params=params)
        for name, tensor in params.items():
            if tensor.dtype == torch.float64 and tensor.numel() >= SMALLEST:
                raise ValueError(
                    f"optimizer: expected parameters of 32 or 16 bits for moments in "
                    f"8, found float64 ({name}); use 'adam', or dtype 'float32'"
                )
        return self._coded(self.optimizer.init(params))

    def update(
        self,
        grads: Tensors,
        state: State,
        params: Tensors,
        *,
        lr: float | None = None,
        out: Any = None,  # noqa: ARG002  # moments change their form in between
    ) -> tuple[Tensors, State]:
        """One step of the wrapped optimizer; the new state is coded, the old may be."""
        check_named(grads=grads, params=params)
        check_state(state, self.optimizer.slots)
        check_alike(grads, "params", params)
        params = dict(params)
        moments: list[dict] = [dict(m) for m in state.moments]
        for name, g in grads.items():
            plain: Any = tuple({name: _decode(m.get(name))} for m in state.moments)
            moved, one = self.optimizer.update(
                {name: g}, state._replace(moments=plain), {name: params[name]}, lr=lr
            )
            params |= moved
            for found, part in zip(moments, self._coded(one).moments, strict=True):
                found |= part
        return params, state._replace(moments=tuple(moments), step=state.step + 1)

    def _coded(self, state: State) -> State:
        signs = [slot != "variance" for slot in self.optimizer.slots]
        moments: Any = tuple(
            {n: _code(t, signed) for n, t in m.items()}
            for m, signed in zip(state.moments, signs, strict=True)
        )
        return state._replace(moments=moments)


class Adam8Bit(EightBit):
    """`EightBit` of an `Adam` that is given by its fields."""

    wraps: ClassVar = Adam

    def __init__(self, lr: float, **values):
        super().__init__(Adam(lr, **values))


def decoded(state: Any) -> Any:
    """``state`` with ordinary tensors for moments; as it is where it was not coded."""
    if not isinstance(state, State):
        return state
    moments = tuple({n: _decode(t) for n, t in m.items()} for m in state.moments)
    return state._replace(moments=moments)


def _code(tensor: torch.Tensor, signed: bool):
    if tensor.numel() < SMALLEST:
        return tensor
    levels, key = _library().quantize_blockwise(
        tensor.contiguous(),
        code=_levels(signed, tensor.device),
        blocksize=NUMBERS_PER_SCALE,
    )
    return Coded(levels, key)


def _decode(tensor):
    if not isinstance(tensor, Coded):
        return tensor
    return _library().dequantize_blockwise(tensor.levels, tensor.key)


@lru_cache
def _levels(signed: bool, device: torch.device) -> torch.Tensor:
    return _library().create_dynamic_map(signed=signed).to(device)


def _library():
    try:
        import bitsandbytes.functional
    except ImportError as error:
        raise ImportError(
            "optimizer: 'adam-8bit' needs bitsandbytes, found none; pip install "
            "bitsandbytes"
        ) from error
    return bitsandbytes.functional
