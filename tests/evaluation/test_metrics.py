"""Macro-F1, accuracy, and the totals of an evaluation (protocol section 4)."""

import math
import random
import sys
from collections import Counter
from dataclasses import replace
from statistics import fmean

import pytest
from helpers import CharTokenizer, small_model, write_benchmark

from maml_en_llm import (
    DataError,
    Example,
    evaluate,
    evaluate_by,
    load_benchmark,
    score_options,
)
from maml_en_llm.evaluation.benchmark import score_predictions
from maml_en_llm.evaluation.metrics import (
    accuracy,
    calibration_error,
    macro_f1,
    predict,
    probabilities,
)
from maml_en_llm.evaluation.rules import by_rule, majority, random_guess

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
        hits = sum(p == label and g == label for p, g in zip(predictions, gold))
        precision, recall = hits / predictions.count(label), hits / gold.count(label)
        each.append(2 * precision * recall / (precision + recall))
    assert macro_f1(predictions, gold) == pytest.approx(fmean(each), abs=1e-12)


def test_accuracy():
    assert accuracy("abca", "abcc") == 0.75


@pytest.mark.parametrize("metric", [macro_f1, accuracy])
@pytest.mark.parametrize(("predictions", "gold"), [("ab", "a"), ("", "")])
def test_one_prediction_for_each_answer(metric, predictions, gold):
    with pytest.raises(
        ValueError,
        match=f"predictions: expected one for each gold answer, found {len(predictions)} for {len(gold)}",
    ):
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


# --- evaluate ---


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    folder = write_benchmark(
        tmp_path_factory.mktemp("tasks"),
        test=("c", "d", "e"),
        unseen=("d", "e"),
        kinds={"d": "multi-choice"},
        n_test=9,
    )
    return load_benchmark(folder, "mini")


@pytest.fixture(scope="module")
def record(benchmark):
    return evaluate(small_model(), CharTokenizer(), benchmark, k=3, seeds=(100, 13, 21))


def test_scores_of_every_task_and_seed(record, benchmark):
    assert {
        name: (task["metric"], task["unseen"]) for name, task in record["tasks"].items()
    } == {"c": ("macro-F1", False), "d": ("accuracy", True), "e": ("macro-F1", True)}
    for task in benchmark.test:
        for seed in (100, 13, 21):
            scores = score_options(
                small_model(),
                CharTokenizer(),
                task.demonstrations[seed][:3],
                task.test,
                share_prefix=False,
            )
            answers = [
                query.options[row.index(min(row))]
                for query, row in zip(task.test, scores)
            ]
            metric = accuracy if task.kind == "multi-choice" else macro_f1
            assert record["tasks"][task.name]["scores"][seed] == pytest.approx(
                100 * metric(answers, [q.output for q in task.test])
            )


def test_totals_are_means_of_means_and_of_the_worst(benchmark, monkeypatch):
    known = {
        "c": {100: 10.0, 13: 40.0},
        "d": {100: 50.0, 13: 30.0},
        "e": {100: 70.0, 13: 90.0},
    }
    # by name: the package's attribute ``evaluate`` is the function
    monkeypatch.setattr(
        sys.modules["maml_en_llm.evaluation.benchmark"],
        "score_predictions",
        lambda kind, queries, table: table[0][0],
    )
    found = evaluate_by(
        lambda task, seed, queries: (
            [[known[task.name][seed]] + [99.0] * 9] * len(queries)
        ),
        benchmark,
        seeds=(100, 13),
    )
    assert {
        name: (task["mean"], task["worst"]) for name, task in found["tasks"].items()
    } == {"c": (25.0, 10.0), "d": (40.0, 30.0), "e": (80.0, 70.0)}
    assert (found["mean"], found["worst"]) == pytest.approx((145 / 3, 110 / 3))
    assert (found["unseen_mean"], found["unseen_worst"]) == (60.0, 50.0)


def test_calibration_is_that_of_the_options_scores(record, benchmark):
    task = benchmark.test[0]
    errors = []
    for seed in (100, 13, 21):
        scores = score_options(
            small_model(), CharTokenizer(), task.few_shot(seed, 3), task.test
        )
        hits = [
            query.options[predict(row)] == query.output
            for query, row in zip(task.test, scores)
        ]
        errors.append(
            100 * calibration_error([max(probabilities(row)) for row in scores], hits)
        )
    assert record["tasks"][task.name]["ece"] == pytest.approx(fmean(errors))
    assert record["ece"] == pytest.approx(
        fmean(row["ece"] for row in record["tasks"].values())
    )


def test_rules_are_scored_like_models(benchmark):
    perfect = evaluate_by(by_rule(lambda shown, query: query.output), benchmark)
    assert (perfect["mean"], perfect["worst"], perfect["unseen_mean"]) == (
        100,
        100,
        100,
    )
    common = majority(benchmark)
    for task in benchmark.test:
        for seed, score in common["tasks"][task.name]["scores"].items():
            counts = Counter(example.output for example in task.demonstrations[seed])
            named = [max(query.options, key=counts.__getitem__) for query in task.test]
            metric = accuracy if task.kind == "multi-choice" else macro_f1
            assert score == pytest.approx(
                100 * metric(named, [q.output for q in task.test])
            )


