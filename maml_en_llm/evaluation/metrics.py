"""Metrics of the protocol (section 4): predictions from scores, macro-F1 and accuracy; and calibration."""

import math
from collections.abc import Sequence


def predict(scores: Sequence[float]) -> int:
    """Index of the smallest score; the first of equals."""
    return min(range(len(scores)), key=lambda n: scores[n])


def accuracy(predictions: Sequence, gold: Sequence) -> float:
    """Share of predictions equal to the gold answers, in [0, 1]."""
    _check(predictions, gold)
    return sum(p == g for p, g in zip(predictions, gold)) / len(gold)


def macro_f1(predictions: Sequence, gold: Sequence) -> float:
    """Unweighted mean over the classes present in ``gold`` of F1 = 2·TP / (2·TP + FP + FN), in [0, 1].

    A class that is never predicted counts 0; a class that is only predicted does not enter.
    """
    _check(predictions, gold)
    return sum(_f1(predictions, gold, label) for label in set(gold)) / len(set(gold))


def probabilities(scores: Sequence[float]) -> list[float]:
    """softmax(−scores): what the options' scores, in nats, say when read as a distribution over the options."""
    best = min(scores)
    weights = [math.exp(best - score) for score in scores]
    return [weight / sum(weights) for weight in weights]


def calibration_error(
    confidences: Sequence[float], hits: Sequence[bool], bins: int = 10
) -> float:
    """Expected calibration error (Guo et al. 2017), in [0, 1].

    ECE = Σ_b |b|/N · |share of hits in b − mean confidence in b|      over ``bins`` equal parts b of (0, 1]
    """
    _check(confidences, hits)
    parts: dict[int, list] = {}
    for confidence, hit in zip(confidences, hits):
        parts.setdefault(math.ceil(confidence * bins), []).append(hit - confidence)
    return sum(abs(sum(part)) for part in parts.values()) / len(hits)


def _f1(predictions: Sequence, gold: Sequence, label) -> float:
    hits = sum(p == g == label for p, g in zip(predictions, gold))
    return (
        2
        * hits
        / (sum(p == label for p in predictions) + sum(g == label for g in gold))
    )


def _check(predictions: Sequence, gold: Sequence) -> None:
    if len(predictions) != len(gold) or not gold:
        raise ValueError(
            f"predictions: expected one for each gold answer, found {len(predictions)} for {len(gold)}"
        )
