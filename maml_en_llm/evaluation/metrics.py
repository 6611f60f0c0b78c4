"""Metrics of the protocol (section 4), and calibration."""

import math
from collections.abc import Mapping, Sequence

from ..errors import check_integer, check_number, shown
from ..tasks import Example
from ..tasks.labels import label_of
from .arguments import checked_examples

_ROUNDING = 1e-6  # by which a confidence in float32 may be more than 1


def check_queries(queries: Sequence[Example]) -> None:
    """Raise `ValueError` for what is no example, or one whose answer is no option."""
    if not isinstance(queries, Sequence):
        raise ValueError(
            f"queries: expected a list of examples, found {shown(queries)}"
        )
    for n, query in enumerate(checked_examples("queries", queries)):
        options = map(label_of, query.options or ())
        if not isinstance(query.output, str) or label_of(query.output) not in options:
            raise ValueError(
                f"queries[{n}]: expected an answer that is one of the options, "
                f"{shown(query.options)}, found {shown(query.output)}"
            )


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
    return smallest(scores)


def accuracy(predictions: Sequence, gold: Sequence) -> float:
    """Share of predictions equal to the gold answers, in [0, 1].

    Raises `ValueError` unless there is one prediction for each, none of them missing.
    """
    predictions, gold = _answers(predictions, gold)
    hits = sum(p == g for p, g in zip(predictions, gold, strict=True))
    return hits / len(gold)


def macro_f1(predictions: Sequence, gold: Sequence) -> float:
    """Unweighted mean over the classes in ``gold`` of F1, in [0, 1].

        F1 = 2 TP / (2 TP + FP + FN)

    A class that is never predicted counts 0; a class that is only predicted does not
    enter. Raises `ValueError` as `accuracy` does.
    """
    predictions, gold = _answers(predictions, gold)
    classes = dict.fromkeys(gold)  # in their order: it decides a sum of floats
    return sum(_f1(predictions, gold, label) for label in classes) / len(classes)


def probabilities(scores: Sequence[float]) -> list[float]:
    """softmax(−scores): scores in nats, read as a distribution over the options.

    Raises `ValueError` as `predict` does.
    """
    _check_row("scores", scores)
    return softmax(scores)


def smallest(row: Sequence[float]) -> int:
    """`predict` of a row that was looked at, as those of `checked_table`."""
    return min(range(len(row)), key=lambda n: row[n])


def softmax(row: Sequence[float]) -> list[float]:
    """`probabilities` of a row that was looked at."""
    best = min(row)
    weights = [math.exp(best - score) for score in row]
    total = sum(weights)
    return [weight / total for weight in weights]


def joint(scores: Sequence[float]) -> float:
    """−log Σ exp(−score): the score of several options together, of one its own."""
    best = min(scores)
    if len(scores) == 1 or best == math.inf:
        return best
    return best - math.log(sum(math.exp(best - score) for score in scores))


def calibration_error(
    confidences: Sequence[float], hits: Sequence[bool], bins: int = 10
) -> float:
    """Expected calibration error (Guo et al. 2017), in [0, 1].

        ECE = Σ_b |b|/N · |share of hits in b − mean confidence in b|

    over ``bins`` equal parts b of [0, 1], of which the first holds 0 and each its upper
    end. Raises `ValueError` for a confidence beyond [0, 1], and for a hit that is not
    True or False.
    """
    bins = check_integer("bins", bins, 1)
    confidences, hits = _checked(confidences, hits, "confidences", "hit")
    for confidence, hit in zip(confidences, hits, strict=True):
        check_number("confidences", confidence, most=1 + _ROUNDING)
        if hit not in (0, 1):
            raise ValueError(f"hits: expected True or False, found {shown(hit)}")
    parts: dict[int, list] = {}
    for confidence, hit in zip(confidences, hits, strict=True):
        # rounded first: 0.07 · 100 is a little more than 7 in binary
        part = min(max(math.ceil(round(confidence * bins, 9)), 1), bins)
        parts.setdefault(part, []).append(hit - confidence)
    return sum(abs(sum(part)) for part in parts.values()) / len(hits)


def _check_row(where: str, row, count: int | None = None) -> None:
    try:
        # text is no number, though `float` may read one in it
        values = [math.nan if isinstance(x, (str, bytes)) else float(x) for x in row]
    except (TypeError, ValueError, OverflowError):
        values = []
    if isinstance(row, Mapping) or not hasattr(row, "__getitem__"):
        values = []  # of no order
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


def _answers(predictions, gold):
    """Both as `_checked` gives them; a missing one, as of a table, is none."""
    found, wanted = _checked(predictions, gold)
    for name, values in (("predictions", found), ("gold", wanted)):
        for n, value in enumerate(values):
            if _is_missing(value):
                raise ValueError(
                    f"{name}[{n}]: expected an answer, found {shown(value)}; leave out "
                    "what has none"
                )
    texts = [sum(isinstance(x, str) for x in side) for side in (found, wanted)]
    if sorted(texts) == [0, len(found)]:  # 0 is not equal to "0"
        raise ValueError(
            f"predictions: expected answers of one kind with the gold ones, found "
            f"{shown(found[0])} beside {shown(wanted[0])}; make all of them text"
        )
    return found, wanted


def _is_missing(value) -> bool:
    """Whether ``value`` is NaN or the like, which is not equal to itself."""
    try:
        return not value == value  # noqa: SIM201 (pandas.NA has no truth)
    except (TypeError, ValueError):
        return True


def _checked(predictions, gold, name="predictions", what="gold answer"):
    """Both as lists, of as many; arrays' values as Python has them."""
    found, wanted = _listed(predictions), _listed(gold)
    if found is None or wanted is None or len(found) != len(wanted) or not wanted:
        raise ValueError(
            f"{name}: expected one for each {what}, found {_many(predictions, found)} "
            f"for {_many(gold, wanted)}"
        )
    return found, wanted


def _listed(values) -> list | None:
    """None for what is no row of values that can be compared."""
    try:
        found = values.tolist() if hasattr(values, "tolist") else list(values)
        hash(tuple(found))
    except TypeError:
        return None
    return found


def _many(values, found: list | None):
    return shown(values) if found is None else len(found)
