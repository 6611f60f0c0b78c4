"""Runs: any training, any evaluation, one record."""

from .compare import Difference, compare, inconsistencies
from .experiments import EXPERIMENTS, Experiment, baselines, get_experiment, grid
from .log import RunsFailed, _read, is_current, reproduce
from .presets import PRESETS, Preset, check_parameters, get_preset, resolve
from .rows import METHODS, RULES, Method
from .run import GRADIENTS_PER_STEP, Run
from .statistics import Interval, mean_interval, paired_difference, scores_of

__all__ = [
    "EXPERIMENTS",
    "GRADIENTS_PER_STEP",
    "METHODS",
    "PRESETS",
    "RULES",
    "Difference",
    "Experiment",
    "Interval",
    "Method",
    "Preset",
    "Run",
    "RunsFailed",
    "_read",
    "baselines",
    "check_parameters",
    "compare",
    "get_experiment",
    "get_preset",
    "grid",
    "inconsistencies",
    "is_current",
    "mean_interval",
    "paired_difference",
    "reproduce",
    "resolve",
    "scores_of",
]
