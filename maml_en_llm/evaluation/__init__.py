"""Evaluation on target tasks, before and after adaptation."""

from .adaptation import Adaptation
from .adaptation_curves import adaptation_curve, choose_rate
from .benchmark import evaluate, evaluate_by
from .scoring import score_options, score_pmi

__all__ = [
    "Adaptation",
    "adaptation_curve",
    "choose_rate",
    "evaluate",
    "evaluate_by",
    "score_options",
    "score_pmi",
]
