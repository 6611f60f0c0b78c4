"""Runs: any training, any evaluation, one record."""

from .adapted import Chosen
from .again import compute_again, run_of
from .alive import Cell, judge, judge_cell
from .compare import Difference, compare, inconsistencies
from .experiments import EXPERIMENTS, Experiment, baselines, get_experiment, grid
from .log import RunsFailed, is_current, reproduce
from .pairs import RowKind, changes_of, compared, steps_of, table_of
from .parameters import check_parameters
from .presets import PRESETS, Preset, get_preset, resolve
from .published import made_by, published_rows, record_folder
from .record_files import record_file
from .rows import CONTROL, CONTROLS, METHODS, RULES, Method, row_of
from .run import GRADIENTS_PER_STEP, Run
from .seed_scores import scores_of
from .statistics import Interval, mean_interval, paired_difference
from .words import in_brief, sentence, setting_in_words

__all__ = [
    "CONTROL",
    "CONTROLS",
    "EXPERIMENTS",
    "GRADIENTS_PER_STEP",
    "METHODS",
    "PRESETS",
    "RULES",
    "Cell",
    "Chosen",
    "Difference",
    "Experiment",
    "Interval",
    "Method",
    "Preset",
    "RowKind",
    "Run",
    "RunsFailed",
    "baselines",
    "compared",
    "compute_again",
    "changes_of",
    "check_parameters",
    "compare",
    "get_experiment",
    "get_preset",
    "grid",
    "in_brief",
    "inconsistencies",
    "is_current",
    "judge",
    "judge_cell",
    "made_by",
    "mean_interval",
    "paired_difference",
    "published_rows",
    "record_file",
    "record_folder",
    "reproduce",
    "resolve",
    "row_of",
    "run_of",
    "scores_of",
    "sentence",
    "setting_in_words",
    "steps_of",
    "table_of",
]
