"""Whether the inner loop matters: what a record says of it, and that it does."""

import json
from dataclasses import replace

import pytest
import torch

from maml_en_llm import load_model, meta_train, parameters
from maml_en_llm.tensors import joint_norm
from maml_en_llm.training import in_words
from maml_en_llm.training.inner_loop import NOTED, looked_at

pytestmark = pytest.mark.numeric


@pytest.fixture(scope="module")
def few(config):
    """Small enough that 20 outer steps take about a second, in float64."""
    return replace(
        config, tasks_per_step=4, demonstrations=1, max_length=64, dtype="float64"
    )


def trained(config, tasks):
    """The record, and the parameters before and after."""
    model, tokenizer = load_model(config.model, dtype=config.dtype, seed=config.seed)
    before = {name: p.clone() for name, p in parameters(model).items()}
    record = meta_train(model, tokenizer, tasks, config)
    return record, before, parameters(model)


def apart(tasks, config):
    """How far α and α = 0 end from each other, in lengths of the way from θ₀."""
    _, start, with_steps = trained(config, tasks)
    _, _, without = trained(replace(config, inner_lr=0), tasks)
    gap = joint_norm({n: p - without[n] for n, p in with_steps.items()})
    way = joint_norm({n: p - start[n] for n, p in with_steps.items()})
    return float(gap / way)


def test_by_default_the_inner_step_decides_where_a_run_goes(few, tasks):
    """And as it was before, it hardly did.

    Support gradients of 20 times the clip entered the shared moments as they were: the
    outer step then followed them, and the inner movement changed next to nothing.
    Rounding is 1e-16 here.
    """
    base = replace(few, steps=10, clip=0.1, looks=0, gradient="first_order")
    assert base.clip_support and base.moments == "shared" and base.join == "mean"
    now = apart(tasks, replace(base, prompts=4, inner_lr=base.lr))
    timid = apart(tasks, replace(base, prompts=4, inner_lr=base.lr / 5))
    old = replace(base, prompts=1, clip_support=False, inner_lr=base.lr / 5)
    before = apart(tasks, old)
    assert before < 0.08, "the lesson: nearly the same run as with an inner rate of 0"
    assert timid > 3 * before and now > 4 * before and now > 0.2


def test_a_record_says_what_the_inner_loops_did(few, tasks):
    few = replace(few, steps=40)
    assert looked_at(few) == {10, 30}
    record, _, _ = trained(few, tasks)
    columns = record["inner_loop"]
    assert tuple(columns) == NOTED
    assert columns["step"] == [10, 30]
    assert json.loads(json.dumps(columns)) == columns
    for i, step in enumerate(columns["step"]):
        assert columns["query_after"][i] == pytest.approx(record["losses"][step])
        assert columns["norm"][i] == pytest.approx(record["norms"][step])
        assert columns["query_before"][i] != columns["query_after"][i]
        assert -1 <= columns["cosine"][i] <= 1 and columns["cosine"][i] != 0
        assert columns["moved"][i] > 0 and columns["support_norm"][i] > 0
        assert 0 < columns["second_order"][i] < 10
    words = in_words(record)
    assert "second order is" in words and "2 outer steps" in words
    assert "\n" not in words and len(words) < 400


def test_looking_changes_nothing(few, tasks):
    few = replace(few, steps=3)
    (seen, _, end), (unseen, _, other) = (
        trained(replace(few, looks=looks), tasks) for looks in (3, 0)
    )
    assert len(seen["inner_loop"]["step"]) == 1 and unseen["inner_loop"] == {}
    assert seen["losses"] == unseen["losses"]
    assert all(torch.equal(p, other[name]) for name, p in end.items())
    assert in_words(unseen) == ""


@pytest.mark.parametrize(
    "changes, zero",
    [
        (dict(method="fomaml"), "second_order"),
        (dict(inner_lr=0), "moved"),
        (dict(inner_lr=0, moments="fresh", method="fomaml"), "second_order"),
    ],
)
def test_what_an_inner_loop_does_not_do_is_zero(few, tasks, changes, zero):
    record, _, _ = trained(replace(few, steps=2, **changes), tasks)
    columns = record["inner_loop"]
    assert columns[zero] == [0.0] * len(columns["step"])
    if "inner_lr" in changes:
        assert columns["query_after"] == pytest.approx(columns["query_before"])


@pytest.mark.parametrize("method", ["metaicl", "metaict", "multi-task", "reptile"])
def test_methods_without_such_a_loop_have_nothing_to_say(few, method):
    assert looked_at(replace(few, method=method)) == frozenset()


def test_the_meta_gradient_alone_moves_a_plain_run(few, tasks):
    """SGD goes exactly down the meta-gradient: cosine 1."""
    plain = replace(few, optimizer="sgd", moments="fresh", steps=2, lr=0.1)
    record, _, _ = trained(plain, tasks)
    assert record["inner_loop"]["cosine"] == pytest.approx([1.0])


def test_looks_are_spread_over_a_run_and_few(few):
    assert looked_at(replace(few, steps=1)) == {0}
    assert looked_at(replace(few, steps=320)) == {20, 60, 100, 140, 180, 220, 260, 300}
    assert len(looked_at(replace(few, steps=10**6))) == 8
    assert len(looked_at(replace(few, steps=40, looks=100))) == 2
    assert not looked_at(replace(few, looks=0)) and not looked_at(
        replace(few, inner_steps=0)
    )


@pytest.mark.parametrize("join", ["mean", "mean-gradient"])
@pytest.mark.parametrize("moments", ["shared", "second"])
def test_every_switch_trains(few, tasks, join, moments):
    record, _, _ = trained(replace(few, steps=2, join=join, moments=moments), tasks)
    assert all(loss is not None for loss in record["losses"])
