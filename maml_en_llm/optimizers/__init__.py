"""Optimisers as pure functions, each with its adjoint."""

from .base import Frozen, Optimizer, State
from .rules import SGD, Adam, AdamW, Lion, Momentum, RMSprop

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Frozen",
    "Lion",
    "Momentum",
    "Optimizer",
    "RMSprop",
    "State",
]
