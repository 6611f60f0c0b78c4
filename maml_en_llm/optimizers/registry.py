"""Optimizers by name, as a configuration writes them."""

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType

from ..errors import check_choice
from .eight_bit import Adam8Bit
from .nadam import NAdam
from .rules import SGD, Adam, AdamW, Lion, Momentum, RMSprop

OPTIMIZERS: Mapping[str, type] = MappingProxyType(
    {
        "sgd": SGD,
        "momentum": Momentum,
        "adam": Adam,
        "adamw": AdamW,
        "rmsprop": RMSprop,
        "lion": Lion,
        "nadam": NAdam,
        "adam-8bit": Adam8Bit,
    }
)


def fields_of(name: str) -> tuple[str, ...]:
    """What the optimizer ``name`` can be given, ``lr`` first.

    Raises:
        ValueError: an unknown name.
    """
    check_choice("optimizer", name, OPTIMIZERS)
    kind = OPTIMIZERS[name]
    return tuple(field.name for field in fields(getattr(kind, "wraps", kind)))


def make_optimizer(name: str, lr: float, **values):
    """The optimizer ``name`` at rate ``lr``; ``values`` for others of its fields.

    Raises:
        ValueError: an unknown name, a field that it does not have, or a bad value.
        ImportError: the library that it needs is missing ("adam-8bit").
    """
    known = fields_of(name)
    for field in values:
        check_choice(f"field of {name}", field, known)
    return OPTIMIZERS[name](lr=lr, **values)
