"""The held set: meta-training tasks asked as targets, on examples held back."""

from statistics import fmean

import pytest
from helpers import CharTokenizer, small_model, write_benchmark

from maml_en_llm import evaluate_by, load_benchmark, score_options
from maml_en_llm.evaluation import as_targets, family_of, held_out, hold_back
from maml_en_llm.evaluation.held import overall
from maml_en_llm.tasks import Benchmark

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
        nlls.append(fmean(row[n] for row, n in pairs))
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
