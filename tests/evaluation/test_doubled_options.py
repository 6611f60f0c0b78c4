"""Questions with one option twice: its probabilities are those of one answer."""

import math
import random

import pytest

from maml_en_llm import Example, Task, evaluate_by
from maml_en_llm.evaluation.held import _nll
from maml_en_llm.evaluation.metrics import calibration_error
from maml_en_llm.tasks import Benchmark

TWICE = Example("Which is it?", "a", ("a", "b", "a "))  # blanks at ends do not count
WRONG_TWICE = Example("Which is it?", "a", ("b", "a", "b"))
ONCE = Example("Which is it?", "a", ("c", "a", "b"))


def ece(query: Example, row: list[float]) -> float:
    """In points, of 20 such questions; their score is that of the smallest."""
    task = Task("t", "multi-choice", test=(query,) * 20)
    found = evaluate_by(lambda *_: [row] * 20, Benchmark((), (task,)), seeds=(100,))
    return found["ece"]


def test_a_certain_right_answer_has_no_loss_and_no_error():
    sure = [0.0, 50.0, 0.0]
    assert _nll([TWICE], [sure]) == pytest.approx(0, abs=1e-15)
    assert ece(TWICE, sure) == pytest.approx(0, abs=1e-12)


def test_probabilities_are_summed_by_label():
    row = [math.log(2), math.log(5), math.log(4)]  # shares 10, 4 and 5 of 19
    assert _nll([TWICE], [row]) == pytest.approx(-math.log(15 / 19), rel=1e-14)
    assert ece(TWICE, row) == pytest.approx(100 * (1 - 15 / 19), rel=1e-12)
    row = [math.log(5), math.log(2), math.log(4)]  # what is answered has 10
    assert _nll([WRONG_TWICE], [row]) == pytest.approx(-math.log(10 / 19), rel=1e-14)
    assert ece(WRONG_TWICE, row) == pytest.approx(100 * (1 - 10 / 19), rel=1e-12)


def test_an_answer_that_is_ruled_out_is_not_made_likely():
    assert _nll([TWICE], [[math.inf, 1.0, math.inf]]) == math.inf


def test_without_doubles_the_numbers_are_those_of_before_to_the_bit():
    rng = random.Random(0)
    for _ in range(200):
        row = [rng.uniform(0, 8) for _ in range(3)]
        best = min(row)
        weights = [math.exp(best - score) for score in row]
        assert _nll([ONCE], [row]) == row[1] + (math.log(sum(weights)) - best)
        sure = max(weight / sum(weights) for weight in weights)
        hit = row[1] == best
        assert ece(ONCE, row) == 100 * calibration_error([sure] * 20, [hit] * 20)