def test_a_random_guess_is_right_as_often_as_there_are_options(benchmark):
    found = random_guess(benchmark, draws=400)
    assert found["tasks"]["d"]["metric"] == "accuracy"
    options = len(benchmark.test[1].test[0].options)
    assert found["tasks"]["d"]["mean"] == pytest.approx(100 / options, abs=3)
    assert random_guess(benchmark, draws=3) == random_guess(benchmark, draws=3)


def test_a_task_that_fails_is_reported_and_the_others_kept(benchmark, record):
    broken = replace(
        benchmark.test[1],
        test=(*benchmark.test[1].test, Example("x", "only", ("only",))),
    )
    with pytest.warns(
        UserWarning,
        match=r"task 'd' is left out: test record 9: expected two options or more .* found \['only'\]",
    ):
        found = evaluate(
            small_model(),
            CharTokenizer(),
            replace(benchmark, test=(benchmark.test[0], broken, benchmark.test[2])),
            k=3,
            seeds=(100, 13, 21),
        )
    assert list(found["failed"]) == ["d"] and found["tasks"] == {
        n: record["tasks"][n] for n in "ce"
    }
    assert found["mean"] == pytest.approx(
        fmean(record["tasks"][n]["mean"] for n in "ce")
    )
    with pytest.warns(UserWarning), pytest.raises(DataError, match="test record 9"):
        evaluate(
            small_model(),
            CharTokenizer(),
            replace(benchmark, test=(broken,)),
            k=3,
            seeds=[100],
        )


def test_instructions_come_first(benchmark):
    told = replace(
        benchmark,
        test=tuple(
            replace(task, instruction="say what it is") for task in benchmark.test
        ),
    )
    plain, found = (
        evaluate(
            small_model(), CharTokenizer(), told, k=2, seeds=[100], instructions=use
        )
        for use in (False, True)
    )
    assert (
        plain["tasks"]
        == evaluate(small_model(), CharTokenizer(), benchmark, k=2, seeds=[100])[
            "tasks"
        ]
        != found["tasks"]
    )
    with pytest.raises(DataError, match="instructions: task 'c' has none"):
        evaluate(None, CharTokenizer(), benchmark, instructions=True)


def test_no_unseen_targets(benchmark):
    seen = evaluate(
        small_model(),
        CharTokenizer(),
        replace(benchmark, unseen=frozenset()),
        k=1,
        seeds=[100],
        max_records=2,
    )
    assert (seen["unseen_mean"], seen["unseen_worst"]) == (None, None)
    assert seen["mean"] is not None
    assert seen["protocol"]["max_records"] == 2


def test_evaluation_passes_its_format_on(benchmark, record):
    def other(**changes):
        return evaluate(
            small_model(),
            CharTokenizer(),
            benchmark,
            **dict(k=3, seeds=(100, 13, 21)) | changes,
        )

    assert other()["tasks"] == record["tasks"]
    for changes in (
        dict(mode="channel"),
        dict(separator="space"),
        dict(max_length=20),
        dict(k=0),
    ):
        assert other(**changes)["tasks"] != record["tasks"], changes


def test_progress_is_told_every_score(benchmark):
    told = []
    found = evaluate(
        small_model(),
        CharTokenizer(),
        benchmark,
        k=1,
        seeds=[13],
        max_records=2,
        progress=lambda *a: told.append(a),
    )
    assert told == [
        (name, 13, task["scores"][13]) for name, task in found["tasks"].items()
    ]


BAD = {
    "k over the demonstrations": (
        dict(k=17),
        DataError,
        "k: 17 demonstrations asked of task 'c', seed 100, which has 16",
    ),
    "negative k": (
        dict(k=-1),
        DataError,
        "k: expected a number of demonstrations, 0 or more, found -1",
    ),
    "no seed": (
        dict(seeds=()),
        DataError,
        "expected at least one seed, target task and record, found seeds",
    ),
    "no record": (
        dict(max_records=0),
        DataError,
        "target task and record, found .* max_records 0",
    ),
    "unknown seed": (
        dict(seeds=[100, 5]),
        DataError,
        "seed: task 'c' has no demonstrations for seed 5; it has 100, 13, 21, 42, 87",
    ),
    "mode": (
        dict(mode="indirect"),
        ValueError,
        "mode: expected one of direct, channel, found 'indirect'",
    ),
    "separator": (
        dict(separator=""),
        ValueError,
        "separator: expected one of newline, space, found ''",
    ),
}


@pytest.mark.parametrize(("changes", "error", "message"), BAD.values(), ids=BAD)
def test_bad_argument_is_named_before_any_work(benchmark, changes, error, message):
    with pytest.raises(error, match=message):
        evaluate(None, CharTokenizer(), benchmark, **changes)
