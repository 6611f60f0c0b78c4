"""States given back to the bit, in memory that does not grow."""

import copy
from pathlib import Path

import pytest
import torch
from helpers import (
    batch_for,
    name,
    small_model,
)
from transformers import GPT2Config

from maml_en_llm import (
    SGD,
    Adam,
    Momentum,
    PromptLoss,
    RMSprop,
    meta_gradient,
    parameters,
)
from maml_en_llm.meta import DERIVATIVES as MODES
from maml_en_llm.meta.trajectory import Trajectory, in_one_piece
from maml_en_llm.optimizers import Frozen


def highest_memory(run, calls: int) -> int:
    """Peak of this process in kB while ``run`` is called, earlier peaks forgotten."""
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(calls):
        run()
    return next(
        int(line.split()[1])
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )


@pytest.mark.parametrize("attention", ["eager", "twice"])
@pytest.mark.parametrize("mode", MODES)
def test_no_leak_over_fifty_calls(mode, attention):
    config = GPT2Config(
        vocab_size=20_000,
        n_embd=32,
        n_layer=1,
        n_head=2,
        n_positions=16,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = small_model(
        config, attention=attention
    )  # a gradient of 5 MB: one leaked every other call would be 100 MB
    loss, params = PromptLoss(model), parameters(model)
    support, query = [batch_for(model, seed) for seed in (1, 2)], batch_for(model, 3)

    def call():
        meta_gradient(loss, params, support, query, Adam(1e-3), mode=mode)

    gradient = sum(p.nbytes for p in params.values()) / 1024
    after_5 = highest_memory(call, 5)
    # malloc may place a tensor or two elsewhere from call to call
    assert highest_memory(call, 45) <= 1.02 * after_5 + 2 * gradient


@pytest.mark.parametrize(
    "optimizer",
    [SGD(0.1), Momentum(0.1), RMSprop(1e-3), Adam(1e-3), Frozen(Adam(1e-3))],
    ids=name,
)
@pytest.mark.parametrize("steps", [1, 4, 5, 9])
@pytest.mark.numeric
def test_states_are_given_back_to_the_bit(optimizer, steps):
    source = torch.Generator().manual_seed(0)
    params = {n: torch.randn(3, generator=source) for n in "ab"}
    start, state = dict(params), optimizer.init({"a": params["a"]})
    gradients = [
        {n: torch.randn(3, generator=source) for n in "ab"} for _ in range(steps)
    ]
    trajectory, states = Trajectory(optimizer, ["a"], steps, keep_grads=False), []
    for grads in gradients:
        states.append(copy.deepcopy((params, state)))
        params, state = trajectory.step(params, state, grads)
    end = copy.deepcopy((params, state))
    held = {t for t, grads in enumerate(trajectory.grads) if grads is not None}
    kept = (
        {t for t in range(steps) if t % 4 == 0 or t == steps - 1}
        if getattr(optimizer, "slots", ())
        else {*range(steps)}
    )
    assert held == {
        t for t in range(steps - 1) if t + 1 not in kept
    }  # what leads to a kept state is not needed
    for expected in reversed(states):
        torch.testing.assert_close(trajectory.pop()[:2], expected, rtol=0, atol=0)
    assert str((params, state)) == str(end)  # the end is not overwritten
    assert all(
        start[n] is states[0][0][n] or torch.equal(start[n], states[0][0][n])
        for n in "ab"
    )


def test_kept_gradients_lie_in_one_piece(monkeypatch):
    monkeypatch.setattr("maml_en_llm.meta.trajectory.LARGE", 400)
    shapes = {
        "a": (3, 4),
        "b": (),
        "c": (5,),
        "large": (10, 10),
        "d": (2, 2, 2),
        "e": (0, 3),
    }
    tensors = {
        n: torch.randn(shape, dtype=torch.float64 if n in "cd" else torch.float32)
        for n, shape in shapes.items()
    }
    tensors["a"] = tensors["a"].T
    packed = in_one_piece(tensors)
    torch.testing.assert_close(packed, tensors, rtol=0, atol=0)
    assert list(packed) == list(tensors) and packed["large"] is tensors["large"]
    places = {n: t.untyped_storage().data_ptr() for n, t in packed.items()}
    assert places["a"] == places["b"] == places["e"] != places["c"] == places["d"]
    assert not {places[n] for n in "abcde"} & {
        t.untyped_storage().data_ptr() for t in tensors.values()
    }
