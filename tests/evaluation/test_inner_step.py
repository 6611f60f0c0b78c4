"""One inner step on held tasks, against the same by hand; what is refused."""

import json
import threading
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import CharTokenizer, records, small_model

from maml_en_llm import Example, PromptLoss, Task, parameters, score_options
from maml_en_llm.evaluation.inner_step import (
    Probe,
    StepOptions,
    inner_steps,
    new_examples,
)
from maml_en_llm.meta import loss_and_grad
from maml_en_llm.methods.draws import draw_prompts
from maml_en_llm.models import write_back
from maml_en_llm.prompts import Batch
from maml_en_llm.tensors import clip_by_norm

pytestmark = pytest.mark.numeric

SOME = StepOptions(
    supports=(3, 1),
    rates=(1e-3, 3e-2),
    moments=("fresh", "second", "shared"),
    queries=2,
    demonstrations=2,
)


@pytest.fixture(scope="module")
def model():
    return small_model("llama")


@pytest.fixture(scope="module")
def tasks():
    return [
        Task(
            name=name,
            kind="classification",
            train=tuple(
                Example(row["input"], row["output"], tuple(row["options"]))
                for row in records(name, 12)
            ),
        )
        for name in "ab"
    ]


@pytest.fixture(scope="module")
def found(model, tasks):
    return inner_steps(model, CharTokenizer(), tasks, options=SOME, max_length=128)


def joined(batches):
    """Pieces of a batch, row by row: all prompts' gradients count alike."""
    for batch in batches:
        for row in range(len(batch.input_ids)):
            yield batch.rows(row, row + 1)


def by_hand(model, task, rate, support):
    """The query loss after a fresh step, from one prompt's gradient at a time."""
    probe = Probe(model, CharTokenizer(), SOME, dict(max_length=128))
    drawn = probe.draw(task)
    loss, params = PromptLoss(model), parameters(model)
    rows: list[Batch] = list(joined(drawn.batches))[:support]
    each = [loss_and_grad(loss, params, row)[1] for row in rows]
    mean = {name: sum(g[name] for g in each) / len(each) for name in params}
    adam = replace(SOME.optimizer, lr=rate)
    clipped, _ = clip_by_norm(mean, 1.0)
    moved, _ = adam.update(clipped, adam.init(params), params)
    other = deepcopy(model)
    write_back(other, moved)
    query, _ = draw_prompts(len(task.train), f"0 {task.name}", 1, 3, 2)
    shown = [task.train[i] for i in query[0].shown]
    asked = [task.train[one.query] for one in query[:2]]
    table = score_options(other, CharTokenizer(), shown, asked, max_length=128)
    rows = zip(asked, table, strict=True)
    return sum(row[one.options.index(one.output)] for one, row in rows) / 2


def test_a_fresh_step_is_what_one_computes_by_hand(model, tasks, found):
    assert found["supports"] == [1, 3] and found["rates"] == [1e-3, 3e-2]
    fresh = found["after"][0]
    for i, task in enumerate(tasks):
        for s, support in enumerate(found["supports"]):
            for r, rate in enumerate(found["rates"]):
                expected = by_hand(model, task, rate, support)
                assert fresh[i][s][r] == pytest.approx(expected, abs=1e-5)
        assert found["before"][i] == pytest.approx(
            by_hand(model, task, 0.0, 1), abs=1e-5
        )


def test_the_result_is_json_and_the_model_is_left_as_it_was(model, tasks, found):
    before = {name: p.clone() for name, p in parameters(model).items()}
    again = inner_steps(model, CharTokenizer(), tasks, options=SOME, max_length=128)
    assert json.loads(json.dumps(again)) == found
    for name, p in parameters(model).items():
        assert torch.equal(p, before[name])
    assert found["tasks"] == [task.name for task in tasks]
    assert found["moments"] == ["fresh", "second", "shared"]


def test_a_task_is_drawn_alike_whatever_stands_beside_it(model, tasks, found):
    some = replace(SOME, moments=("fresh",))
    alone = inner_steps(model, CharTokenizer(), tasks[1:], options=some, max_length=128)
    assert alone["before"] == found["before"][1:]
    assert alone["after"][0] == found["after"][0][1:]


def test_held_tasks_are_asked_what_no_model_was_trained_on(tasks):
    """`train` of a held task may be what meta-training has seen."""
    task = tasks[0]
    assert new_examples(task) == task.train
    held = replace(task, demonstrations={3: task.train[:4]}, test=task.train[4:9])
    assert new_examples(held) == task.train[:9]
    assert new_examples(replace(held, demonstrations={})) == held.test


def test_moments_that_others_have_warmed_give_other_steps(found):
    fresh, second, shared = found["after"]
    assert fresh != second and second != shared and fresh != shared


@pytest.mark.parametrize(
    "changes",
    [
        dict(supports=[]),
        dict(supports=[0]),
        dict(rates="1"),
        dict(rates=[0.0]),
        dict(moments=["cold"]),
        dict(queries=0),
        dict(demonstrations=-1),
        dict(supports=4),
        dict(rates=None),
        dict(rates=()),
        dict(clip=0),
        dict(clip=float("nan")),
        dict(clip="1"),
        dict(seed=-1),
        dict(seed=1.5),
        dict(optimizer=None),
        dict(optimizer="adam"),
    ],
)
def test_options_that_are_none_are_refused(changes):
    (name,) = changes
    with pytest.raises(ValueError, match=f"^{name}: expected .*found "):
        StepOptions(**changes)


def test_what_was_tried_is_plain_numbers():
    found = StepOptions(
        supports=(np.int64(n) for n in (3, 1, 3)), rates=np.array([0.5, 0.25])
    )
    assert json.dumps([found.supports, found.rates]) == "[[1, 3], [0.5, 0.25]]"


def test_a_model_that_cannot_be_copied_is_refused(tasks):
    locked = small_model("llama")
    locked.lock = threading.Lock()
    with pytest.raises(ValueError, match="^model: expected one that copy.deepcopy can"):
        inner_steps(locked, CharTokenizer(), tasks, options=SOME, max_length=128)


def test_too_few_examples_or_tasks_are_refused(model, tasks):
    with pytest.raises(ValueError, match="^tasks: expected at least one, found none"):
        inner_steps(model, CharTokenizer(), [])
    short = replace(tasks[0], train=tasks[0].train[:7])
    with pytest.raises(ValueError, match="^tasks: expected 8 examples .*found 7"):
        inner_steps(model, CharTokenizer(), [short], options=SOME)
    with pytest.raises(ValueError, match="^tasks: expected at least 2 .*found 1"):
        inner_steps(model, CharTokenizer(), tasks[:1], options=SOME, max_length=128)
