"""Runs: any training, any evaluation, one record."""

from .experiments import baselines
from .log import _read, reproduce
from .presets import PRESETS, check_parameters, get_preset
from .run import METHODS, RULES, Method, Run

__all__ = [
    "METHODS",
    "PRESETS",
    "RULES",
    "Method",
    "Run",
    "_read",
    "baselines",
    "check_parameters",
    "get_preset",
    "reproduce",
]
