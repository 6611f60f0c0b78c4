"""Losses as the engine asks for them, and the sweep as a reader sees it."""

import inspect

import pytest
import torch
from helpers import distance

from maml_en_llm import SGD, Adam, PromptLoss, meta_gradient, parameters
from maml_en_llm.meta import (
    DERIVATIVES,
    ByDifferences,
    FromOneGraph,
    InParts,
    Loss,
    as_loss,
    loss_and_grad,
    reverse_sweep,
    steps_for,
)


def cubic(params, batch):
    """L = batch · Σ x³"""
    return batch * (params["x"] ** 3).sum()


def start(dtype=torch.float64):
    return {"x": torch.tensor([1.0, -2.0, 0.5], dtype=dtype)}


def test_a_plain_function_becomes_a_loss_once():
    loss = as_loss(cubic)
    assert isinstance(loss, Loss) and as_loss(loss) is loss
    assert loss(start(), 2).item() == 2 * (1 - 8 + 0.125)
    assert loss.split("batch") == [(1.0, "batch")]
    assert loss.check("reverse") is None
    assert loss.faster_together(start(), []) is False


def test_a_prompt_loss_is_one_already(gpt2):
    loss = PromptLoss(gpt2)
    assert as_loss(loss) is loss


def test_a_loss_with_some_of_the_methods_keeps_them():
    class Halves:
        def __call__(self, params, batch):
            return cubic(params, batch)

        def split(self, batch):
            return [(0.5, batch), (0.5, batch)]

    loss = as_loss(Halves())
    assert loss.split(1) == [(0.5, 1), (0.5, 1)] and loss.check("reverse") is None
    found, exact = (loss_and_grad(way, start(), 1) for way in (loss, cubic))
    assert found[0] == exact[0] and torch.equal(found[1]["x"], exact[1]["x"])
    for mode in DERIVATIVES:
        found, exact = (
            meta_gradient(way, start(), [1, 1], 1, SGD(0.01), mode=mode).grads
            for way in (Halves(), cubic)
        )
        assert distance(found, exact) < 1e-14


def test_what_cannot_be_called_is_refused():
    with pytest.raises(ValueError, match="loss: expected a function .* found a float"):
        meta_gradient(0.5, start(), [], None, None)


def test_a_loss_is_asked_before_anything_is_computed():
    class Never:
        def __call__(self, params, batch):
            raise AssertionError

        def check(self, derivative):
            raise ValueError(f"not by {derivative}")

    with pytest.raises(ValueError, match="not by reverse"):
        meta_gradient(Never(), start(), [1], 1, SGD(0.1))
    with pytest.raises(ValueError, match="not by first_order"):
        meta_gradient(Never(), start(), [], 1, None)


def test_the_loop_that_is_shown_is_the_loop_that_runs(monkeypatch):
    source = inspect.getsource(reverse_sweep)
    body = source.split('"""')[2].strip().splitlines()
    assert len(body) <= 18 and not any(word in source for word in (" if ", "else"))
    ran = []

    def watched(*arguments):
        ran.append(arguments)
        return reverse_sweep(*arguments)

    monkeypatch.setattr("maml_en_llm.meta.gradient.reverse_sweep", watched)
    for mode in ("reverse", "finite_difference"):
        meta_gradient(cubic, start(), [1, 1], 1, SGD(0.01), mode=mode)
    assert len(ran) == 2


def test_the_sweep_by_hand_has_the_closed_form():
    """One step of SGD on L = Σ x³: x' = x − 3 lr x², dL(x')/dx = 3 x'² (1 − 6 lr x)."""
    params, lr, loss = start(), 0.01, as_loss(cubic)
    inner = SGD(lr)
    state = inner.init(params)
    for way in (FromOneGraph, InParts, ByDifferences):
        steps = way(loss, inner, ["x"], 1)
        value, grads, losses, adapted, after = reverse_sweep(
            loss, params, [1], 1, inner, state, steps
        )
        x = params["x"]
        moved = x - 3 * lr * x**2
        exact = {"x": 3 * moved**2 * (1 - 6 * lr * x)}
        assert distance(grads, exact) < (1e-4 if way is ByDifferences else 1e-14)
        assert losses == (x.pow(3).sum().item(),) and after.step == 1
        assert torch.equal(adapted["x"], moved)
        assert value == pytest.approx(moved.pow(3).sum().item(), rel=1e-14)


def test_which_way_looks_back(gpt2, batches):
    def way(mode, parts):
        loss = PromptLoss(gpt2, parts)
        return type(steps_for(mode, loss, batches[:2], SGD(0.1), ["x"]))

    assert way("reverse", None) is FromOneGraph
    assert way("reverse", 1) is InParts
    assert way("finite_difference", 1) is ByDifferences


@pytest.mark.parametrize("mode", DERIVATIVES)
@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.bool])
def test_types_that_have_no_gradient_are_refused(mode, dtype):
    params = {"x": torch.ones(3).to(dtype)}
    with pytest.raises(
        ValueError, match=f"params: .* floating.* found {dtype} for 'x'"
    ):
        meta_gradient(cubic, params, [1], 1, Adam(0.1), mode=mode)


def test_support_needs_an_optimiser():
    with pytest.raises(ValueError, match="inner: expected an optimiser"):
        meta_gradient(cubic, start(), [1], 1, None)


def test_a_misspelt_parameter_names_the_nearest(gpt2, batches):
    with pytest.raises(ValueError, match="nearest: transformer.ln_f.weight"):
        meta_gradient(
            PromptLoss(gpt2),
            parameters(gpt2),
            batches[:1],
            batches[3],
            SGD(0.1),
            adapt=["transformer.ln_f.wieght"],
        )
