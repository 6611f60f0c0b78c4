"""Adaptation: gradient steps on demonstrations, each predicted from the others."""

import math
import threading
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import SHOWN, CharTokenizer, small_model
from peft import LoHaConfig, LoraConfig, OFTConfig
from torch.nn import DataParallel

from maml_en_llm import (
    SGD,
    Adam,
    Adaptation,
    DataError,
    Example,
    Format,
    PromptEncoder,
    PromptLoss,
    evaluate,
    load_benchmark,
    load_model,
    parameters,
    score_options,
)
from maml_en_llm.evaluation.adaptation import leave_one_out, steps_on
from maml_en_llm.evaluation.adapted import evaluate_adapted
from maml_en_llm.evaluation.scoring import ScoresNotFinite
from maml_en_llm.meta.calculus import loss_and_grad

FORMAT = Format(max_length=512)


@pytest.fixture(scope="module")
def tiny():
    return load_model("tiny-base", dtype=torch.float64)


@pytest.fixture(scope="module")
def bench():
    return load_benchmark(
        "minicrossfit",
        "hr_to_lr",
        seeds=[13],
        tasks=["size-sea", "order-space", "topic-sea"],
    )


def test_every_demonstration_is_predicted_from_the_others(tiny):
    _, words = tiny
    shots = [
        Example("red dog", "alpha"),
        Example("blue cat", "beta"),
        Example("pink owl", "gamma"),
    ]
    batch = leave_one_out(PromptEncoder(words, FORMAT), shots)
    text = [
        words.decode(row[mask.bool()])
        for row, mask in zip(batch.input_ids, batch.attention_mask, strict=True)
    ]
    one, two = (
        a.replace("|", "\n").replace("/", "\n\n\n")
        for a in (
            "blue cat | beta / pink owl | gamma / red dog | alpha",
            "red dog | alpha / pink owl | gamma / blue cat | beta",
        )
    )
    assert text[:2] == [one, two]
    targets = [
        words.decode(row[mask])
        for row, mask in zip(batch.input_ids, batch.loss_mask, strict=True)
    ]
    assert targets == ["\n alpha", "\n beta", "\n gamma"]
    alone = leave_one_out(PromptEncoder(words, FORMAT), shots, alone=True)
    assert [words.decode(row) for row in alone.input_ids] == [
        "red dog \n alpha",
        "blue cat \n beta",
        "pink owl \n gamma",
    ]


def test_steps_are_the_optimizers_own(tiny, bench):
    model, words = tiny
    shots = bench.test[0].few_shot(13, 8)
    batch, loss, theta = (
        leave_one_out(PromptEncoder(words, FORMAT), shots),
        PromptLoss(model),
        parameters(model),
    )
    before = {name: p.clone() for name, p in theta.items()}
    adapted = parameters(
        Adaptation(steps=2, optimizer=SGD(0.01))(model, words, shots, FORMAT)
    )
    once = {
        n: theta[n] - 0.01 * g for n, g in loss_and_grad(loss, theta, batch)[1].items()
    }
    twice = {
        n: once[n] - 0.01 * g for n, g in loss_and_grad(loss, once, batch)[1].items()
    }
    torch.testing.assert_close(adapted, twice)
    torch.testing.assert_close(parameters(model), before, rtol=0, atol=0)


def test_an_instruction_is_part_of_what_is_adapted_to(tiny):
    _, words = tiny
    shots = [Example("red dog", "alpha"), Example("blue cat", "beta")]
    told = leave_one_out(
        PromptEncoder(words, FORMAT), shots, instruction="decide by colour"
    )
    assert all(
        words.decode(row).startswith("decide by colour \n\n\n")
        for row in told.input_ids
    )


def test_no_step_changes_no_score(tiny, bench):
    model, words = tiny
    how = dict(seeds=[13], max_length=512, max_records=24)
    plain = evaluate(model, words, bench, **how)
    assert (
        evaluate(
            model, words, bench, adapt=Adaptation(steps=0, optimizer=SGD(0.1)), **how
        )["tasks"]
        == plain["tasks"]
    )
    moved = evaluate(
        model, words, bench, adapt=Adaptation(steps=8, optimizer=Adam(3e-3)), **how
    )
    assert moved["tasks"] != plain["tasks"] and "steps=8" in moved["protocol"]["adapt"]
    without = evaluate(
        model, words, bench, k=0, adapt=Adaptation(steps=8, optimizer=Adam(3e-3)), **how
    )
    assert (
        without["mean"] > evaluate(model, words, bench, k=0, **how)["mean"]
    )  # it learned from what is not in the prompt


