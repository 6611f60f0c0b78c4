"""Optimisers: against torch.optim step by step, and as differentiable functions."""

import pytest
import torch
from torch.autograd import gradcheck

from maml_en_llm.optimizers import SGD, Adam, Frozen

SHAPES = {"weight": (3, 4), "bias": (4,)}


def random_tensors(seed):
    source = torch.Generator().manual_seed(seed)
    return {n: torch.randn(s, generator=source, dtype=torch.float64) for n, s in SHAPES.items()}


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (SGD(0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
        (Adam(0.01, (0.8, 0.95), eps=1e-6, eps_root=0.0), lambda p: torch.optim.Adam(p, 0.01, (0.8, 0.95), 1e-6)),
    ],
    ids=["SGD", "Adam"],
)
def test_five_steps_equal_those_of_torch(ours, theirs):
    start = random_tensors(0)
    params, state = start, ours.init(start)
    module = {n: p.clone().requires_grad_() for n, p in start.items()}
    reference = theirs(list(module.values()))
    for step in range(1, 6):
        grads = random_tensors(step)
        params, state = ours.update(grads, state, params)
        for name, parameter in module.items():
            parameter.grad = grads[name].clone()
        reference.step()
    for name in start:  # deltas, since a wrong small step hides behind large parameters
        torch.testing.assert_close(params[name] - start[name], module[name].detach() - start[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("optimizer", [SGD(0.1), Adam(0.01)], ids=["SGD", "Adam"])
def test_update_is_differentiable_in_every_input(optimizer):
    params, state = random_tensors(0), optimizer.init(random_tensors(0))
    params, state = optimizer.update(random_tensors(1), state, params)
    moments = [part["weight"] for part in state[:2]] if state else []

    def weight_after(grad, parameter, *moments):
        warm = state._replace(mean={"weight": moments[0]}, variance={"weight": moments[1]}) if state else ()
        new, new_state = optimizer.update({"weight": grad}, warm, {"weight": parameter})
        return (new["weight"], *(part["weight"] for part in new_state[:2]))

    inputs = [t.clone().requires_grad_() for t in (random_tensors(2)["weight"], params["weight"], *moments)]
    assert gradcheck(weight_after, inputs)


def test_adam_is_differentiable_where_the_second_moment_is_zero():
    def step(grad):
        adam = Adam(1e-3, eps_root=1e-8)
        params = {"x": torch.zeros(2, dtype=torch.float64)}
        return adam.update({"x": grad}, adam.init(params), params)[0]["x"]

    zero = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    gain = torch.autograd.functional.jacobian(step, zero).diagonal()
    torch.testing.assert_close(gain, torch.full((2,), -1e-3 / (1e-4 + 1e-8), dtype=torch.float64))


def test_update_changes_nothing_in_place():
    adam, params, grads = Adam(0.1), random_tensors(0), random_tensors(1)
    _, state = adam.update(grads, adam.init(params), params)
    kept = [{n: t.clone() for n, t in part.items()} for part in (params, grads, state.mean, state.variance)]
    adam.update(grads, state, params)
    for part, copy in zip((params, grads, state.mean, state.variance), kept):
        assert all(torch.equal(part[n], copy[n]) for n in part)


def test_frozen_takes_the_same_step_and_keeps_the_state():
    adam, params = Adam(0.1), random_tensors(0)
    _, state = adam.update(random_tensors(1), adam.init(params), params)
    expected, _ = adam.update(random_tensors(2), state, params)
    found, after = Frozen(adam).update(random_tensors(2), state, params)
    assert after is state and all(torch.equal(found[n], expected[n]) for n in params)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: SGD(-0.1), "lr: expected a number ≥ 0, found -0.1"),
        (lambda: Adam(float("nan")), "lr: expected a number ≥ 0, found nan"),
        (lambda: Adam(0.1, betas=(0.9, 1.0)), r"betas: expected two numbers in \[0, 1\)"),
        (lambda: Adam(0.1, eps_root=-1.0), "eps_root: expected a number ≥ 0"),
    ],
)
def test_bad_values_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
