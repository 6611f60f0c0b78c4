"""Figures of the book: axes and numbers come in, the axes come out."""

from .bowls import two_bowls
from .draws import cold_and_warm, first_order_misses
from .gradients import (
    against_peers,
    descent_paths,
    saved_memory,
    together,
)
from .groups import curves_by_group, dots_by_group
from .inner_steps import change_by_step, inner_step_changes
from .moments import moments_flow
from .prompts import prompt_cut, prompt_height, prompt_tokens
from .real_model import held_curves, memory_limits
from .rows import dots_in_rows
from .scores import (
    against_demonstrations,
    agreement,
    forest,
    label_changes,
)
from .style import COLORS, PALETTE, use_style
from .training import emergence, meta_training, running_mean
from .variance import variance_by_tasks
from .verdicts import alive_cells, claims_at_a_glance, seeds_and_targets, seeds_needed

__all__ = [
    "COLORS",
    "PALETTE",
    "against_demonstrations",
    "against_peers",
    "agreement",
    "alive_cells",
    "change_by_step",
    "claims_at_a_glance",
    "cold_and_warm",
    "curves_by_group",
    "descent_paths",
    "dots_in_rows",
    "dots_by_group",
    "emergence",
    "first_order_misses",
    "forest",
    "held_curves",
    "inner_step_changes",
    "label_changes",
    "memory_limits",
    "meta_training",
    "moments_flow",
    "prompt_cut",
    "prompt_height",
    "prompt_tokens",
    "running_mean",
    "seeds_and_targets",
    "seeds_needed",
    "saved_memory",
    "together",
    "two_bowls",
    "use_style",
    "variance_by_tasks",
]
