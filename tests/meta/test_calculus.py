"""Losses as the engine asks for them, and the sweep as a reader sees it."""

import inspect

import pytest
import torch
from helpers import distance
from torch.nn.functional import dropout, embedding

from maml_en_llm import SGD, Adam, PromptLoss, meta_gradient, parameters
from maml_en_llm.meta import (
    DERIVATIVES,
    ByDifferences,
    FromOneGraph,
    InParts,
    Loss,
    as_loss,
    hessian_vector_product,
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


def rebinding(params, batch):
    """`cubic` of twice the point, by a loss that writes into what it was given."""
    params["x"] = 2 * params["x"]
    return cubic(params, batch)


@pytest.mark.parametrize("mode", DERIVATIVES)
@pytest.mark.parametrize("k", [0, 2])
def test_what_a_loss_rebinds_is_not_the_point_of_the_gradient(mode, k):
    found, exact = (
        meta_gradient(loss, start(), [1, 2][:k], 3, SGD(1e-3), mode=mode)
        for loss in (rebinding, lambda p, batch: cubic({"x": 2 * p["x"]}, batch))
    )
    assert torch.equal(found.grads["x"], exact.grads["x"])
    assert torch.equal(found.adapted["x"], exact.adapted["x"])


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


def squares(params):
    return params["x"].square()


WEIGHT = torch.nn.Parameter(torch.ones(3))  # of a module that the loss calls itself
WRONG = {
    r"found shape \(3,\); return its .mean": squares,
    r"found shape \(0,\)": lambda params: squares(params)[:0],
    r"found shape \(1, 3\)": lambda params: squares(params)[None],
    "found a tuple": lambda params: (squares(params).sum(), 1),
    "found a float": lambda params: squares(params).sum().item(),
    "found a NoneType": lambda _: None,
    "found torch.complex128": lambda params: 1j * squares(params).sum(),
    "found torch.int64": lambda params: squares(params).sum().long(),
    r"found one without a gradient; .*\.detach": lambda p: squares(p).sum().detach(),
    "depends on the parameters that move": lambda _: torch.tensor(1.0),
    "uses none of them; .*functional_call": lambda _: WEIGHT.square().sum(),
}


@pytest.mark.parametrize("mode", DERIVATIVES)
@pytest.mark.parametrize("support", [[], [1, 1]], ids=len)
@pytest.mark.parametrize(("message", "wrong"), WRONG.items(), ids=WRONG)
def test_what_is_no_loss_is_refused(message, wrong, support, mode):
    with pytest.raises(ValueError, match=f"loss: expected .*{message}") as caught:
        meta_gradient(lambda p, _: wrong(p), start(), support, 1, SGD(0.1), mode=mode)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("mode", DERIVATIVES)
@pytest.mark.parametrize("support", [[], [1, 1]], ids=len)
def test_sparse_gradients_are_refused(support, mode):
    def loss(params, batch):
        return embedding(torch.tensor([batch]), params["x"], sparse=True).sum()

    with pytest.raises(ValueError, match="dense gradients, found .*sparse.* for 'x'"):
        meta_gradient(loss, {"x": torch.ones(3, 2)}, support, 1, SGD(0.1), mode=mode)


def test_losses_of_stacked_tasks_belong_to_a_loss():
    def losses(params, batch):  # (n,)
        return batch * (params["x"] ** 3).sum(-1)

    class Stacking:
        def __call__(self, params, batch):
            return losses(params, batch)

        def faster_together(self, params, batches):
            return True

    one, batch = start(), torch.tensor([1.0, 2.0])
    many = {"x": torch.stack([one["x"], -one["x"]])}
    found = meta_gradient(Stacking(), many, [batch], batch, SGD(0.01))
    for i in range(2):
        alone = {"x": many["x"][i]}
        expected = meta_gradient(cubic, alone, [batch[i]], batch[i], SGD(0.01))
        assert found.query_loss[i] == pytest.approx(expected.query_loss, rel=1e-14)
        torch.testing.assert_close(found.grads["x"][i], expected.grads["x"])
    with pytest.raises(ValueError, match="one loss per stacked task is for a `Loss`"):
        meta_gradient(losses, many, [batch], batch, SGD(0.01))


class InTwoParts:
    """The same loss, by halves."""

    def __init__(self, function):
        self.function = function

    def __call__(self, params, batch):
        return self.function(params, batch)

    def split(self, batch):
        return [(0.5, batch), (0.5, batch)]


def dropped(params, batch):
    return batch * dropout(params["x"] ** 3, 0.5).sum()


def noisy():
    source = torch.Generator().manual_seed(0)
    return lambda p, b: cubic(p, b) * torch.rand((), generator=source)


def built(params, batch):
    """Random weights are drawn and not used."""
    torch.nn.Linear(2, 2)
    return cubic(params, batch)


@pytest.mark.parametrize(
    ("loss", "k", "mode"),
    [
        (dropped, 2, "reverse"),
        (noisy(), 2, "reverse"),
        (InTwoParts(dropped), 1, "reverse"),
        (dropped, 1, "finite_difference"),
        (dropped, 3, "finite_difference"),
    ],
)
def test_a_loss_that_draws_random_numbers_is_refused(loss, k, mode):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        with pytest.raises(ValueError, match="same function .*dropout.*'unrolled'"):
            meta_gradient(loss, start(), [1.0] * k, 1.0, SGD(0.01), mode=mode)


def test_one_call_per_batch_may_draw():
    """Reverse with one step differentiates the draw that it has made, as unrolled."""
    with torch.random.fork_rng():
        grads = []
        for mode in ("reverse", "unrolled"):
            torch.manual_seed(3)
            found = meta_gradient(dropped, start(), [1.0], 1.0, SGD(0.01), mode=mode)
            grads.append(found.grads)
            assert found.grads["x"].any()
    assert distance(*grads) < 1e-14


@pytest.mark.parametrize("mode", DERIVATIVES)
@pytest.mark.parametrize("wrap", [as_loss, InTwoParts])
def test_draws_without_effect_are_legal_and_stay_as_they_are(mode, wrap):
    with torch.random.fork_rng():
        expected = meta_gradient(
            wrap(cubic), start(), [1, 1], 1, SGD(0.01), mode=mode
        ).grads
        calls = []

        def counted(params, batch):
            calls.append(torch.is_grad_enabled())
            return built(params, batch)

        torch.manual_seed(0)
        found = meta_gradient(
            wrap(counted), start(), [1, 1], 1, SGD(0.01), mode=mode
        ).grads
        after = torch.get_rng_state()
        torch.manual_seed(0)
        for _ in range(sum(calls)):  # those of the check leave no trace
            torch.nn.Linear(2, 2)
        assert torch.equal(torch.get_rng_state(), after)
    assert torch.equal(found["x"], expected["x"])


def test_a_loss_that_is_not_a_number_is_not_called_random():
    found = meta_gradient(
        lambda p, _: p["x"].sum().log(), start(), [1, 1, 1], 1, SGD(0.1)
    )
    assert found.query_loss != found.query_loss


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


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.bool])
def test_types_that_have_no_gradient_are_refused_by_each_derivative(dtype):
    params = {"x": torch.ones(3).to(dtype)}
    message = f"params: .* floating.* found {dtype} for 'x'"
    with pytest.raises(ValueError, match=message):
        loss_and_grad(cubic, params, 1)
    with pytest.raises(ValueError, match=message):
        hessian_vector_product(cubic, params, 1, start())


@pytest.mark.parametrize("found", [torch.ones(2), torch.ones(1), 1.0, None], ids=repr)
def test_a_vector_of_another_shape_is_refused(found):
    with pytest.raises(ValueError, match=r"^vector: .* shape \(3,\) for 'x', .* found"):
        hessian_vector_product(cubic, {"x": torch.ones(3)}, 1, {"x": found})


def test_support_needs_an_optimizer():
    with pytest.raises(ValueError, match="inner: expected an optimizer"):
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
