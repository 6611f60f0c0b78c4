"""Evaluation on target tasks, before and after adaptation."""

from .adaptation import Adaptation
from .adaptation_curves import adaptation_curve, choose_rate
from .benchmark import evaluate, evaluate_by, metric_name, score_predictions
from .held import Held, as_targets, family_of, held_out, hold_back
from .metrics import predict
from .reading_rule import oracle_accuracy, oracle_answer
from .rules import by_rule, majority, oracle, random_guess
from .scoring import score_options, score_pmi

__all__ = [
    "Adaptation",
    "Held",
    "adaptation_curve",
    "as_targets",
    "by_rule",
    "choose_rate",
    "evaluate",
    "evaluate_by",
    "family_of",
    "held_out",
    "hold_back",
    "majority",
    "metric_name",
    "oracle",
    "oracle_accuracy",
    "oracle_answer",
    "predict",
    "random_guess",
    "score_options",
    "score_pmi",
    "score_predictions",
]
