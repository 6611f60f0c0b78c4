"""Adaptation curves, and the rate they are drawn at."""

import pytest

from maml_en_llm import SGD, Adam, evaluate, load_benchmark, load_model
from maml_en_llm.evaluation import adaptation_curve, choose_rate


def test_adaptation_curve_begins_at_the_model_as_it_is():
    bench = load_benchmark(
        "minicrossfit:easy",
        "class_to_class",
        seeds=[100],
        tasks=["colour-travel", "size-sea"],
    )
    model, words = load_model("tiny-base")
    how = dict(seeds=[100], max_length=512, max_records=16)
    curve = adaptation_curve(
        model, words, bench, optimizer=Adam(3e-3), steps=(0, 8), **how
    )
    for name, k in (("with", 16), ("without", 0)):
        assert (
            curve[name][0]["tasks"]
            == evaluate(model, words, bench, k=k, **how)["tasks"]
        )
    assert (
        curve["without"][8]["mean"] > curve["without"][0]["mean"]
    )  # what is not in the prompt has gone into the weights


def test_the_rate_is_chosen_on_meta_training_tasks():
    bench = load_benchmark("minicrossfit:easy", "class_to_class", seeds=[100])
    model, words = load_model("tiny-base")
    rate = choose_rate(
        model, words, bench.train, rates=(1e-8, 1e-3, 1.0), n_tasks=3, max_length=512
    )
    assert rate == 1e-3
    assert (
        choose_rate(
            model,
            words,
            bench.train,
            rates=(0.05,),
            make=SGD,
            n_tasks=1,
            max_length=512,
        )
        == 0.05
    )
    assert (
        choose_rate(
            model, words, bench.train, rates=(1e-3, 1e30), n_tasks=2, max_length=512
        )
        == 1e-3
    )
    with pytest.raises(
        ValueError,
        match="rates: expected one that leaves scores finite, found none among",
    ):
        choose_rate(model, words, bench.train, rates=(1e30,), n_tasks=1, max_length=512)
    with pytest.raises(
        ValueError,
        match="tasks: expected tasks with options and more than 16 examples",
    ):
        choose_rate(model, words, [])
