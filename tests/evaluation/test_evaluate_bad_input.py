"""What evaluation refuses before the first minute, and how it says so."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import CharTokenizer, small_model, write_benchmark

from maml_en_llm import (
    SGD,
    Benchmark,
    Example,
    evaluate,
    evaluate_by,
    load_benchmark,
)
from maml_en_llm.evaluation import (
    adaptation_curve,
    as_targets,
    by_rule,
    choose_rate,
    evaluate_adapted,
    held_out,
    hold_back,
    predict,
    random_guess,
    score_options,
    score_predictions,
)


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    folder = write_benchmark(tmp_path_factory.mktemp("tasks"), test=("c", "d"))
    return load_benchmark(folder, "mini")


BAD = {
    "k over the demonstrations": (
        dict(k=17),
        "17 .*asked of task 'c', seed 100, which has 16",
    ),
    "k negative": (dict(k=-1), "k: expected a whole number of at least 0, found -1"),
    "k in text": (dict(k="16"), "k: expected a whole number .* found '16'"),
    "k in part": (dict(k=1.5), "k: .* found 1.5"),
    "k truth": (dict(k=True), "k: .* found True"),
    "k none": (dict(k=None), "k: .* found None"),
    "no seed": (dict(seeds=()), "expected at least one seed and target task, found"),
    "a seed alone": (dict(seeds=100), "seeds: expected demonstration seeds, such as"),
    "seeds in text": (dict(seeds="100"), "seeds: expected demonstration seeds"),
    "seed in text": (dict(seeds=["100"]), "seeds: expected a whole number"),
    "seed negative": (
        dict(seeds=[-100]),
        "seeds: expected a whole number of at least 0",
    ),
    "seed in part": (dict(seeds=[100.5]), "seeds: expected a whole number"),
    "seed twice": (
        dict(seeds=[100, 13, 100]),
        "seeds: expected each once, found 100 more than once",
    ),
    "unknown seed": (
        dict(seeds=[100, 5]),
        "seed: task 'c' has no demonstrations for seed 5; it has 100, 13, 21, 42, 87",
    ),
    "no record": (dict(max_records=0), "max_records: expected a whole number of at"),
    "records negative": (dict(max_records=-3), "max_records: .* found -3"),
    "records in text": (dict(max_records="32"), "max_records: .* found '32'"),
    "records infinite": (dict(max_records=math.inf), "max_records: .* found inf"),
    "mode": (
        dict(mode="indirect"),
        "mode: expected one of direct, channel, found 'indirect'",
    ),
    "mode none": (dict(mode=None), "mode: .* found None"),
    "separator": (dict(separator=""), "separator: expected one of newline, space"),
    "instructions in text": (
        dict(instructions="no"),
        "instructions: expected True or False, found 'no'",
    ),
    "instructions that are not there": (
        dict(instructions=True),
        "instructions: task 'c' has none; its settings.json may give one",
    ),
    "pmi in numbers": (dict(pmi=2), "pmi: expected True or False, found 2"),
    "pmi in channel mode": (
        dict(pmi=True, mode="channel"),
        "pmi: expected mode 'direct', the only one it is defined for, found 'channel'",
    ),
    "adapt steps": (dict(adapt=4), "adapt: expected an Adaptation or None, found 4"),
    "adapt a list": (dict(adapt=[]), "adapt: expected an Adaptation or None"),
    "no model": (dict(), "model: expected a causal language model .*, found None"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_bad_argument_is_named_before_any_work(benchmark, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        evaluate(None, CharTokenizer(), benchmark, **changes)
    assert len(str(caught.value)) < 400


def test_a_model_in_training_mode_is_refused(benchmark):
    model = small_model().train()
    with pytest.raises(ValueError, match="model: expected evaluation mode, found"):
        evaluate(model, CharTokenizer(), benchmark)


def test_a_wrapped_model_is_to_be_taken_out(benchmark):
    model = torch.nn.DataParallel(small_model())
    with pytest.raises(ValueError, match="found a DataParallel; take its .module"):
        evaluate(model, CharTokenizer(), benchmark)
    with pytest.raises(ValueError, match="found a DataParallel; take its .module"):
        score_options(model, CharTokenizer(), (), FOUR)


def first(task, seed, queries):
    return [[0.0, *[1.0] * (len(query.options) - 1)] for query in queries]


BENCHMARKS = {
    "a folder": (lambda bench: "tasks", "benchmark: expected a Benchmark .* 'tasks'"),
    "a list": (lambda bench: list(bench.test), "benchmark: expected a Benchmark"),
    "no target": (
        lambda bench: replace(bench, test=()),
        "expected at least one seed and target task, found .* 0 tasks",
    ),
    "two of one name": (
        lambda bench: replace(bench, test=(bench.test[0], bench.test[0])),
        "benchmark.test: expected each once, found c more than once",
    ),
}


@pytest.mark.parametrize(("make", "message"), BENCHMARKS.values(), ids=BENCHMARKS)
def test_bad_benchmark(benchmark, make, message):
    with pytest.raises(ValueError, match=message):
        evaluate_by(first, make(benchmark), seeds=[100])


@pytest.mark.parametrize("draws", [0, -1, "9", 1.5, None])
def test_bad_draws(benchmark, draws):
    with pytest.raises(
        ValueError, match="draws: expected a whole number of at least 1"
    ):
        random_guess(benchmark, draws=draws)


@pytest.mark.parametrize("answer", ["maybe", None, "Yes", "", 0, ["yes"]])
def test_a_rule_that_names_no_option_is_refused(benchmark, answer):
    message = "rule: expected one of the options of test example 0, yes, no, found"
    with pytest.warns(UserWarning), pytest.raises(ValueError, match=message):
        evaluate_by(by_rule(lambda *_: answer), benchmark, seeds=[100])


# --- what a scorer hands back ---

TABLES = {  # rows of two options, message
    "none": (None, "scores: expected one row per query, 4 of them, found None"),
    "a number": (1.0, "scores: expected one row per query, 4 of them, found 1.0"),
    "a row less": ([[0.0, 1.0]] * 3, "scores: expected one row per query, .* found 3"),
    "a row more": ([[0.0, 1.0]] * 5, "scores: expected one row per query, .* found 5"),
    "short rows": ([[1.0]] * 4, r"scores\[0\]: expected numbers, 2 of them"),
    "long rows": ([[1.0, 2.0, 0.0]] * 4, r"scores\[0\]: expected numbers, 2 of them"),
    "empty rows": ([[]] * 4, r"scores\[0\]: expected numbers"),
    "no rows": ([1.0] * 4, r"scores\[0\]: expected numbers, .* found 1.0"),
    "nan before": ([[math.nan, 1.0]] * 4, r"scores\[0\]: .* none of them nan"),
    "nan behind": (
        [[0.0, 1.0]] * 3 + [[1.0, math.nan]],
        r"scores\[3\]: .*found .1.0, nan",
    ),
    "all infinite": ([[math.inf] * 2] * 4, r"scores\[0\]: .* the smallest finite"),
    "minus infinity": ([[-math.inf, 0.0]] * 4, r"scores\[0\]: .* the smallest finite"),
    "texts": ([["a", "b"]] * 4, r"scores\[0\]: expected numbers"),
    "numbers in text": ([["1", "2"]] * 4, r"scores\[0\]: expected numbers"),
    "a text": (["12"] * 4, r"scores\[0\]: expected numbers"),
    "no number": ([[None, 1.0]] * 4, r"scores\[0\]: expected numbers"),
}
TWO = ("yes", "no")
FOUR = tuple(Example(f"x{n}", TWO[n % 2], TWO) for n in range(4))


@pytest.mark.parametrize(("table", "message"), TABLES.values(), ids=TABLES)
def test_a_bad_table_of_scores_is_refused(benchmark, table, message):
    with pytest.raises(ValueError, match=message) as caught:
        score_predictions("classification", FOUR, table)
    assert len(str(caught.value)) < 400
    one = replace(benchmark, test=(replace(benchmark.test[0], test=FOUR),))
    with pytest.warns(UserWarning), pytest.raises(ValueError, match=message):
        evaluate_by(lambda *_: table, one, seeds=[100])


def test_tables_of_other_libraries_are_read():
    rows = [[0.0, 1.0], [0.0, 1.0], [1.0, math.inf], [2.0, 0.5]]  # all but one
    for table in (np.array(rows), torch.tensor(rows), rows, iter(rows)):
        assert score_predictions("multi-choice", FOUR, table) == 75.0
    truths = [[False, True], [True, False]] * 2
    assert score_predictions("multi-choice", FOUR, truths) == 100.0


def test_a_prediction_needs_numbers():
    assert predict([2.0, math.inf, 1.0]) == 2
    for row in ([], [math.nan, 1.0], [1.0, math.nan], [math.inf], ["1"], None):
        with pytest.raises(ValueError, match="scores: expected numbers, none of them"):
            predict(row)


@pytest.mark.parametrize("kind", ["clasification", None, 3])
def test_a_kind_that_is_none(kind):
    with pytest.raises(ValueError, match="kind: expected one of classification, multi"):
        score_predictions(kind, FOUR, [[0.0, 1.0]] * 4)


def test_numbers_of_numpy_become_pythons_own(benchmark):
    how = dict(k=np.int64(2), seeds=[np.int64(100)], max_records=np.int64(2))
    plain = dict(k=2, seeds=[100], max_records=2)
    model, words = small_model(), CharTokenizer()
    found = evaluate(model, words, benchmark, **how, max_length=np.int32(200))
    same = evaluate(model, words, benchmark, **plain, max_length=200)
    assert json.dumps(found) == json.dumps(same)
    one = dict(optimizer=SGD(0.1), steps=[np.int64(1)])
    found = evaluate_adapted(model, words, benchmark, **one, **how)
    same = evaluate_adapted(
        model, words, benchmark, optimizer=SGD(0.1), steps=[1], **plain
    )
    assert json.dumps(found) == json.dumps(same)


RATES = {
    "no rate": (dict(rates=()), "rates: expected one rate or more, found none"),
    "rate 0": (dict(rates=(0,)), "rates: expected a finite number, more than 0"),
    "rate negative": (dict(rates=(1e-3, -1)), "rates: .* found -1"),
    "rate in text": (dict(rates=("1e-3",)), "rates: expected a finite number"),
    "rates in text": (dict(rates="1e-3"), "rates: expected numbers, found '1e-3'"),
    "a rate alone": (dict(rates=1e-3), "rates: expected numbers, found 0.001"),
    "not a number": (dict(rates=(math.nan,)), "rates: .* found nan"),
    "steps": (dict(steps=-1), "steps: expected a whole number"),
    "no step": (dict(steps=0), "steps: expected a whole number of at least 1"),
    "length in text": (dict(max_length="x"), "max_length: expected a whole number"),
    "k over the demonstrations": (dict(k=17), "17 asked of task 'a'"),
    "no task": (dict(n_tasks=0), "n_tasks: expected a whole number of at least 1"),
    "seed": (dict(seed=-1), "seed: expected a whole number of at least 0"),
}


@pytest.mark.parametrize(("changes", "message"), RATES.values(), ids=RATES)
def test_bad_choice_of_a_rate(benchmark, changes, message):
    with pytest.raises(ValueError, match=message):
        choose_rate(small_model(), CharTokenizer(), benchmark.train, **changes)


def test_bad_held_set(benchmark):
    with pytest.raises(
        ValueError, match="held: expected at least one task, found none"
    ):
        held_out(small_model(), CharTokenizer(), ())
    for examples in (0, 16, "40", -1):
        with pytest.raises(ValueError, match="examples: expected a whole number of at"):
            hold_back(benchmark.train, examples)
    with pytest.raises(ValueError, match="demonstrations: expected a whole number"):
        held_out(small_model(), CharTokenizer(), benchmark.test, demonstrations=-1)


HELD = {  # changes of a held task, arguments, message
    "no demonstrations": (
        dict(demonstrations={}),
        {},
        "held: task 'a': expected demonstrations of one seed or more, found none",
    ),
    "no test": (dict(test=()), {}, "held: task 'a': test: expected at least one test"),
    "no answer among the options": (
        dict(test=(Example("x", "maybe", TWO),)),
        {},
        "held: task 'a': test example 0: expected an answer that is one of",
    ),
    "a number": ({}, dict(held=5), "held: expected a list of Task, found 5"),
    "a text": ({}, dict(held="ab"), "held: expected a list of Task, found 'ab'"),
    "texts": ({}, dict(held=["a"]), r"held\[0\]: expected a Task, found 'a'"),
    "records negative": ({}, dict(max_records=-1), "max_records: .* at least 1, found"),
    "no record": ({}, dict(max_records=0), "max_records: .* at least 1, found 0"),
    "records in text": ({}, dict(max_records="3"), "max_records: expected a whole"),
}


@pytest.mark.parametrize(("changes", "given", "message"), HELD.values(), ids=HELD)
def test_a_held_task_that_cannot_be_scored_is_named(benchmark, changes, given, message):
    task = replace(as_targets(benchmark.train[:1])[0], **changes)
    with pytest.raises(ValueError, match=message) as caught:
        held_out(**dict(model=None, tokenizer=None, held=[task]) | given)
    assert len(str(caught.value)) < 400


def test_blanks_at_an_answers_ends_do_not_matter(benchmark):
    (task,) = as_targets(benchmark.train[:1])
    tests = (replace(task.test[0], output="yes "), replace(task.test[1], output=" no"))
    blanks, plain = (
        replace(task, test=t)
        for t in (tests, [replace(e, output=e.output.strip()) for e in tests])
    )
    found, same = (
        held_out(small_model(), CharTokenizer(), [t], demonstrations=2)
        for t in (blanks, plain)
    )
    assert found == same


STEPS = {
    "none": (dict(steps=[]), "steps: expected one number of steps or more, found none"),
    "a number": (dict(steps=4), "steps: expected numbers of steps, .* found 4"),
    "a text": (dict(steps="01"), "steps: expected numbers of steps, .* found '01'"),
    "one twice": (dict(steps=[0, 1, 0]), "steps: expected each once, found 0 more"),
    "negative": (dict(steps=[-1]), "steps: expected a whole number of at least 0"),
    "optimizer": (dict(optimizer=None), "optimizer: expected an optimizer such as"),
    "seed twice": (dict(seeds=[100, 100]), "seeds: expected each once, found 100"),
    "seeds in text": (dict(seeds="100"), "seeds: expected demonstration seeds"),
    "k": (dict(k=-1), "k: expected a whole number of at least 0, found -1"),
    "k over the demonstrations": (
        dict(k=17),
        "17 asked of task 'c', seed 100, which has 16",
    ),
    "unknown seed": (dict(seeds=[100, 5]), "seed: task 'c' has no .* seed 5; it has"),
    "length": (dict(max_length="x"), "max_length: expected a whole number"),
}


@pytest.mark.parametrize(("changes", "message"), STEPS.values(), ids=STEPS)
def test_bad_steps_are_named_before_any_work(benchmark, changes, message):
    how = dict(optimizer=SGD(0.1), steps=[1]) | changes
    with pytest.raises(ValueError, match=message):
        evaluate_adapted(None, None, benchmark, **how)
    if "k" not in changes:
        with pytest.raises(ValueError, match=message):
            adaptation_curve(None, None, benchmark, **how)


def test_an_unknown_option_of_the_format_is_named(benchmark):
    message = (
        "format_options: expected one of mode, .* found 'max_lenght'; nearest: max"
    )
    how = dict(optimizer=SGD(0.1), steps=[1], max_lenght=200)
    with pytest.raises(ValueError, match=message):
        evaluate_adapted(None, None, benchmark, **how)


def test_what_failed_beside_the_rates_is_said(benchmark):
    bad = replace(
        benchmark.train[0],
        name="long",
        train=tuple(replace(e, input="x" * 3000) for e in benchmark.train[0].train),
    )
    how = dict(
        rates=[1e-3], max_length=4000, max_example_length=4000, k=0, max_records=2
    )
    tasks = [benchmark.train[1], bad]
    with pytest.raises(
        ValueError, match="lower them .task 'long': max_length: expected"
    ):
        choose_rate(small_model(), CharTokenizer(), tasks, steps=1, **how)


def test_an_empty_benchmark():
    with pytest.raises(ValueError, match="0 tasks"):
        evaluate(small_model(), CharTokenizer(), Benchmark((), ()))


BAD_TESTS = {  # what is wrong with a target task, message
    "answer of no option": (
        dict(test=(Example("a", "maybe", TWO),)),
        "test example 0: expected an answer that is one of the options.*'maybe'",
    ),
    "options in one text": (
        dict(test=(Example("a", "y", "yn"),)),
        "test example 0: expected an Example with options in a tuple",
    ),
    "texts": (dict(test=("a", "b")), "test example 0: expected an Example"),
    "answer none": (
        dict(test=(Example("a", None, TWO),)),
        "test example 0: expected its answer and options as strings, found None",
    ),
    "none": (dict(test=()), "test: expected at least one test example, found none"),
}


@pytest.mark.parametrize(("change", "message"), BAD_TESTS.values(), ids=BAD_TESTS)
def test_a_target_that_cannot_be_scored_loses_itself_only(benchmark, change, message):
    good, other = benchmark.test
    bad = replace(benchmark, test=(good, replace(other, **change)))
    with pytest.warns(UserWarning, match=f"task 'd' is left out: {message}"):
        record = evaluate_by(
            lambda task, seed, queries: [[0.0, 1.0]] * len(queries), bad
        )
    assert set(record["tasks"]) == {"c"} and set(record["failed"]) == {"d"}
