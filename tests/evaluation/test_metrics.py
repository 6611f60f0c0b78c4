"""Macro-F1, accuracy, calibration (protocol section 4)."""

import math
import random
from statistics import fmean

import numpy as np
import pytest
import torch

from maml_en_llm import Example
from maml_en_llm.evaluation import (
    family_of,
    oracle_accuracy,
    oracle_answer,
    overall,
    score_predictions,
)
from maml_en_llm.evaluation.metrics import (
    accuracy,
    calibration_error,
    joint,
    macro_f1,
    predict,
    probabilities,
)

# --- macro-F1 and accuracy ---

MACRO_F1 = {  # predictions, gold, value
    "all right": ("ab", "ab", 1.0),
    "all wrong": ("ba", "ab", 0.0),
    "a class never predicted counts 0": ("aaaa", "aabb", (2 * 2 / (4 + 2) + 0) / 2),
    "a class only predicted does not enter": (
        "acbb",
        "aabb",
        (2 * 1 / (1 + 2) + 1) / 2,
    ),
    "classes weigh the same however rare": ("aaaaab", "aaaaaa", 2 * 5 / (5 + 6)),
    "three classes": ("abcabc", "abbbcc", (2 * 1 / 3 + 2 * 1 / 5 + 2 * 1 / 4) / 3),
}


@pytest.mark.parametrize(
    ("predictions", "gold", "value"), MACRO_F1.values(), ids=MACRO_F1
)
def test_macro_f1(predictions, gold, value):
    assert macro_f1(predictions, gold) == pytest.approx(value, abs=1e-15)


def test_macro_f1_by_precision_and_recall():
    rng = random.Random(0)
    predictions, gold = rng.choices("abcd", k=200), rng.choices("abc", k=200)
    each = []
    for label in "abc":
        hits = sum(
            p == label and g == label for p, g in zip(predictions, gold, strict=True)
        )
        precision, recall = hits / predictions.count(label), hits / gold.count(label)
        each.append(2 * precision * recall / (precision + recall))
    assert macro_f1(predictions, gold) == pytest.approx(fmean(each), abs=1e-12)


def test_accuracy():
    assert accuracy("abca", "abcc") == 0.75


@pytest.mark.parametrize("metric", [macro_f1, accuracy])
@pytest.mark.parametrize(("predictions", "gold"), [("ab", "a"), ("", "")])
def test_one_prediction_for_each_answer(metric, predictions, gold):
    message = (
        "predictions: expected one for each gold answer, "
        f"found {len(predictions)} for {len(gold)}"
    )
    with pytest.raises(ValueError, match=message):
        metric(predictions, gold)


def test_ties_go_to_the_first_option():
    assert [
        predict(row) for row in ([1.0, 1.0, 2.0], [2.0, 1.0, 1.0], [3.0, 2.0, 1.0])
    ] == [0, 1, 2]


def test_points_by_kind():
    queries = [Example("x", answer, ("a ", "b")) for answer in ("a ", "a ", "a ", "b")]
    scores = [[0.0, 1.0]] * 4
    assert score_predictions("multi-choice", queries, scores) == 75.0
    assert score_predictions("classification", queries, scores) == pytest.approx(
        100 * (6 / 7 + 0) / 2
    )


CALIBRATION = {  # confidences, hits, error
    "sure and right": ([1.0, 1.0], [True, True], 0.0),
    "sure and wrong": ([1.0, 1.0], [False, False], 1.0),
    "as sure as right": ([0.75] * 4, [True, True, True, False], 0.0),
    "two bins": (
        [0.95, 0.95, 0.55, 0.55],
        [True, True, False, True],
        (2 * 0.05 + 2 * 0.05) / 4,
    ),
    "errors of a bin cancel, of two bins do not": (
        [0.62, 0.68, 0.41],
        [True, False, True],
        (0.3 + 0.59) / 3,
    ),
    # bins are closed: what rounding puts beyond the last is in the last
    "one more than 1": ([1.0000005, 0.95], [False, True], 0.9500005 / 2),
    "0 is of the first": ([0.0, 0.1], [True, False], 0.9 / 2),
}


@pytest.mark.parametrize(
    ("confidences", "hits", "error"), CALIBRATION.values(), ids=CALIBRATION
)
def test_calibration_error(confidences, hits, error):
    assert calibration_error(confidences, hits) == pytest.approx(error)


def test_the_upper_end_of_a_part_is_in_it():
    """Also where end · bins is a little more than the part's number, as 0.07 · 100."""
    for bins in (10, 100, 1000):
        for part in range(1, bins + 1):
            end = part / bins
            # in one part with what lies in the middle of it: |1/2 − their mean|
            found = calibration_error([end, end - 0.5 / bins], [True, False], bins=bins)
            assert found == pytest.approx(abs(0.5 - (end - 0.25 / bins)))


@pytest.mark.parametrize("metric", [accuracy, macro_f1])
@pytest.mark.parametrize("other", [[0, 1], [False, True], [b"0", b"1"]], ids=str)
def test_answers_are_of_one_kind_with_the_gold_ones(metric, other):
    for pair in ((other, ["0", "1"]), (["0", "1"], other)):
        with pytest.raises(ValueError, match="predictions: expected answers of one k"):
            metric(*pair)
    # some text among others may be no answer at all
    assert metric(["0", 1], [0, 1]) == 0.5


