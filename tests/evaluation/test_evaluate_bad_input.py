"""What evaluation refuses before the first minute, and how it says so."""

import math
from dataclasses import replace

import pytest
from helpers import CharTokenizer, small_model, write_benchmark

from maml_en_llm import Benchmark, Example, evaluate, evaluate_by, load_benchmark
from maml_en_llm.evaluation import (
    by_rule,
    choose_rate,
    held_out,
    hold_back,
    random_guess,
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


def test_a_rule_that_names_no_option_is_wrong(benchmark):
    found = evaluate_by(by_rule(lambda *_: "none of them"), benchmark, seeds=[100])
    right = evaluate_by(first, benchmark, seeds=[100])
    assert found["tasks"]["c"]["scores"] == right["tasks"]["c"]["scores"]  # a tie


RATES = {
    "no rate": (dict(rates=()), "rates: expected one rate or more, found none"),
    "rate 0": (dict(rates=(0,)), "rates: expected a finite number, more than 0"),
    "rate negative": (dict(rates=(1e-3, -1)), "rates: .* found -1"),
    "rate in text": (dict(rates=("1e-3",)), "rates: expected a finite number"),
    "rates in text": (dict(rates="1e-3"), "rates: expected numbers, found '1e-3'"),
    "a rate alone": (dict(rates=1e-3), "rates: expected numbers, found 0.001"),
    "not a number": (dict(rates=(math.nan,)), "rates: .* found nan"),
    "steps": (dict(steps=-1), "steps: expected a whole number"),
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


def test_an_empty_benchmark():
    with pytest.raises(ValueError, match="0 tasks"):
        evaluate(small_model(), CharTokenizer(), Benchmark((), ()))


TWO = ("yes", "no")
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
    "none": (dict(test=()), "test: expected at least one test example, found none"),
    "kind": (dict(kind="clasification"), "kind: expected one of .* nearest: classific"),
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
