"""Optimizers: against torch.optim step by step, and as differentiable functions.

Their adjoints are written by hand.
"""

import pytest
import torch
from helpers import OPTIMIZERS as ALL
from torch.autograd import gradcheck

from maml_en_llm import SGD, Adam, AdamW, Lion, Momentum, RMSprop
from maml_en_llm import tensors as blocks
from maml_en_llm.optimizers import Clipped, Frozen, NAdam, State
from maml_en_llm.tensors import tree_map

pytestmark = pytest.mark.numeric

SHAPES = {"weight": (3, 4), "bias": (4,)}


def name(optimizer):
    return type(optimizer).__name__


def random_tensors(seed):
    source = torch.Generator().manual_seed(seed)
    return {
        n: torch.randn(s, generator=source, dtype=torch.float64)
        for n, s in SHAPES.items()
    }


def warm(optimizer):
    """Parameters and state after two steps."""
    params = random_tensors(0)
    state = optimizer.init(params)
    for seed in (1, 2):
        params, state = optimizer.update(random_tensors(seed), state, params)
    return params, state


@pytest.fixture
def in_float64():
    """torch keeps NAdam's schedule in the default type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (SGD(0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
        (Momentum(0.1, 0.8), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8)),
        (
            Adam(0.01, (0.8, 0.95), eps=1e-6, eps_root=0.0),
            lambda p: torch.optim.Adam(p, 0.01, (0.8, 0.95), 1e-6),
        ),
        (
            AdamW(0.01, eps_root=0.0, weight_decay=0.2),
            lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.2),
        ),
        (
            RMSprop(0.01, 0.9, eps_root=0.0),
            lambda p: torch.optim.RMSprop(p, 0.01, alpha=0.9),
        ),
        (
            NAdam(0.01, (0.8, 0.95), eps=1e-6, eps_root=0.0, momentum_decay=0.1),
            lambda p: torch.optim.NAdam(p, 0.01, (0.8, 0.95), 1e-6, momentum_decay=0.1),
        ),
    ],
    ids=lambda value: name(value) if not callable(value) else "",
)
def test_five_steps_equal_those_of_torch(ours, theirs, in_float64):
    start = random_tensors(0)
    params, state = start, ours.init(start)
    module = {n: p.clone().requires_grad_() for n, p in start.items()}
    reference = theirs(list(module.values()))
    for step in range(1, 6):
        grads = random_tensors(step)
        params, state = ours.update(grads, state, params)
        for n, parameter in module.items():
            parameter.grad = grads[n].clone()
        reference.step()
    for n in start:  # deltas, since a wrong small step hides behind large parameters
        torch.testing.assert_close(
            params[n] - start[n], module[n].detach() - start[n], rtol=1e-11, atol=1e-13
        )


def test_lion_is_the_sign_where_eps_root_is_small():
    lion, params, grads = (
        Lion(0.01, eps_root=1e-16),
        random_tensors(0),
        random_tensors(1),
    )
    moved, state = lion.update(grads, lion.init(params), params)
    torch.testing.assert_close(
        moved["weight"],
        params["weight"] - 0.01 * grads["weight"].sign(),
        rtol=1e-9,
        atol=1e-9,
    )
    torch.testing.assert_close(state.moments[0]["weight"], 0.01 * grads["weight"])


def weight_update(optimizer, step):
    """The update of one tensor as a function of g, θ and the moments, for autograd."""

    def update(grad, parameter, *moments):
        state = State(tuple({"weight": m} for m in moments), step)
        new, new_state = optimizer.update(
            {"weight": grad}, state, {"weight": parameter}
        )
        return (new["weight"], *(part["weight"] for part in new_state.moments))

    return update


def inputs_of(optimizer):
    params, state = warm(optimizer)
    tensors = (
        random_tensors(3)["weight"],
        params["weight"],
        *(part["weight"] for part in state.moments),
    )
    return state.step, [t.clone().requires_grad_() for t in tensors]


@pytest.mark.parametrize("optimizer", ALL, ids=name)
def test_update_is_differentiable_in_every_input(optimizer):
    step, inputs = inputs_of(optimizer)
    assert gradcheck(weight_update(optimizer, step), inputs)


@pytest.mark.parametrize("cold", [True, False], ids=["cold", "warm"])
@pytest.mark.parametrize("optimizer", ALL, ids=name)
def test_adjoint_equals_autograd_of_the_same_update(optimizer, cold):
    step, (grad, parameter, *moments) = inputs_of(optimizer)
    if cold:
        step, moments = 0, [torch.zeros_like(m).requires_grad_() for m in moments]
    outputs = weight_update(optimizer, step)(grad, parameter, *moments)
    weights = [random_tensors(10 + n)["weight"] for n in range(len(outputs))]
    expected = torch.autograd.grad(outputs, [grad, parameter, *moments], weights)

    def one(tensor):
        return {"weight": tensor.detach().clone()}

    adjoint, moments_adjoint = one(weights[0]), tuple(map(one, weights[1:]))
    state = State(tuple(map(one, moments)), step)
    to_grads, to_moments = optimizer.pull_back_(
        one(grad), state, one(parameter), adjoint, moments_adjoint
    )
    found = [
        to_grads["weight"],
        adjoint["weight"],
        *(part["weight"] for part in to_moments),
    ]
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("optimizer", ALL, ids=name)
def test_blocks_give_the_same_numbers_as_whole_tensors(optimizer, monkeypatch):
    expected, expected_state = warm(optimizer)
    monkeypatch.setattr(
        blocks, "ELEMENTS_PER_BLOCK", 5
    )  # tensors of 12 and 4 elements: several blocks, the last one shorter
    found, state = warm(optimizer)
    assert all(torch.equal(found[n], expected[n]) for n in SHAPES)
    assert all(
        torch.equal(a[n], b[n])
        for a, b in zip(state.moments, expected_state.moments, strict=True)
        for n in SHAPES
    )


@pytest.mark.parametrize("optimizer", ALL, ids=name)
def test_finite_where_a_gradient_has_always_been_zero(optimizer):
    zero = {"x": torch.zeros(2, dtype=torch.float64)}
    adjoint = {"x": torch.ones(2, dtype=torch.float64)}
    to_grads, _ = optimizer.pull_back_(zero, optimizer.init(zero), zero, adjoint, None)
    assert to_grads["x"].isfinite().all() and (to_grads["x"] < 0).all()


def test_gain_of_adam_at_a_zero_second_moment():
    zero = {"x": torch.zeros(2, dtype=torch.float64)}
    adam, adjoint = Adam(1e-3, eps_root=1e-8), {"x": torch.ones(2, dtype=torch.float64)}
    to_grads, _ = adam.pull_back_(zero, adam.init(zero), zero, adjoint, None)
    torch.testing.assert_close(
        to_grads["x"], torch.full((2,), -1e-3 / (1e-4 + 1e-8), dtype=torch.float64)
    )


@pytest.mark.parametrize("optimizer", ALL, ids=name)
def test_update_changes_nothing_in_place(optimizer):
    params, state = warm(optimizer)
    grads = random_tensors(5)
    parts = (params, grads, *state.moments)
    kept = [{n: t.clone() for n, t in part.items()} for part in parts]
    optimizer.update(grads, state, params)
    assert all(
        torch.equal(part[n], copy[n])
        for part, copy in zip(parts, kept, strict=True)
        for n in part
    )


def test_parameters_without_a_gradient_stay():
    params = random_tensors(0)
    adam = Adam(0.1)
    moved, _ = adam.update(
        {"bias": random_tensors(1)["bias"]}, adam.init({"bias": params["bias"]}), params
    )
    assert moved["weight"] is params["weight"] and not torch.equal(
        moved["bias"], params["bias"]
    )


def test_frozen_takes_the_same_step_and_keeps_the_state():
    adam = Adam(0.1)
    params, state = warm(adam)
    expected, _ = adam.update(random_tensors(2), state, params)
    found, after = Frozen(adam).update(random_tensors(2), state, params)
    assert after is state and all(torch.equal(found[n], expected[n]) for n in params)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: SGD(-0.1), "lr: expected a finite number, at least 0 .* found -0.1"),
        (lambda: Adam(float("nan")), "lr: expected a finite number.* found nan"),
        (lambda: Adam(float("inf")), "lr: expected a finite number.* found inf"),
        (lambda: Adam("0.1"), "lr: expected a finite number.* found '0.1'"),
        (lambda: Adam(True), "lr: expected a finite number.* found True"),
        (lambda: Adam(0.1, betas=(0.9, 1.0)), "betas: .* less than 1, found 1.0"),
        (lambda: Adam(0.1, betas=(0.9,)), r"betas: expected two numbers, found \(0.9,"),
        (lambda: Adam(0.1, betas="99"), "betas: expected two numbers, found '99'"),
        (lambda: Adam(0.1, betas=(0.9, None)), "betas: expected .* found None"),
        (lambda: Adam(0.1, eps_root=-1.0), "eps_root: .* at least 0 .* found -1.0"),
        (lambda: NAdam(0.1, momentum_decay=-1), "momentum_decay: .* found -1"),
        (lambda: Momentum(0.1, 1.0), "momentum: .* less than 1, found 1.0"),
        (lambda: RMSprop(0.1, alpha=[0.9]), r"alpha: .* found \[0.9\]"),
        (lambda: Lion(0.1, weight_decay=-1.0), "weight_decay: .* at least 0"),
    ],
)
def test_bad_values_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def state_of(optimizer, **shapes):
    return optimizer.init({n: torch.ones(*shape) for n, shape in shapes.items()})


@pytest.mark.parametrize("wrap", [lambda o: o, Frozen, lambda o: Clipped(o, 1.0)])
@pytest.mark.parametrize(
    "optimizer, change, message",
    [
        (SGD(0.1), {"grads": {"a": torch.ones(1)}}, r"params: .*\(1,\) for 'a'.* \(5,"),
        (Adam(0.1), {"grads": {"a": torch.ones(5, 1)}}, r"params: .*found \(5,\)"),
        (Adam(0.1), {"grads": {"ab": torch.ones(5)}}, "for 'ab'.* found none; nearest"),
        (Adam(0.1), {"state": state_of(Adam(0.1), a=(1,))}, r"state: .*found \(1,\)"),
        (Adam(0.1), {"state": state_of(Adam(0.1), b=(5,))}, "state: .*found none"),
        (Adam(0.1), {"state": state_of(SGD(0.1), a=(5,))}, "mean, variance, found Sta"),
        (SGD(0.1), {"state": state_of(Adam(0.1), a=(5,))}, "none, found mean v"),
        (RMSprop(0.1), {"state": state_of(Momentum(0.1), a=(5,))}, "found buffer"),
        (Lion(0.1), {"state": state_of(RMSprop(0.1), a=(5,))}, "mean, found variance"),
        (SGD(0.1), {"state": None}, "state: .* found None"),
    ],
)  # fmt: skip
def test_what_does_not_belong_together_is_refused(optimizer, wrap, change, message):
    params = {"a": torch.ones(5)}
    inner = wrap(optimizer)
    parts = {"grads": params, "state": inner.init(params), "params": params} | change
    with pytest.raises(ValueError, match=message) as refused:
        inner.update(**parts)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("wrap", [lambda o: o, Frozen, lambda o: Clipped(o, 1.0)])
@pytest.mark.parametrize("optimizer", ALL, ids=name)
def test_tensors_of_two_types_or_devices_are_refused(optimizer, wrap):
    """A step that took the gradient's type would round the parameters, silently."""
    inner, wide = wrap(optimizer), {"a": torch.ones(5, dtype=torch.float64)}
    narrow, none = {"a": torch.ones(5)}, {"a": torch.ones(5, device="meta")}
    state = inner.init(wide)
    cases = [
        (narrow, state, wide, "params: .*torch.float32 for 'a'.*found torch.float64"),
        (none, inner.init(none), narrow, "params: .*device meta for 'a'.*found cpu"),
    ]
    if state.moments:
        cases.append((wide, inner.init(narrow), wide, "state: .*found torch.float32"))
    for grads, before, params, message in cases:
        with pytest.raises(ValueError, match=message):
            inner.update(grads, before, params)
    assert inner.update(wide, state, wide)[0]["a"].dtype == torch.float64


def test_states_of_the_same_moments_and_those_made_by_hand_are_taken():
    params, state = warm(Adam(0.1))
    by_hand = State(state.moments, state.step)
    for other in (state, by_hand):
        for optimizer in (Adam(0.1), AdamW(0.1), NAdam(0.1)):
            assert optimizer.update(params, other, params)[1].slots == "mean variance"
    found = tree_map(torch.add, state, by_hand)  # whoever walks over both
    assert found.slots == "mean variance"


@pytest.mark.parametrize("optimizer", ALL, ids=name)
def test_the_arguments_may_be_written_over_at_the_first_step_too(optimizer):
    params, grads = random_tensors(0), random_tensors(1)
    params["weight"] = params["weight"].T.contiguous().T  # not in one piece
    state = optimizer.init(params)
    expected, _ = optimizer.update(grads, state, params)
    found, _ = optimizer.update(grads, state, params, out=(params, state))
    assert all(torch.equal(found[n], expected[n]) for n in params)
