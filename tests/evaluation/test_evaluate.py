"""Evaluation of every task and seed, and its totals (protocol section 4)."""

import sys
from collections import Counter
from dataclasses import replace
from statistics import fmean

import pytest
from helpers import CharTokenizer, small_model, write_benchmark

from maml_en_llm import (
    SGD,
    Adaptation,
    DataError,
    Example,
    evaluate,
    evaluate_by,
    load_benchmark,
    score_options,
)
from maml_en_llm.evaluation import (
    by_rule,
    held_out,
    majority,
    oracle,
    oracle_answer,
    random_guess,
)
from maml_en_llm.evaluation.metrics import (
    accuracy,
    calibration_error,
    macro_f1,
    predict,
    probabilities,
)


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
                for query, row in zip(task.test, scores, strict=True)
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
        "_points",
        lambda kind, queries, table: table[0][0],
    )
    found = evaluate_by(
        lambda task, seed, queries: (
            [[known[task.name][seed], *[99.0] * len(q.options[1:])] for q in queries]
        ),
        benchmark,
        seeds=(100, 13),
    )
    assert {
        name: (task["mean"], task["worst"]) for name, task in found["tasks"].items()
    } == {"c": (25.0, 10.0), "d": (40.0, 30.0), "e": (80.0, 70.0)}
    assert (found["mean"], found["worst"]) == pytest.approx((145 / 3, 110 / 3))
    assert (found["unseen_mean"], found["unseen_worst"]) == (60.0, 50.0)


def test_a_row_of_scores_is_looked_at_once(benchmark, monkeypatch):
    metrics = sys.modules["maml_en_llm.evaluation.metrics"]
    seen, check = [], metrics._check_row

    def noted(where, row, count=None):
        seen.append(where)
        check(where, row, count)

    monkeypatch.setattr(metrics, "_check_row", noted)
    majority(benchmark, seeds=(100, 13))
    assert len(seen) == 2 * sum(len(task.test) for task in benchmark.test)


def test_calibration_is_that_of_the_options_scores(record, benchmark):
    task = benchmark.test[0]
    errors = []
    for seed in (100, 13, 21):
        scores = score_options(
            small_model(), CharTokenizer(), task.few_shot(seed, 3), task.test
        )
        hits = [
            query.options[predict(row)] == query.output
            for query, row in zip(task.test, scores, strict=True)
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
        match=r"task 'd' is left out: test example 9: expected two options or more",
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
    with pytest.warns(UserWarning), pytest.raises(DataError, match="test example 9"):
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
        dict(k=0),
    ):
        assert other(**changes)["tasks"] != record["tasks"], changes
    with pytest.warns(UserWarning, match="max_length: 20 tokens are too few"):
        assert other(max_length=20)["tasks"] != record["tasks"]


def test_a_task_without_demonstrations_is_scored_zero_shot(benchmark):
    how = dict(k=0, seeds=(100,), max_records=3)
    own = [replace(task, demonstrations={}) for task in benchmark.test]
    bare = replace(benchmark, test=tuple(own))
    model, words = small_model(), CharTokenizer()
    found = evaluate(model, words, bare, **how)
    assert found == evaluate(model, words, benchmark, **how)
    first, again = (
        held_out(model, words, tasks, demonstrations=0, max_records=3)
        for tasks in (own, benchmark.test)
    )
    assert first == again and set(first) == {"c", "d", "e"}
    for changes in (dict(k=1), dict(adapt=Adaptation(steps=1, optimizer=SGD(0.1)))):
        with pytest.raises(DataError, match="task 'c' has no demonstrations .* none"):
            evaluate(model, words, bare, **how | changes)


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


@pytest.mark.parametrize(
    "error",
    [TypeError("x" * 9999), IndexError("out of range"), RuntimeError(), KeyError("k")],
)
def test_an_error_of_any_kind_costs_its_own_task_alone(benchmark, error):
    def scorer(task, seed, queries):
        if task.name == "d":
            raise error
        return [[0.0, *[1.0] * (len(query.options) - 1)] for query in queries]

    with pytest.warns(
        UserWarning, match=f"task 'd' is left out: {type(error).__name__}"
    ):
        found = evaluate_by(scorer, benchmark, seeds=[100])
    assert set(found["tasks"]) == {"c", "e"} and set(found["failed"]) == {"d"}
    assert len(found["failed"]["d"]) < 450 and found["mean"] is not None


@pytest.mark.parametrize("error", [TypeError("mine"), KeyError("mine"), OSError(28)])
def test_an_error_of_the_callers_progress_is_no_tasks_fault(benchmark, error):
    told = []

    def progress(name, seed, score):
        told.append(name)
        if len(told) == 2:
            raise error

    def scorer(task, seed, queries):
        return [[0.0, *[1.0] * (len(query.options) - 1)] for query in queries]

    with pytest.raises(type(error)) as found:
        evaluate_by(scorer, benchmark, seeds=[100], progress=progress)
    assert found.value is error and told == [t.name for t in benchmark.test[:2]]
    with pytest.raises(ValueError, match="progress: expected a function .* found 3"):
        evaluate_by(scorer, benchmark, seeds=[100], progress=3)


def test_a_bad_table_of_scores_is_a_failure_of_its_task(benchmark):
    def scorer(task, seed, queries):
        short = task.name == "d"
        return [[0.0] * len(query.options) for query in queries[short:]]

    with pytest.warns(UserWarning, match="task 'd' is left out"):
        assert set(evaluate_by(scorer, benchmark, seeds=[100])["tasks"]) == {"c", "e"}


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_who_wants_to_stop_is_not_held_up(benchmark, stop):
    def scorer(task, seed, queries):
        raise stop

    with pytest.raises(stop):
        evaluate_by(scorer, benchmark, seeds=[100])


def test_the_reading_rule_as_a_row(benchmark):
    found = oracle(benchmark, seeds=[100, 13], max_records=4)
    expected = evaluate_by(
        by_rule(oracle_answer), benchmark, seeds=[100, 13], max_records=4
    )
    assert found == expected and found["protocol"]["seeds"] == (100, 13)


def test_the_reading_rule_takes_texts_that_are_not_of_its_world():
    shots = [Example("a b", "x", ("x", "y")), Example("", "y", ("x", "y"))]
    assert oracle_answer(shots, Example("", "x", ("x", "y"))) in ("x", "y")
    apart = [Example("a b .", "a", ("a", "zz")), Example("c d", "d", ("c", "d"))]
    assert oracle_answer(apart, Example("q", "q", ("q", "not there"))) == "q"


def test_test_examples_that_are_shown_are_warned_of_once(benchmark):
    first, *others = benchmark.test
    shots = {
        seed: (*found[:2], first.test[4])
        for seed, found in first.demonstrations.items()
    }
    doubled = replace(benchmark, test=(replace(first, demonstrations=shots), *others))
    model, words = small_model(), CharTokenizer()
    with pytest.warns(
        UserWarning, match=r"found some that one does: c \(1\); "
    ) as found:
        evaluate(model, words, doubled, k=3, seeds=(100, 13))
    assert len(found) == 1
    # an example that is not shown, or not asked
    evaluate(model, words, doubled, k=2, seeds=(100,))
    evaluate(model, words, doubled, k=3, seeds=(100,), max_records=4)
