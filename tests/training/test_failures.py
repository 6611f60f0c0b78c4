"""What is not finite: how many steps are skipped, what is said, what is kept."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from helpers import CharTokenizer, small_model

from maml_en_llm import (
    Adam,
    MAMLenLLM,
    PromptLoss,
    TrainConfig,
    load_model,
    meta_train,
    train,
)
from maml_en_llm.optimizers.eight_bit import Adam8Bit
from maml_en_llm.training.failures import warn_if_hidden
from maml_en_llm.training.run import Sitting

METHODS = pytest.mark.parametrize(
    "method", ["metaicl", "multi-task", "maml-en-llm", "fomaml", "reptile"]
)


@METHODS
def test_a_rate_too_high_is_said_and_the_good_weights_are_kept(
    config, tmp_path, method
):
    high = replace(config, method=method, optimizer="sgd", lr=1e34, clip=1e34)
    message = (
        r"step 1: expected a finite loss and gradient, found loss nan .* on tasks "
        r"[ab], [ab]; lower lr \(task [ab], \w+ batch( 1)?, prompt 1: nan\); the last "
        r"good weights are in .*/run.checkpoint/last-good"
    )
    with pytest.raises(FloatingPointError, match=message):
        train(high, output=tmp_path / "run")
    kept, _ = load_model(tmp_path / "run.checkpoint" / "last-good")
    start, _ = load_model(config.model, seed=config.seed)
    for p, q in zip(kept.parameters(), start.parameters(), strict=True):
        assert torch.equal(p, q)  # those after step 0 gave no finite loss


def test_a_run_that_diverges_leaves_the_model_as_it_was(config, tasks):
    model = small_model(dtype=torch.float32)
    high = replace(config, optimizer="sgd", lr=1e34, clip=1e34)
    with pytest.raises(FloatingPointError):
        meta_train(model, CharTokenizer(), tasks, high)
    for p, q in zip(
        model.parameters(), small_model(dtype=torch.float32).parameters(), strict=True
    ):
        assert torch.equal(p, q)


def test_an_inner_rate_too_high_is_said(config, tasks):
    high = replace(config, optimizer="sgd", inner_lr=1e34)
    message = r"step 0: .*lower inner_lr \(all losses are finite before the inner steps"
    with pytest.raises(FloatingPointError, match=message):
        meta_train(small_model(dtype=torch.float32), CharTokenizer(), tasks, high)


def test_a_root_without_a_slope_is_said(config, tasks):
    """Of words that no prompt has the second moment is 0."""
    flat = replace(config, optimizer="adam", eps_root=0.0)
    model = small_model(dtype=torch.float32)
    with pytest.raises(FloatingPointError, match="step 0: .* eps_root=1e-12 .all"):
        meta_train(model, CharTokenizer(), tasks, flat)
    meta_train(model, CharTokenizer(), tasks, replace(flat, eps_root=1e-12))


def test_damaged_weights_are_said_before_the_first_step(config, tasks):
    model, steps = small_model(), []
    name = "transformer.h.1.mlp.c_fc.weight"
    with torch.no_grad():
        model.get_parameter(name)[0, :2] = float("nan")
    message = (
        "model: expected finite weights before the first step, found 2 of 4096 in "
        f"{name} .* damaged"
    )
    with pytest.raises(FloatingPointError, match=message):
        meta_train(
            model, CharTokenizer(), tasks, config, progress=lambda *a: steps.append(a)
        )
    assert not steps


def test_a_safety_term_larger_than_the_gradient_is_said(config, tasks):
    """Of norm 1e-3 over some thousand parameters, entries are about 1e-5."""
    small = replace(config, steps=1, clip=1e-3)
    with pytest.warns(UserWarning, match=r"eps_root: 1e-08 shortens .* eps_root=1e-12"):
        meta_train(small_model(), CharTokenizer(), tasks, small)
    for told in (dict(eps_root=1e-12), dict(clip=1.0), dict(optimizer="sgd")):
        other = replace(small, **told)
        meta_train(small_model(), CharTokenizer(), tasks, other)  # warnings are errors


def test_a_safety_term_is_that_of_the_wrapped_optimizer():
    """Moments in 8 bits have no term of their own."""
    params = {"x": torch.zeros(10**6)}
    for optimizer in (Adam(1e-3), Adam8Bit(1e-3)):
        with pytest.warns(UserWarning, match="eps_root: 1e-08 shortens"):
            warn_if_hidden(params, 1e-3, optimizer)


def test_half_precision_is_said(config, tasks):
    model = small_model(dtype=torch.bfloat16)
    with torch.no_grad():
        model.transformer.ln_f.weight.fill_(3e38)
    changes = dict(method="metaicl", optimizer="sgd", dtype="bfloat16")
    with pytest.raises(FloatingPointError, match="bfloat16 .* dtype='float32'"):
        meta_train(model, CharTokenizer(), tasks, replace(config, **changes))


def test_weights_after_the_last_step_are_checked(config, tasks):
    model = small_model(dtype=torch.float32)
    high = replace(config, steps=1, method="metaicl", lr=1e34, clip=1e34)
    high = replace(high, optimizer="sgd")
    with torch.no_grad():  # large gradients
        model.transformer.ln_f.weight.fill_(1e7)
    with pytest.raises(FloatingPointError, match="step 1: expected finite weights aft"):
        meta_train(model, CharTokenizer(), tasks, high)
    assert all(p.isfinite().all() for p in model.parameters())


def failing_at(monkeypatch, *steps):
    """Let the gradient of some outer steps not be finite."""
    whole, calls = MAMLenLLM.gradient, []

    def gradient(self, *arguments):
        calls.append(1)
        found = whole(self, *arguments)
        return replace(found, loss=float("nan")) if len(calls) - 1 in steps else found

    monkeypatch.setattr(MAMLenLLM, "gradient", gradient)


def test_steps_can_be_skipped(config, tasks, monkeypatch):
    plain = meta_train(small_model(), CharTokenizer(), tasks, config)
    failing_at(monkeypatch, 1, 2)
    told = []
    record = meta_train(
        small_model(),
        CharTokenizer(),
        tasks,
        replace(config, skip_steps=2),
        progress=lambda step, row: told.append(row["loss"]),
    )
    assert record["skipped"] == [1, 2] and record["losses"] == told
    assert record["losses"][1:3] == record["norms"][1:3] == [None, None]
    assert record["losses"][0] == plain["losses"][0]
    assert record["losses"][3] not in (None, plain["losses"][3])
    assert record["budget"] == plain["budget"]  # they were computed all the same


def test_one_step_more_than_may_be_skipped(config, tasks, monkeypatch):
    failing_at(monkeypatch, 0, 2)
    with pytest.raises(FloatingPointError, match="step 2: expected a finite loss"):
        meta_train(small_model(), CharTokenizer(), tasks, replace(config, skip_steps=1))


def test_the_prompt_is_named(config, tasks, monkeypatch):
    model, whole = small_model(), PromptLoss.__call__
    bad = CharTokenizer.words["7"]

    def loss(self, params, batch):
        value = whole(self, params, batch)
        has = (batch.input_ids[..., -20:] == bad).flatten(1).any(-1).any()
        return value * float("nan") if has else value

    monkeypatch.setattr(PromptLoss, "__call__", loss)
    long = TrainConfig(**{**vars(config), "steps": 50, "method": "metaicl"})
    with pytest.raises(
        FloatingPointError, match=r"task [ab], query batch, prompt [12]"
    ):
        meta_train(model, CharTokenizer(), tasks, long)


@pytest.mark.parametrize("saved", [None, 20])
def test_only_the_first_process_says_how_to_go_on(config, saved):
    """The others write no checkpoint, and know of none."""
    told = {}
    for first in (True, False):
        folder = SimpleNamespace(output="x", complete=False, first=first, saved=saved)
        sitting = Sitting(config, cast(Any, folder))
        told[first] = str(sitting.interrupted(KeyboardInterrupt()))
    assert told[True].endswith("from step 20" if saved else "begins again")
    assert told[False].endswith("; the first process says how to go on")
