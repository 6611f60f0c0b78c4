"""States given back to the bit, and nothing kept from call to call."""

import copy
import gc

import pytest
import torch
from helpers import (
    batch_for,
    name,
    small_model,
)
from torch.profiler import ProfilerActivity, profile

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


def bytes_kept(run, calls: int) -> int:
    """Bytes that ``calls`` runs ask of PyTorch and do not give back, to the byte.

    They are counted where they are asked for, also inside a graph that nothing in
    Python names; the resident memory of a process says less: it depends on where
    malloc places things. The garbage collector is off: nothing may wait for it.
    """
    gc.collect()
    gc.disable()
    try:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            for _ in range(calls):
                run()
    finally:
        gc.enable()
    # what `seen.events()` is made of; making that takes 100 times as long
    events = seen.profiler.kineto_results.events()
    return sum(event.nbytes() for event in events if event.name() == "[memory]")


@pytest.mark.filterwarnings("ignore:Using backward")
def test_a_leak_is_seen():
    def leak():
        weight = torch.ones(1000, requires_grad=True)
        weight.exp().sum().backward(create_graph=True)  # a circle that C++ holds

    assert bytes_kept(leak, 2) >= 2 * 4000
    assert bytes_kept(lambda: torch.ones(1000).exp().sum(), 2) == 0


@pytest.mark.parametrize("attention", ["eager", "twice"])
@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_kept_from_call_to_call(mode, attention):
    model = small_model(attention=attention)
    loss, params = PromptLoss(model), parameters(model)
    support, query = [batch_for(model, seed) for seed in (1, 2)], batch_for(model, 3)
    results = []

    def call():
        return meta_gradient(loss, params, support, query, Adam(1e-3), mode=mode)

    call()  # what is made once and kept for all calls
    assert bytes_kept(call, 2) == 0  # two: a leak at every second call is one
    assert bytes_kept(lambda: results.append(call().grads), 1) >= sum(
        tensor.nbytes for tensor in params.values()
    )


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
        found = trajectory.pop()[:2]
        both = [(moved, *state[:2]) for moved, state in (found, expected)]
        torch.testing.assert_close(*both, rtol=0, atol=0)
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
