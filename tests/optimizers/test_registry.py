"""Optimizers by name, a rate per update, and types that an update can be made in."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import OPTIMIZERS as ALL
from helpers import name

from maml_en_llm import SGD, Adam, AdamW, Lion, RMSprop, meta_gradient
from maml_en_llm.optimizers import (
    OPTIMIZERS,
    Adam8Bit,
    EightBit,
    Frozen,
    NAdam,
    fields_of,
    make_optimizer,
)
from maml_en_llm.optimizers.nadam import look_ahead, momentum

DIVIDE = [Adam, AdamW, NAdam, RMSprop, Lion]


@pytest.mark.parametrize("word", OPTIMIZERS)
def test_each_name_makes_its_optimizer(word):
    optimizer = make_optimizer(word, 0.5)
    assert type(optimizer) is OPTIMIZERS[word]
    assert fields_of(word)[0] == "lr"
    inside = optimizer.optimizer if word == "adam-8bit" else optimizer
    assert inside.lr == 0.5
    assert all(hasattr(inside, field) for field in fields_of(word))


def test_fields_and_values_arrive():
    found = make_optimizer("adamw", 0.1, betas=[0.5, 0.6], weight_decay=0.2)
    assert found == AdamW(0.1, (0.5, 0.6), weight_decay=0.2)
    assert make_optimizer("adam-8bit", 0.1, eps=1e-3) == Adam8Bit(0.1, eps=1e-3)
    assert make_optimizer("adam-8bit", 0.1).optimizer == Adam(0.1)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: make_optimizer("adm", 0.1), "optimizer: .*'adm'; nearest: adam"),
        (lambda: fields_of(None), "optimizer: .* found None"),
        (lambda: make_optimizer("sgd", 0.1, betas=(0, 0)), "field of sgd: .*'betas'"),
        (lambda: make_optimizer("adam", 0.1, epz=1), "nearest: eps"),
        (lambda: make_optimizer("adam", "0.1"), "lr: .* found '0.1'"),
        (lambda: make_optimizer("adam-8bit", -1), "lr: .* found -1"),
    ],
)
def test_what_a_name_does_not_take_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_numbers_of_other_libraries_and_lists_are_taken():
    found = Adam(np.float32(0.5), betas=[np.float64(0.5), 0])
    assert found == Adam(0.5, (0.5, 0.0)) and type(found.lr) is float
    assert type(found.betas) is tuple and hash(found)


def steps(optimizer, rates):
    params = {"x": torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)}
    state = optimizer.init(params)
    for lr in rates:
        grads = {"x": params["x"].sin()}
        params, state = optimizer.update(grads, state, params, lr=lr)
    return params, state


@pytest.mark.parametrize("wrap", [lambda o: o, Frozen, EightBit])
@pytest.mark.parametrize("optimizer", ALL, ids=name)
def test_a_rate_per_update_is_that_of_an_optimizer_with_it(optimizer, wrap):
    found, _ = steps(wrap(optimizer), [0.3, None])
    params = {"x": torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)}
    other, own = wrap(replace(optimizer, lr=0.3)), wrap(optimizer)
    state = own.init(params)
    for one in (other, own):
        params, state = one.update({"x": params["x"].sin()}, state, params)
    assert torch.equal(found["x"], params["x"])
    with pytest.raises(ValueError, match="lr: .* found -1"):
        steps(wrap(optimizer), [-1])


def test_the_schedule_of_nadam():
    assert momentum(0.9, 4e-3, 0) == pytest.approx(0.45)
    assert momentum(0.9, 4e-3, 10**6) == pytest.approx(0.9)
    one, two = momentum(0.9, 4e-3, 1), momentum(0.9, 4e-3, 2)
    assert look_ahead(0.9, 4e-3, 1) == pytest.approx((1, two / (1 - one * two)))
    # Far on, the product of all rates is nothing, and need not be multiplied out.
    far = (1 - momentum(0.9, 4e-3, 10**5)), momentum(0.9, 4e-3, 10**5 + 1)
    assert look_ahead(0.9, 4e-3, 10**5) == pytest.approx(far, rel=1e-15)


def quadratic(params, batch):
    return (params["x"] ** 2).sum()


@pytest.mark.parametrize("kind", DIVIDE, ids=lambda kind: kind.__name__)
def test_a_term_that_half_precision_rounds_to_nothing_is_refused(kind):
    params = {"x": torch.ones(3, dtype=torch.float16), "unused": torch.ones(2).half()}
    term = "eps_root" if kind is Lion else "eps"
    message = f"{term}: .* torch.float16 can hold, found 1e-08.*; keep .* float32"
    for optimizer in (kind(0.1), Frozen(kind(0.1))):
        with pytest.raises(ValueError, match=message):
            optimizer.init(params)
        fine = optimizer.init({n: p.float() for n, p in params.items()})
        with pytest.raises(ValueError, match=message):
            optimizer.update(params, fine, params)
        for state in (None, fine):
            how = dict(mode="first_order", state=state)
            with pytest.raises(ValueError, match=message):
                meta_gradient(quadratic, params, [0], 0, optimizer, **how)


@pytest.mark.parametrize("kind", DIVIDE, ids=lambda kind: kind.__name__)
def test_a_term_that_half_precision_holds_is_finite(kind):
    """Also where a gradient has always been zero, and in the derivative."""
    terms = dict(eps_root=0.5) if kind is Lion else dict(eps_root=0.5, eps=0.5)
    step = kind(0.1, **terms)
    params = {"x": torch.ones(3).half(), "unused": torch.ones(2).half()}
    found = meta_gradient(quadratic, params, [0, 0], 0, step, mode="first_order")
    grads = {"x": 2 * params["x"], "unused": torch.zeros(2).half()}
    adjoint = {n: torch.ones_like(p) for n, p in params.items()}
    to_grads, _ = step.pull_back_(grads, step.init(params), params, adjoint, None)
    for tensors in (found.adapted, found.grads, to_grads, adjoint):
        assert all(t.isfinite().all() for t in tensors.values())


@pytest.mark.parametrize("kind", DIVIDE, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_default_terms_fit_the_other_types(kind, dtype):
    params = {"x": torch.zeros(3, dtype=dtype)}
    moved, _ = kind(0.1).update(params, kind(0.1).init(params), params)
    assert torch.equal(moved["x"], params["x"])


@pytest.mark.parametrize("optimizer", [*ALL, Frozen(SGD(0.1))], ids=name)
@pytest.mark.parametrize("dtype", [torch.int32, torch.complex64, torch.bool])
def test_types_without_a_gradient_are_refused(optimizer, dtype):
    params = {"x": torch.ones(3).to(dtype)}
    message = f"floating-point tensors, found {dtype} for 'x'"
    with pytest.raises(ValueError, match=message):
        optimizer.init(params)
    real = {"x": torch.ones(3)}
    state = optimizer.init(real)
    for grads, values in ((params, real), (real, params)):
        with pytest.raises(ValueError, match=message):
            optimizer.update(grads, state, values)


def test_eight_bits_keep_the_refusal():
    params = {"x": torch.ones(5000).half()}
    with pytest.raises(ValueError, match="eps: .* torch.float16"):
        make_optimizer("adam-8bit", 0.1).init(params)
