"""Demonstrations whose answers are drawn at random: a control."""

from collections import Counter
from dataclasses import replace

import pytest
from helpers import CharTokenizer, small_model, write_benchmark

from maml_en_llm import SGD, Adaptation, DataError, Example, evaluate, load_benchmark
from maml_en_llm.tasks import Task, with_random_labels

THREE = ("a", "b", "c")
COUNT = 3000


def task_of(count: int, options=THREE) -> Task:
    shown = tuple(Example(f"x{n}", "a", options) for n in range(count))
    return Task("t", "classification", demonstrations={13: shown, 21: shown})


def test_every_option_is_as_likely_whatever_the_right_one_is():
    drawn = with_random_labels(task_of(COUNT)).demonstrations
    counts = Counter(example.output for example in drawn[13])
    # five standard deviations of a binomial: 5 √(n p (1 − p))
    bound = 5 * (COUNT * 2 / 9) ** 0.5
    assert set(counts) == set(THREE)
    assert all(abs(count - COUNT / 3) < bound for count in counts.values())
    assert [e.output for e in drawn[13]] != [e.output for e in drawn[21]]


def test_only_the_answers_change_and_a_draw_is_kept():
    task = replace(task_of(20), test=(Example("q", "b", THREE),))
    found = with_random_labels(task)
    assert found == with_random_labels(task)
    assert found.test == task.test and found.train == task.train
    for old, new in zip(task.demonstrations[13], found.demonstrations[13], strict=True):
        assert new == replace(old, output=new.output) and new.output in old.options
    fewer = replace(task, demonstrations={13: task.demonstrations[13][:4]})
    assert with_random_labels(fewer).demonstrations[13] == found.few_shot(13, 4)
    other = with_random_labels(replace(task, name="other"))
    assert other.demonstrations != found.demonstrations


def test_a_demonstration_without_options_is_refused():
    with pytest.raises(DataError, match="^random_labels: .* without in task 't'"):
        with_random_labels(task_of(2, options=()))


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    folder = write_benchmark(
        tmp_path_factory.mktemp("tasks"), test=("c", "d"), n_test=9
    )
    return load_benchmark(folder, "mini")


@pytest.mark.parametrize("adapt", [None, Adaptation(steps=1, optimizer=SGD(0.5))])
def test_an_evaluation_is_that_of_the_task_with_the_drawn_labels(benchmark, adapt):
    asked = dict(k=3, seeds=(100, 13), adapt=adapt)
    model, tokenizer = small_model(), CharTokenizer()
    found = evaluate(model, tokenizer, benchmark, random_labels=True, **asked)
    drawn = replace(benchmark, test=tuple(map(with_random_labels, benchmark.test)))
    assert drawn.test != benchmark.test
    told = found["protocol"].pop("random_labels")
    same = evaluate(model, tokenizer, drawn, **asked)
    assert told is True and same["protocol"].pop("random_labels") is False
    assert found == same


def test_with_nothing_shown_there_is_no_label_to_draw(benchmark):
    asked = small_model(), CharTokenizer(), benchmark
    with pytest.raises(ValueError, match="^random_labels: expected at least one"):
        evaluate(*asked, k=0, random_labels=True)
    with pytest.raises(ValueError, match="^random_labels: expected True or False"):
        evaluate(*asked, random_labels="yes")
    # adapted to drawn labels, and asked without any: that is a question
    adapt = Adaptation(steps=1, optimizer=SGD(0.5))
    evaluate(*asked, k=0, seeds=(13,), random_labels=True, adapt=adapt)
