"""Metrics of the protocol (section 4), and calibration."""

import math
from collections.abc import Sequence

from ..errors import shown
from ..tasks import Example


def checked_table(queries: Sequence[Example], scores) -> list:
    """``scores`` as a list of rows, as `predict` takes them, of one number per option.

    Raises `ValueError` unless there is one row per query.
    """
    try:
        rows = list(scores)
    except TypeError:
        rows = None
    if rows is None or len(rows) != len(queries):
        raise ValueError(
            f"scores: expected one row per query, {len(queries)} of them, found "
            f"{shown(scores) if rows is None else len(rows)}"
        )
    for n, (query, row) in enumerate(zip(queries, rows, strict=True)):
        _check_row(f"scores[{n}]", row, len(query.options))
    return rows


def predict(scores: Sequence[float]) -> int:
    """Index of the smallest score; the first of equals.

    Raises `ValueError` for what are no numbers, for not-a-number and for a smallest
    score that is not finite. An option may be ruled out by an infinite score.
    """
    _check_row("scores", scores)
    return min(range(len(scores)), key=lambda n: scores[n])


def accuracy(predictions: Sequence, gold: Sequence) -> float:
    """Share of predictions equal to the gold answers, in [0, 1]."""
    _check(predictions, gold)
    hits = sum(p == g for p, g in zip(predictions, gold, strict=True))
    return hits / len(gold)


def macro_f1(predictions: Sequence, gold: Sequence) -> float:
    """Unweighted mean over the classes in ``gold`` of F1, in [0, 1].

        F1 = 2 TP / (2 TP + FP + FN)

    A class that is never predicted counts 0; a class that is only predicted does not
    enter.
    """
    _check(predictions, gold)
    classes = dict.fromkeys(gold)  # in one order, as a sum of floats is of its order
    return sum(_f1(predictions, gold, label) for label in classes) / len(classes)


def probabilities(scores: Sequence[float]) -> list[float]:
    """softmax(−scores): scores in nats, read as a distribution over the options."""
    best = min(scores)
    weights = [math.exp(best - score) for score in scores]
    total = sum(weights)
    return [weight / total for weight in weights]


def calibration_error(
    confidences: Sequence[float], hits: Sequence[bool], bins: int = 10
) -> float:
    """Expected calibration error (Guo et al. 2017), in [0, 1].

        ECE = Σ_b |b|/N · |share of hits in b − mean confidence in b|

    over ``bins`` equal parts b of (0, 1].
    """
    _check(confidences, hits)
    parts: dict[int, list] = {}
    for confidence, hit in zip(confidences, hits, strict=True):
        parts.setdefault(math.ceil(confidence * bins), []).append(hit - confidence)
    return sum(abs(sum(part)) for part in parts.values()) / len(hits)


def _check_row(where: str, row, count: int | None = None) -> None:
    try:
        # text is no number, though `float` may read one in it
        values = [math.nan if isinstance(x, (str, bytes)) else float(x) for x in row]
    except (TypeError, ValueError, OverflowError):
        values = []
    numbers = values and not any(map(math.isnan, values)) and math.isfinite(min(values))
    if not numbers or (count is not None and len(values) != count):
        many = "" if count is None else f"{count} of them, one per option, "
        raise ValueError(
            f"{where}: expected numbers, {many}none of them nan and the smallest "
            f"finite, found {shown(row)}"
        )


def _f1(predictions: Sequence, gold: Sequence, label) -> float:
    hits = sum(p == g == label for p, g in zip(predictions, gold, strict=True))
    predicted = sum(p == label for p in predictions)
    present = sum(g == label for g in gold)
    return 2 * hits / (predicted + present)


def _check(predictions: Sequence, gold: Sequence) -> None:
    if len(predictions) != len(gold) or not gold:
        raise ValueError(
            f"predictions: expected one for each gold answer, found "
            f"{len(predictions)} for {len(gold)}"
        )
