"""Adam with moments in 8 bits: what the coding loses, what stays exact, and training with it."""

import sys
from dataclasses import replace

import pytest
import torch
from helpers import CharTokenizer, small_model
from test_train import config, tasks  # noqa: F401  (fixtures)

from maml_en_llm import SGD, Adam, meta_train
from maml_en_llm.optimizers.eight_bit import NUMBERS_PER_SCALE as BLOCK
from maml_en_llm.optimizers.eight_bit import SMALLEST, Coded, EightBit, decoded


def tensors(seed, size=2 * SMALLEST):
    source = torch.Generator().manual_seed(seed)
    return {
        "large": torch.randn(size // BLOCK, BLOCK, generator=source),
        "small": torch.randn(7, generator=source),
    }


def after(optimizer, steps=3):
    params, state = tensors(0), optimizer.init(tensors(0))
    for step in range(steps):
        params, state = optimizer.update(tensors(step + 1), state, params)
    return params, state


def test_moments_are_coded_in_a_byte_each_and_small_ones_left_alone():
    _, state = after(EightBit(Adam(1e-3)))
    for moment in state.moments:
        assert (
            isinstance(moment["large"], Coded)
            and moment["large"].levels.dtype == torch.uint8
        )
        assert moment["large"].levels.numel() == tensors(0)["large"].numel()
        assert (
            moment["large"].key.absmax.numel() == tensors(0)["large"].numel() // BLOCK
        )  # a scale a block
        assert moment["small"].dtype == torch.float32


def test_a_first_step_is_adam_and_what_is_small_stays_adam():
    coded, plain = EightBit(Adam(1e-3)), Adam(1e-3)
    assert all(
        torch.equal(a, b)
        for a, b in zip(after(coded, 1)[0].values(), after(plain, 1)[0].values())
    )
    assert torch.equal(after(coded)[0]["small"], after(plain)[0]["small"])


def test_the_coding_loses_a_hundredth_of_the_largest_of_a_block():
    states = [
        decoded(after(optimizer, 1)[1])
        for optimizer in (EightBit(Adam(1e-3)), Adam(1e-3))
    ]
    for ours, exact in zip(*(state.moments for state in states)):
        gap, size = (
            (ours["large"] - exact["large"]).abs(),
            exact["large"].abs().amax(1, keepdim=True),
        )
        assert 0 < (gap / size).max() < 0.02
        assert (gap.norm() / exact["large"].norm()) < 0.015


def test_later_steps_stay_near_adam():
    start, coded, plain = (
        tensors(0),
        after(EightBit(Adam(1e-3)), 10)[0],
        after(Adam(1e-3), 10)[0],
    )
    moved = (plain["large"] - start["large"]).norm()
    assert 0 < (coded["large"] - plain["large"]).norm() / moved < 0.05


def test_what_is_not_coded_is_decoded_to_itself():
    state = Adam(1e-3).init(tensors(0))
    assert all(
        decoded(state).moments[0][name] is t for name, t in state.moments[0].items()
    )
    assert decoded(()) == ()


def test_an_optimiser_without_moments_has_nothing_to_code():
    assert torch.equal(
        after(EightBit(SGD(0.1)))[0]["large"], after(SGD(0.1))[0]["large"]
    )


@pytest.mark.parametrize("method", ["metaicl", "maml-en-llm", "reptile"])
def test_training_follows_adam(config, tasks, method):  # noqa: F811
    losses = {}
    for optimizer in ("adam", "adam-8bit"):
        model = small_model(
            dtype=torch.float32
        )  # its embeddings are large enough to be coded
        changes = dict(
            method=method, optimizer=optimizer, lr=1e-3, inner_lr=1e-3, steps=6
        )
        losses[optimizer] = meta_train(
            model, CharTokenizer(), tasks, replace(config, **changes)
        )["losses"]
    assert (
        losses["adam"][0] == losses["adam-8bit"][0]
        and losses["adam"] != losses["adam-8bit"]
    )
    assert losses["adam-8bit"] == pytest.approx(losses["adam"], abs=0.02)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(
        ImportError,
        match="'adam-8bit' needs bitsandbytes, found none; pip install bitsandbytes",
    ):
        EightBit(Adam(1e-3))