@pytest.mark.parametrize(("there", "taken"), [(1, 1), (4, 4), (16, 16), (20, 16)])
def test_without_a_prompt_a_model_is_adapted_to_what_a_task_has(
    tiny, bench, there, taken
):
    model, words = tiny
    task = bench.test[0]
    shots = (*task.few_shot(13, 16), *task.test[-4:])[:there]
    few = replace(bench, test=(replace(task, demonstrations={13: shots}),))
    how: dict[str, Any] = dict(k=0, seeds=[13], max_records=4, max_length=512)
    adapt = Adaptation(steps=1, optimizer=Adam(3e-3))
    adapted = adapt(model, words, shots[:taken], FORMAT, alone=True)
    expected = evaluate(adapted, words, few, **how)["tasks"]
    assert evaluate(model, words, few, adapt=adapt, **how)["tasks"] == expected
    curve = evaluate_adapted(
        model, words, few, optimizer=adapt.optimizer, steps=[1], **how
    )
    assert curve[1]["tasks"] == expected


NONE_THERE = [
    ({}, "seed: task 'size-sea' has no demonstrations for seed 13; it has none"),
    ({100: SHOWN}, "seed: task 'size-sea' has no .* for seed 13; it has 100"),
    ({13: ()}, "1 asked of task 'size-sea', seed 13, which has 0"),
]


@pytest.mark.parametrize(("found", "message"), NONE_THERE)
def test_without_demonstrations_nothing_is_adapted_to(tiny, bench, found, message):
    few = replace(bench, test=(replace(bench.test[0], demonstrations=found),))
    adapt = Adaptation(steps=1, optimizer=SGD(0.1))
    with pytest.raises(DataError, match=message):
        evaluate(*tiny, few, k=0, seeds=[13], adapt=adapt)


def test_frozen_parameters_stay(tiny, bench):
    model, words = tiny
    frozen, *moving = [name for name, _ in model.named_parameters()]
    part = deepcopy(model)
    part.get_parameter(frozen).requires_grad_(False)
    shots = bench.test[0].few_shot(13, 4)
    adapted = Adaptation(steps=1, optimizer=SGD(0.1))(part, words, shots, FORMAT)
    assert torch.equal(adapted.get_parameter(frozen), model.get_parameter(frozen))
    assert any(
        not torch.equal(adapted.get_parameter(n), model.get_parameter(n))
        for n in moving
    )


def test_a_prompt_beyond_the_models_positions_is_refused():
    model, words = small_model("gpt2"), CharTokenizer()
    shots = [Example("x" * 200, "yes"), Example("y" * 200, "no")] * 4
    fmt = Format(max_length=2000)
    message = "max_length: expected prompts of at most 1024 tokens, .* lower max_length"
    with pytest.raises(ValueError, match=message):
        Adaptation(steps=1, optimizer=SGD(0.1))(model, words, shots, fmt)


