"""Optimizers as pure functions, each with its adjoint."""

from .base import Optimizer, State
from .clipped import Clipped
from .eight_bit import Adam8Bit, EightBit, decoded
from .frozen import Frozen
from .nadam import NAdam
from .registry import OPTIMIZERS, fields_of, make_optimizer
from .rules import SGD, Adam, AdamW, Lion, Momentum, RMSprop

__all__ = [
    "OPTIMIZERS",
    "SGD",
    "Adam",
    "Adam8Bit",
    "AdamW",
    "Clipped",
    "EightBit",
    "Frozen",
    "Lion",
    "Momentum",
    "NAdam",
    "Optimizer",
    "RMSprop",
    "State",
    "decoded",
    "fields_of",
    "make_optimizer",
]
