"""Evaluation on target tasks, before and after adaptation."""

from .adaptation import Adaptation
from .adaptation_curves import adaptation_curve, choose_rate
from .adapted import evaluate_adapted
from .benchmark import evaluate, evaluate_by, metric_name, score_predictions
from .held import (
    Held,
    as_targets,
    family_of,
    few_per_family,
    held_loss,
    held_out,
    held_set,
    hold_back,
    overall,
)
from .metrics import accuracy, calibration_error, macro_f1, predict, probabilities
from .reading_rule import oracle_accuracy, oracle_answer
from .rules import by_rule, majority, oracle, random_guess
from .scoring import score_options, score_pmi, score_prompts

__all__ = [
    "Adaptation",
    "Held",
    "accuracy",
    "adaptation_curve",
    "as_targets",
    "by_rule",
    "calibration_error",
    "choose_rate",
    "evaluate",
    "evaluate_adapted",
    "evaluate_by",
    "family_of",
    "few_per_family",
    "held_loss",
    "held_out",
    "held_set",
    "hold_back",
    "macro_f1",
    "majority",
    "metric_name",
    "oracle",
    "oracle_accuracy",
    "oracle_answer",
    "overall",
    "predict",
    "probabilities",
    "random_guess",
    "score_options",
    "score_pmi",
    "score_predictions",
    "score_prompts",
]