BAD = {
    "negative": (dict(steps=-1), "steps: expected a whole number of at least 0"),
    "half a step": (dict(steps=0.5), "steps: expected a whole number"),
    "text": (dict(steps="4"), "steps: expected a whole number"),
    "truth": (dict(steps=True), "steps: expected a whole number"),
    "without an end": (dict(steps=10**20), "steps: .* at most 100000"),
    "no optimizer": (dict(optimizer=None), "optimizer: expected an optimizer such as"),
    "a name": (dict(optimizer="adam"), "optimizer: .* found 'adam'"),
    "a rate": (dict(optimizer=1e-3), "optimizer: .* found 0.001"),
    "a class": (dict(optimizer=Adam), "optimizer: .* found <class"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_bad_input(changes, message):
    with pytest.raises(ValueError, match=message):
        Adaptation(**dict(steps=1, optimizer=SGD(0.1)) | changes)


NO_CALLS: dict[str, dict[str, Any]] = {
    "model: expected a causal language model .* found None": dict(model=None),
    "model: expected a causal .* found 'tiny-base'": dict(model="tiny-base"),
    "found a DataParallel; take its .module": dict(model=DataParallel(small_model())),
    "fmt: expected a Format": dict(fmt=None),
    "demonstrations: expected a list of Example, found 'abc'": dict(shots="abc"),
    r"demonstrations\[0\]: expected an Example, found 1": dict(shots=[1]),
    "alone: expected True or False, found 'no'": dict(alone="no"),
}


@pytest.mark.parametrize("message", NO_CALLS)
def test_what_cannot_be_adapted_to_is_named(tiny, message):
    usual: dict[str, Any] = dict(model=tiny[0], shots=SHOWN, fmt=FORMAT, alone=False)
    given = usual | NO_CALLS[message]
    for steps in (0, 1):
        adapt = Adaptation(steps=steps, optimizer=SGD(0.1))
        if not steps and not ({"model", "alone"} & NO_CALLS[message].keys()):
            continue  # not read
        with pytest.raises(ValueError, match=message):
            adapt(
                given["model"],
                tiny[1],
                given["shots"],
                given["fmt"],
                alone=given["alone"],
            )


def test_demonstrations_may_come_one_by_one(tiny):
    encoder = PromptEncoder(tiny[1], FORMAT)
    one, other = (leave_one_out(encoder, made(SHOWN)) for made in (iter, list))
    assert torch.equal(one.input_ids, other.input_ids)


def test_nothing_to_adapt_to(tiny):
    model, words = tiny
    with pytest.raises(ValueError, match="demonstrations: expected at least one to"):
        Adaptation(steps=1, optimizer=SGD(0.1))(model, words, [], FORMAT)


def _frozen(model):
    return model.requires_grad_(False)


def _with_dropout(config):
    def added(model):
        model.add_adapter(config)
        assert not model.training  # but the adapters are
        return model

    return added


def _locked(model):
    model.lock = threading.Lock()
    return model


ON = {"target_modules": ["q_proj"]}
DROPOUT = (
    "model: expected one without dropout or .*{} = 0.5 and 1 more in training mode"
)
NO_COPY = "model: expected one that copy.deepcopy can copy, .*{}.*remove_weight_norm"
UNFIT = {  # what is done to a model, the message, whether it can still be scored
    "a lock": (_locked, NO_COPY.format("TypeError: cannot pickle"), True),
    "no parameter to move": (
        _frozen,
        "model: expected parameters that require grad .* is_trainable=True",
        True,
    ),
    "dropout of adapters": (
        _with_dropout(LoraConfig(r=2, lora_dropout=0.5, **ON)),
        DROPOUT.format("lora_dropout.default.p"),
        False,
    ),
    "dropout of ranks": (
        _with_dropout(LoHaConfig(r=2, rank_dropout=0.5, **ON)),
        DROPOUT.format("rank_dropout.default"),
        False,
    ),
    "dropout of blocks": (
        _with_dropout(OFTConfig(oft_block_size=8, module_dropout=0.5, **ON)),
        DROPOUT.format("oft_dropout.default.p"),
        False,
    ),
}


@pytest.mark.parametrize(("spoil", "message", "scored"), UNFIT.values(), ids=UNFIT)
def test_a_model_that_cannot_be_adapted_is_refused_at_once(
    bench, spoil, message, scored, recwarn
):
    model, words = spoil(small_model("llama")), CharTokenizer()
    shots = bench.test[0].few_shot(13, 4)
    adapt, how = Adaptation(steps=1, optimizer=SGD(0.1)), dict(k=4, seeds=[13])
    with pytest.raises(ValueError, match=message):
        adapt(model, words, shots, FORMAT)
    with pytest.raises(ValueError, match=message):
        evaluate(model, words, bench, adapt=adapt, **how)
    with pytest.raises(ValueError, match=message):
        evaluate_adapted(model, words, bench, optimizer=SGD(0.1), steps=[0, 1], **how)
    assert not [w for w in recwarn if "is left out" in str(w.message)]
    if scored:
        assert score_options(model, words, shots, bench.test[0].test[:1])
        return
    with pytest.raises(ValueError, match=message):
        score_options(model, words, shots, bench.test[0].test[:1])
    model.eval()
    assert score_options(model, words, shots, bench.test[0].test[:1])


def test_a_huge_rate_is_named(bench):
    model, words = small_model("llama"), CharTokenizer()
    how = dict(k=4, seeds=[13], max_records=1)
    huge = SGD(1e30)
    message = r"queries\[0\]: .* after adaptation \(1 × SGD\(lr=1e\+30\)\); lower the"
    with (
        pytest.raises(ScoresNotFinite, match=message),
        pytest.warns(UserWarning, match=message),
    ):
        evaluate(model, words, bench, adapt=Adaptation(steps=1, optimizer=huge), **how)
    with (
        pytest.raises(ScoresNotFinite, match=message),
        pytest.warns(UserWarning, match=message),
    ):
        evaluate_adapted(model, words, bench, optimizer=huge, steps=[0, 1], **how)


def test_steps_that_break_a_task_spoil_no_others(bench, monkeypatch):
    """Only the records of the broken steps leave it out, after one way through them."""
    model, words = small_model("llama"), CharTokenizer()
    ways, broken = [], bench.test[0].few_shot(13, 4)

    def steps(adapted, batch, optimizer, count):
        ways.append(count)
        for step in steps_on(adapted, batch, optimizer, count):
            if step == 2 and batch.input_ids.equal(spoilt.input_ids):
                for parameter in adapted.parameters():
                    parameter.data.fill_(math.nan)
            yield step

    spoilt = leave_one_out(PromptEncoder(words, FORMAT), broken)
    monkeypatch.setattr("maml_en_llm.evaluation.adapted.steps_on", steps)
    how: dict[str, Any] = dict(k=4, seeds=[13], max_records=1, max_length=512)
    rule = SGD(1e-3)
    with pytest.warns(UserWarning, match=r"is left out: .* adaptation \(2 × SGD"):
        found = evaluate_adapted(
            model, words, bench, optimizer=rule, steps=[0, 1, 2], **how
        )
    assert ways == [2] * len(bench.test)
    name = bench.test[0].name
    assert [list(found[j]["failed"]) for j in (0, 1, 2)] == [[], [], [name]]
    once = evaluate(
        model, words, bench, adapt=Adaptation(steps=1, optimizer=rule), **how
    )
    assert found[1]["tasks"] == once["tasks"]