def test_the_score_of_several_options_together():
    assert joint([0.3]) == 0.3  # to the bit
    assert joint([1.0, 1.0]) == pytest.approx(1 - math.log(2), rel=1e-15)
    assert joint([2.0, math.inf]) == 2.0
    assert joint([math.inf, math.inf]) == math.inf
    shares = probabilities([0.5, 2.0, 900.0])
    whole = joint([0.5, 2.0, 900.0])
    assert joint([0.5, 900.0]) - whole == pytest.approx(-math.log(shares[0]))


def test_scores_as_probabilities():
    assert probabilities([1.0, 1.0]) == [0.5, 0.5]
    assert probabilities([0.0, 1.0, 2000.0]) == pytest.approx(
        [1 / (1 + math.exp(-1)), 1 / (1 + math.exp(1)), 0.0]
    )


@pytest.mark.parametrize("array", [np.array, torch.tensor, iter])
def test_arrays_are_taken_by_value(array):
    predictions, gold = [0, 1, 1, 0], [0, 1, 0, 0]
    assert accuracy(array(predictions), array(gold)) == 0.75
    assert macro_f1(array(predictions), array(gold)) == macro_f1(predictions, gold)
    confidences, hits = [0.5, 0.75], [True, False]
    found = calibration_error(array(confidences), array(hits))
    assert found == calibration_error(confidences, hits)
    assert calibration_error(np.float32([1.0000001]), [True]) < 1e-6


class Missing:
    """As pandas.NA: equal to nothing, and unequal to nothing."""

    __hash__ = object.__hash__

    def __eq__(self, other):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")


NO_ANSWER = Missing()
QUERY = Example("x", "a", ("a", "b"))
REFUSED = {
    "gold: none": (lambda: accuracy(["a"], None), "predictions: .*1 for None"),
    "gold: a table": (lambda: macro_f1([0], np.zeros((1, 2))), "predictions: expected"),
    "gold: not a number": (
        lambda: macro_f1(["a", "b"], ["a", math.nan]),
        r"gold\[1\]: expected an answer, found nan; leave out",
    ),
    "gold: missing in a table": (
        lambda: accuracy(["a"], [NO_ANSWER]),
        r"gold\[0\]: expected an answer",
    ),
    "predictions: not a number": (
        lambda: accuracy([math.nan], ["a"]),
        r"predictions\[0\]: expected an answer, found nan",
    ),
    "scores: by number": (lambda: predict({3.0: "yes"}), "scores: expected numbers"),
    "scores: a set": (lambda: predict({3.0}), "scores: expected numbers"),
    "scores: infinite": (lambda: probabilities([math.inf] * 2), "smallest finite"),
    "scores: not a number": (
        lambda: probabilities([0.0, math.nan]),
        "none of them nan",
    ),
    "scores: none": (lambda: probabilities([]), "scores: expected numbers"),
    "percent": (lambda: calibration_error([87.0], [True]), "confidences: .*at most 1"),
    "negative": (
        lambda: calibration_error([-0.1], [True]),
        "confidences: .*at least 0",
    ),
    "hits": (lambda: calibration_error([0.5], ["yes"]), "hits: .*found 'yes'"),
    "no hit": (lambda: calibration_error([0.5], []), "confidences: .*found 1 for 0"),
    "bins": (lambda: calibration_error([0.5], [True], bins=0), "bins: .*at least 1"),
    "no option": (
        lambda: score_predictions("multi-choice", [QUERY, BEYOND], [[0.0, 1.0]] * 2),
        r"queries\[1\]: expected an answer that is one of the options.*found 'c'",
    ),
    "a generator": (
        lambda: score_predictions("multi-choice", (q for q in [QUERY]), [[0.0, 1.0]]),
        "queries: expected a list of examples",
    ),
    "no options": (lambda: oracle_answer([FREE], FREE), "query: expected options"),
    "no queries": (lambda: oracle_accuracy([QUERY], []), "queries: expected at least"),
    "no family": (lambda: overall({}), "held: expected at least one family, found no"),
    "no name": (lambda: family_of(3), "task: expected a task's name, found 3"),
}
BEYOND, FREE = Example("x", "c", ("a", "b")), Example("a", "b")


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_score_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message) as refused:
        call()
    assert len(str(refused.value)) < 400


# --- a public run of raw GPT-2 Large ---


@pytest.mark.parametrize("seed", ["100", "13", "21", "42", "87"])
@pytest.mark.parametrize("name", ["glue-rte", "glue-wnli"])
def test_golden_macro_f1(golden, name, seed):
    task = golden["tasks"][name]
    scores, stored = task["seeds"][seed]["scores"], task["seeds"][seed]["macro_f1"]
    assert macro_f1([predict(row) for row in scores], task["gold"]) == pytest.approx(
        stored, abs=1e-6
    )
    queries = [
        Example("x", task["options"][n], tuple(task["options"])) for n in task["gold"]
    ]
    assert score_predictions("classification", queries, scores) == pytest.approx(
        100 * stored, abs=1e-4
    )
