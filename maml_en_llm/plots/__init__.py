"""Figures of the book: numbers come in, axes come out."""

from .gradients import (
    against_peers,
    cold_and_warm,
    descent_paths,
    first_against_second_order,
    saved_memory,
    together,
)
from .prompts import prompt_cut, prompt_tokens
from .scores import agreement, baselines
from .style import COLORS, PALETTE, use_style
from .training import (
    against_demonstrations,
    emergence,
    meta_training,
    running_mean,
)

__all__ = [
    "COLORS",
    "PALETTE",
    "against_demonstrations",
    "against_peers",
    "agreement",
    "baselines",
    "cold_and_warm",
    "descent_paths",
    "emergence",
    "first_against_second_order",
    "meta_training",
    "prompt_cut",
    "prompt_tokens",
    "running_mean",
    "saved_memory",
    "together",
    "use_style",
]
