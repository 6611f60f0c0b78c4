"""Hessian-vector products by finite differences."""

import pytest
import torch
from helpers import (
    SUBSETS,
    batch_for,
    distance,
    small_model,
    subset,
    warm_state,
)

from maml_en_llm import (
    SGD,
    Adam,
    Lion,
    PromptLoss,
    meta_gradient,
    parameters,
)
from maml_en_llm.meta import finite_differences, loss_and_grad
from maml_en_llm.optimizers import Frozen

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("which", SUBSETS)
@pytest.mark.parametrize("moments", ["shared", "shared-frozen", "fresh"])
@pytest.mark.parametrize("parts", [None, 1])
def test_finite_differences_of_subsets_moments_and_parts(
    gpt2, batches, monkeypatch, moments, which, parts
):
    monkeypatch.setattr("maml_en_llm.meta.finite_differences.CHANGE", 1e-6)
    loss, params, adam = PromptLoss(gpt2, parts), parameters(gpt2), Adam(1e-3)
    names = subset(params, which)
    state = (
        None
        if moments == "fresh"
        else warm_state(adam, loss, params, names, batches[2])
    )
    inner = Frozen(adam) if moments == "shared-frozen" else adam
    exact, found = (
        meta_gradient(
            loss,
            params,
            batches[:2],
            batches[3],
            inner,
            mode=mode,
            state=state,
            adapt=names,
        ).grads
        for mode in ("reverse", "finite_difference")
    )
    assert distance(found, exact) < 1e-4


def test_a_finite_difference_at_the_origin():
    def loss(p, batch):
        return ((p["w"] - 1) ** 2).sum()

    params = {"w": torch.zeros(2, dtype=torch.float64)}
    found = meta_gradient(
        loss, params, [None], None, SGD(0.1), mode="finite_difference"
    ).grads["w"]
    torch.testing.assert_close(
        found, torch.full((2,), -2 * 0.8**2, dtype=torch.float64)
    )


@pytest.mark.parametrize(
    "optimizer", [SGD(0.1), Adam(1e-3), Adam(1e-5), Lion(1e-4)], ids=repr
)
def test_a_finite_difference_approaches_the_exact_gradient(
    gpt2, batches, monkeypatch, optimizer
):
    loss, params = PromptLoss(gpt2), parameters(gpt2)
    exact, first = (
        meta_gradient(loss, params, batches[:3], batches[3], optimizer, mode=mode).grads
        for mode in ("reverse", "first_order")
    )
    errors = []
    for change in (1e-3, 1e-4, 1e-5):  # the error is of first order in the step
        monkeypatch.setattr("maml_en_llm.meta.finite_differences.CHANGE", change)
        found = meta_gradient(
            loss, params, batches[:3], batches[3], optimizer, mode="finite_difference"
        ).grads
        errors.append(distance(found, exact))
    assert errors[0] < 5e-3
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.2) and errors[1] / errors[
        2
    ] == pytest.approx(10, rel=0.2)
    assert errors[2] < 1e-3 * distance(first, exact)


def test_finite_differences_hold_where_gradients_fall_over_many_steps():
    """Each step needs a way of its own: the last gradient is a part of the first."""
    source = torch.Generator().manual_seed(0)
    x, y = torch.randn(64, 8, generator=source), torch.randn(64, 1, generator=source)
    params = {
        "a": torch.randn(8, 16, generator=source) / 3,
        "b": torch.randn(16, 1, generator=source) / 4,
    }

    def loss(p, batch):
        return ((x.to(p["a"]) @ p["a"]).tanh() @ p["b"] - y.to(p["a"])).square().mean()

    fine, steps = {n: p.double() for n, p in params.items()}, [None] * 30

    def found(params, mode):
        return meta_gradient(loss, params, steps, None, Adam(3e-2), mode=mode).grads

    exact = found(fine, "reverse")
    bent = distance(found(fine, "finite_difference"), exact)  # without rounding
    # A quotient divides the rounding of a gradient by the change that it looks at.
    plain = distance(
        loss_and_grad(loss, params, None)[1], loss_and_grad(loss, fine, None)[1]
    )
    assert distance(found(params, "finite_difference"), exact) < 4 * (
        bent + plain / finite_differences.CHANGE
    )
    assert bent < 1e-2


@pytest.mark.parametrize("optimizer", [SGD(0.1), Adam(0.05)], ids=repr)
def test_what_does_not_move_has_no_say_in_how_far_to_look(optimizer):
    """A table of norm 3e6 beside weights of norm 1."""
    source = torch.Generator().manual_seed(0)
    x, *sets = torch.randn(5, 16, 20, generator=source, dtype=torch.float64)
    params = {"w": x[:4].T / 10, "table": 1e6 * x[:1, :16]}

    def loss(p, batch):
        return ((batch @ p["w"]).tanh().sum(1) + p["table"][0] / 1e6).square().mean()

    how = params, sets[:3], sets[3], optimizer
    exact, found = (
        meta_gradient(loss, *how, mode=mode, adapt=["w"]).grads["w"]
        for mode in ("reverse", "finite_difference")
    )
    assert distance({"w": found}, {"w": exact}) < 3e-3


def test_a_guess_beyond_what_can_be_computed_is_taken_back():
    def loss(p, batch):
        return ((-1e6 * (p["w"] - 1)).exp() * 1e-6 + p["w"] ** 2).sum()

    params = {"w": torch.ones(1, dtype=torch.float64)}
    exact, found = (
        meta_gradient(loss, params, [None] * 2, None, SGD(1e-9), mode=mode).grads["w"]
        for mode in ("reverse", "finite_difference")
    )
    assert found.isfinite().all() and found.item() == pytest.approx(
        exact.item(), rel=1e-2
    )


def test_a_finite_difference_of_straight_and_of_flat_losses():
    params = {"w": torch.tensor([1.0, 2.0])}
    straight = meta_gradient(
        lambda p, b: (b * p["w"]).sum(),
        params,
        [torch.ones(2)] * 2,
        torch.ones(2),
        SGD(0.1),
        mode="finite_difference",
    )
    assert torch.equal(straight.grads["w"], torch.ones(2))
    flat = meta_gradient(
        lambda p, b: 0 * p["w"].sum(),
        params,
        [None],
        None,
        SGD(0.1),
        mode="finite_difference",
    )
    assert flat.grads["w"].tolist() == [0, 0]


def test_a_finite_difference_takes_fused_attention(gpt2, batches):
    fused = small_model(attention="sdpa").double()
    support, query = [batch_for(fused)] * 2, batch_for(fused)
    found = meta_gradient(
        PromptLoss(fused),
        parameters(fused),
        support,
        query,
        SGD(0.01),
        mode="finite_difference",
    )
    assert all(g.isfinite().all() for g in found.grads.values())
