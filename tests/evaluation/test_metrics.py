"""Macro-F1, accuracy, calibration (protocol section 4)."""

import math
import random
from statistics import fmean

import pytest

from maml_en_llm import Example
from maml_en_llm.evaluation import score_predictions
from maml_en_llm.evaluation.metrics import (
    accuracy,
    calibration_error,
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
}


@pytest.mark.parametrize(
    ("confidences", "hits", "error"), CALIBRATION.values(), ids=CALIBRATION
)
def test_calibration_error(confidences, hits, error):
    assert calibration_error(confidences, hits) == pytest.approx(error)


def test_scores_as_probabilities():
    assert probabilities([1.0, 1.0]) == [0.5, 0.5]
    assert probabilities([0.0, 1.0, 2000.0]) == pytest.approx(
        [1 / (1 + math.exp(-1)), 1 / (1 + math.exp(1)), 0.0]
    )


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
