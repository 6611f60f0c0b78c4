"""The held set: meta-training tasks asked as targets, on examples held back."""

import json
import math
from dataclasses import replace
from statistics import fmean

import pytest
import torch
from helpers import CharTokenizer, records, small_model, write_benchmark, write_lines

from maml_en_llm import evaluate_by, load_benchmark, score_options
from maml_en_llm.errors import DataError
from maml_en_llm.evaluation import (
    as_targets,
    family_of,
    few_per_family,
    held_loss,
    held_out,
    held_set,
    hold_back,
    overall,
)
from maml_en_llm.evaluation.metrics import probabilities
from maml_en_llm.tasks import Benchmark, load_held

TRAIN = ("size-sea", "size-food", "topic-sea", "free-form")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    folder = write_benchmark(
        tmp_path_factory.mktemp("tasks"),
        train=TRAIN,
        kinds={"topic-sea": "multi-choice", "free-form": "free-form"},
    )
    return load_benchmark(folder, "mini").train


def test_what_is_held_back_is_not_trained_on(tasks):
    rest, held = hold_back(tasks, 24)
    assert [task.name for task in rest] == list(TRAIN)
    assert [task.name for task in held] == list(TRAIN[:3])
    for whole, left, back in zip(tasks, rest, held, strict=False):
        shown = back.demonstrations[0]
        assert whole.train == (*left.train, *shown, *back.test)
        assert (len(shown), len(back.test)) == (16, 8)
    assert rest[3] == tasks[3]
    assert hold_back(tasks, 40) == (tasks, ())  # nothing would be left to train on


def test_all_that_is_held_back_is_asked(tasks):
    examples = [
        replace(example, input=f"{example.input} {n}")
        for n in range(4)
        for example in tasks[0].train
    ]
    long = replace(tasks[0], train=tuple(examples))
    (left,), (back,) = hold_back([long], 100)
    asked = (*back.demonstrations[0], *back.test)
    assert asked == back.train == long.train[-100:]
    assert left.train == long.train[:-100]


def test_scores_and_losses_by_family(tasks):
    model, words = small_model(), CharTokenizer()
    _, held = hold_back(tasks, 24)
    found = held_out(model, words, held, demonstrations=3)
    assert list(found) == ["size", "topic"] and found["size"].n_tasks == 2
    nlls, scores = [], {}
    for task in held:
        rows = score_options(model, words, task.few_shot(0, 3), task.test)
        right = [query.options.index(query.output) for query in task.test]
        pairs = zip(rows, right, strict=True)
        nlls.append(fmean(-math.log(probabilities(row)[n]) for row, n in pairs))
        bench = Benchmark((), (task,))
        record = evaluate_by(lambda *_, rows=rows: rows, bench, seeds=[0])
        scores[task.name] = record["mean"]
    assert found["size"].nll == pytest.approx(fmean(nlls[:2]))
    assert found["topic"].nll == pytest.approx(nlls[2])
    assert found["size"].score == fmean([scores["size-sea"], scores["size-food"]])
    total = overall(found)
    assert total.n_tasks == 3
    assert total.nll == pytest.approx(fmean([found["size"].nll, found["topic"].nll]))


def test_families(tasks):
    assert [family_of(name) for name in ("size-sea", "glue")] == ["size", "glue"]
    found = held_out(
        small_model(),
        CharTokenizer(),
        as_targets(tasks[:2]),
        family=lambda name: "all",
        max_records=2,
        mode="channel",
    )
    assert list(found) == ["all"]


def test_the_tuning_objective_counts_each_family_once(tasks):
    model, words = small_model(), CharTokenizer()
    held = as_targets(tasks[:3])
    found = held_out(model, words, held, max_records=5)
    loss = held_loss(model, words, held, max_records=5)
    assert loss == pytest.approx(fmean([found["size"].nll, found["topic"].nll]))
    assert loss > 0


def test_a_model_that_guesses_has_the_logarithm_of_the_options(tasks):
    model = small_model()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    loss = held_loss(model, CharTokenizer(), as_targets(tasks[:2]), max_records=5)
    assert loss == pytest.approx(math.log(2))


def test_a_broken_model_loses(tasks):
    model = small_model()
    with torch.no_grad():
        model.transformer.ln_f.weight.fill_(math.nan)
    held = as_targets(tasks[:1])
    assert held_loss(model, CharTokenizer(), held, max_records=2) == math.inf
    with pytest.raises(ValueError, match="held: expected at least one task"):
        held_loss(model, CharTokenizer(), ())


def test_few_of_each_family_at_equal_distances(tasks):
    names = [f"size-{n}" for n in range(7)] + ["topic-0"]
    many = [replace(tasks[0], name=name) for name in names]
    found = [task.name for task in few_per_family(many, 3)]
    assert found == ["size-0", "size-2", "size-4", "topic-0"]
    assert few_per_family(many, None) == tuple(many)
    with pytest.raises(ValueError, match="per_family"):
        few_per_family(many, 0)


def test_the_held_set_has_examples_of_its_own(tmp_path):
    folder = write_benchmark(
        tmp_path,
        train=("size-sea", "copy"),
        test=("size-food",),
        kinds={"copy": "free-form"},
    )
    with pytest.raises(
        DataError, match="files: size-sea, copy; use evaluation.hold_back"
    ):
        load_held(folder, "mini")
    settings = json.loads((folder / "settings.json").read_text())
    settings["tasks"] = {"copy": {"kind": "free-form"}}
    (folder / "settings.json").write_text(json.dumps(settings))
    here = folder / "size-sea"
    write_lines(here / "size-sea_16_100_test.jsonl", records("size-sea", 9, start=500))
    write_lines(
        here / "size-sea_16_100_train.jsonl", records("size-sea", 16, start=600)
    )
    (task,) = held_set(str(folder), "mini")
    assert task.name == "size-sea" and not task.train
    assert len(task.test) == 9 and len(task.demonstrations[100]) == 16
    (trained, _) = load_benchmark(folder, "mini").train
    assert not set(trained.train) & {*task.test, *task.demonstrations[100]}
    assert held_loss(small_model(), CharTokenizer(), [task]) > 0
