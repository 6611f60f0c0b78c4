"""Figures of the book: axes and numbers come in, the axes come out."""

from .gradients import (
    against_peers,
    cold_and_warm,
    descent_paths,
    first_against_second_order,
    saved_memory,
    together,
)
from .prompts import prompt_cut, prompt_height, prompt_tokens
from .scores import (
    against_demonstrations,
    agreement,
    all_settings,
    bars_with_range,
    forest,
    label_changes,
)
from .style import COLORS, PALETTE, use_style
from .training import emergence, meta_training, running_mean
from .verdicts import alive_cells, claims_at_a_glance, seeds_and_targets

__all__ = [
    "COLORS",
    "PALETTE",
    "against_demonstrations",
    "against_peers",
    "agreement",
    "alive_cells",
    "bars_with_range",
    "all_settings",
    "claims_at_a_glance",
    "cold_and_warm",
    "descent_paths",
    "emergence",
    "first_against_second_order",
    "forest",
    "label_changes",
    "meta_training",
    "prompt_cut",
    "prompt_height",
    "prompt_tokens",
    "running_mean",
    "seeds_and_targets",
    "saved_memory",
    "together",
    "use_style",
]
