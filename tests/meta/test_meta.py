"""The meta-gradient against closed forms, unrolling and central differences."""

import pytest
import torch
from helpers import distance
from transformers import AutoModelForCausalLM

from maml_en_llm import SGD, Adam, PromptLoss, meta_gradient, parameters
from maml_en_llm.meta import DERIVATIVES as MODES
from maml_en_llm.meta.calculus import hessian_vector_product, loss_and_grad
from maml_en_llm.optimizers import Clipped, Frozen, Momentum, Optimizer, RMSprop

pytestmark = pytest.mark.numeric

EXACT = ("reverse", "unrolled")
OPTIMIZERS = [SGD(0.1), Adam(1e-3)]
USED = 80  # token ids that occur in `batches`


def slope(loss, params, support, query, inner, direction, h=1e-6):
    """dF/dh along ``direction`` by central differences, without the O(h²) error."""

    def value(h):
        moved = {n: p + h * direction[n] for n, p in params.items()}
        return meta_gradient(
            loss, moved, support, query, inner, mode="first_order"
        ).query_loss

    def central(h):
        return (value(h) - value(-h)) / (2 * h)

    return (4 * central(h / 2) - central(h)) / 3


@pytest.mark.parametrize("mode", MODES)
def test_a_loss_may_be_one_number_in_a_row(mode):
    def shaped(*shape):
        return lambda params, batch: (params["x"] - batch).square().sum().view(shape)

    params = {"x": torch.tensor([1.0, 2.0], dtype=torch.float64)}
    batch = torch.tensor([0.5, 3.0], dtype=torch.float64)
    how = params, [batch], batch + 1, SGD(0.1)
    found = [
        meta_gradient(loss, *how, mode=mode)
        for loss in (shaped(), shaped(1), shaped(1, 1))
    ]
    assert all(one.query_loss == found[0].query_loss for one in found)
    assert all(torch.equal(one.grads["x"], found[0].grads["x"]) for one in found)


@pytest.mark.parametrize("k", [0, 1, 2, 5])
@pytest.mark.parametrize("mode", EXACT)
def test_quadratic_has_the_closed_form(mode, k):
    source = torch.Generator().manual_seed(1)
    root, centre, start = (
        torch.randn(s, generator=source, dtype=torch.float64)
        for s in ((4, 4), (4,), (4,))
    )
    query_root = torch.randn(4, 4, generator=source, dtype=torch.float64)
    curvature, query_curvature = root @ root.T, query_root @ query_root.T

    def loss(params, matrix):
        return 0.5 * (params["x"] - centre) @ matrix @ (params["x"] - centre)

    jacobian = torch.matrix_power(
        torch.eye(4, dtype=torch.float64) - 0.05 * curvature, k
    )
    found = meta_gradient(
        loss, {"x": start}, [curvature] * k, query_curvature, SGD(0.05), mode=mode
    )
    expected = jacobian @ query_curvature @ jacobian @ (start - centre)
    torch.testing.assert_close(found.grads["x"], expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        found.adapted["x"], centre + jacobian @ (start - centre), rtol=1e-12, atol=1e-12
    )
    assert len(found.inner_losses) == k


@pytest.mark.parametrize("inner", OPTIMIZERS, ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("k", [0, 1, 3])
def test_reverse_equals_unrolled_equals_central_differences(gpt2, batches, inner, k):
    loss, params, support, query = (
        PromptLoss(gpt2),
        parameters(gpt2),
        batches[:k],
        batches[3],
    )
    reverse, unrolled = (
        meta_gradient(loss, params, support, query, inner, mode=mode) for mode in EXACT
    )
    assert distance(reverse.grads, unrolled.grads) < 1e-10
    assert distance(reverse.adapted, unrolled.adapted) < 1e-12
    assert reverse.inner_losses == pytest.approx(unrolled.inner_losses, rel=1e-12)
    size = torch.stack([g.norm() for g in reverse.grads.values()]).norm().item()
    along = {n: g / size for n, g in reverse.grads.items()}
    assert slope(loss, params, support, query, inner, along) == pytest.approx(
        size, rel=1e-7
    )
    source = torch.Generator().manual_seed(2)
    random = {
        n: torch.randn(p.shape, generator=source, dtype=p.dtype) / 100
        for n, p in params.items()
    }
    expected = sum((random[n] * reverse.grads[n]).sum() for n in params).item()
    assert slope(loss, params, support, query, inner, random) == pytest.approx(
        expected, rel=1e-6, abs=1e-7 * size
    )


def test_second_order_part_is_not_negligible_here(gpt2, batches):
    # Otherwise the table above would also pass with the Hessian term dropped.
    for inner in OPTIMIZERS:
        exact, first = (
            meta_gradient(
                PromptLoss(gpt2),
                parameters(gpt2),
                batches[:3],
                batches[3],
                inner,
                mode=mode,
            ).grads
            for mode in ("reverse", "first_order")
        )
        assert distance(first, exact) > 0.1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("inner", [None, SGD(0.0), Adam(0.0)], ids=str)
def test_no_inner_step_or_rate_zero_is_the_plain_gradient_exactly(
    gpt2, batches, inner, mode
):
    loss, params = PromptLoss(gpt2), parameters(gpt2)
    value, plain = loss_and_grad(loss, params, batches[3])
    support = () if inner is None else batches[:2]
    found = meta_gradient(loss, params, support, batches[3], inner, mode=mode)
    assert found.query_loss == value
    assert all(torch.equal(found.grads[n], plain[n]) for n in params)


@pytest.mark.parametrize("mode", EXACT)
def test_unused_words_and_positions_have_finite_gradients_under_adam(
    gpt2, batches, mode
):
    grads = meta_gradient(
        PromptLoss(gpt2),
        parameters(gpt2),
        batches[:3],
        batches[3],
        Adam(1e-3),
        mode=mode,
    ).grads
    assert all(g.isfinite().all() for g in grads.values())
    longest = max(b.input_ids.shape[1] for b in batches)
    assert (grads["transformer.wpe.weight"][longest:] == 0).all()
    assert (
        grads["transformer.wte.weight"][USED:].abs().max() > 0
    )  # the softmax sees unused words too


def test_without_eps_root_they_are_not(gpt2, batches):
    inner = Adam(1e-3, eps_root=0.0)
    grads = meta_gradient(
        PromptLoss(gpt2), parameters(gpt2), batches[:1], batches[3], inner
    ).grads
    assert any(g.isnan().any() for g in grads.values())


@pytest.mark.parametrize("wrap", [lambda o: o, Frozen], ids=["advanced", "frozen"])
def test_warm_moments(gpt2, batches, wrap):
    loss, params, adam = PromptLoss(gpt2), parameters(gpt2), Adam(1e-3)
    _, state = adam.update(
        loss_and_grad(loss, params, batches[2])[1], adam.init(params), params
    )
    inner = wrap(adam)
    results = [
        meta_gradient(
            loss, params, batches[:2], batches[3], inner, mode=mode, state=state
        )
        for mode in EXACT
    ]
    assert distance(results[0].grads, results[1].grads) < 1e-10
    cold = meta_gradient(loss, params, batches[:2], batches[3], inner)
    assert distance(cold.grads, results[0].grads) > 0.01
    assert results[0].state.step == (
        state.step if isinstance(inner, Frozen) else state.step + 2
    )


def test_hessian_vector_product_of_a_cubic():
    # L = Σ x³ has the Hessian diag(6x).
    x = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    v = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    found = hessian_vector_product(
        lambda p, _: (p["x"] ** 3).sum(), {"x": x}, None, {"x": v}
    )
    torch.testing.assert_close(found["x"], 6 * x * v)


@pytest.mark.parametrize("mode", ("reverse", "unrolled", "first_order"))
@pytest.mark.parametrize("inner", OPTIMIZERS, ids=lambda o: type(o).__name__)
def test_parameters_that_a_loss_ignores_or_takes_linearly(inner, mode):
    params = {"x": torch.ones(2), "unused": torch.ones(3)}
    found = meta_gradient(
        lambda p, _: (p["x"] ** 2).sum(), params, [0, 0], 0, inner, mode=mode
    ).grads
    assert torch.equal(found["unused"], torch.zeros(3)) and found["x"].abs().min() > 0
    linear = meta_gradient(
        lambda p, _: p["x"].sum(), params, [0, 0], 0, inner, mode=mode
    ).grads
    assert torch.equal(linear["x"], torch.ones(2))


def test_weights_of_the_module_and_the_given_parameters_are_unchanged(gpt2, batches):
    before = {n: p.clone() for n, p in gpt2.state_dict().items()}
    params = {n: p.clone() + 0.01 for n, p in parameters(gpt2).items()}
    kept = {n: p.clone() for n, p in params.items()}
    for mode in MODES:
        meta_gradient(
            PromptLoss(gpt2), params, batches[:2], batches[3], Adam(1e-3), mode=mode
        )
    assert all(torch.equal(before[n], p) for n, p in gpt2.state_dict().items())
    assert all(
        torch.equal(kept[n], p) and not p.requires_grad for n, p in params.items()
    )


@pytest.mark.parametrize("mode", MODES)
def test_gradients_are_had_where_the_caller_has_switched_them_off(gpt2, batches, mode):
    args = (PromptLoss(gpt2), parameters(gpt2), batches[:2], batches[3], Adam(1e-3))
    expected = meta_gradient(*args, mode=mode)
    with torch.no_grad():
        found = meta_gradient(*args, mode=mode)
        assert not torch.is_grad_enabled()
    assert found.query_loss == expected.query_loss
    assert all(torch.equal(found.grads[n], g) for n, g in expected.grads.items())
    with torch.inference_mode(), pytest.raises(ValueError, match="inference_mode: exp"):
        meta_gradient(*args, mode=mode)


def test_products_are_had_where_gradients_are_switched_off():
    def loss(p, _):
        return (p["x"] ** 3).sum()

    x = {"x": torch.tensor([1.0, -2.0])}
    with torch.no_grad():
        value, grads = loss_and_grad(loss, x, None)
        product = hessian_vector_product(loss, x, None, x)
    assert value == -7 and grads["x"].tolist() == [3, 12]
    assert product["x"].tolist() == [6, 24]  # diag(6x) x
    for call in (loss_and_grad, hessian_vector_product):
        more = (x,) if call is hessian_vector_product else ()
        with torch.inference_mode(), pytest.raises(ValueError, match=call.__name__):
            call(loss, x, None, *more)


class NoAdjoint(Optimizer):
    lr = 0.1

    def __init__(self):
        pass

    def rule(self, t, g, p, *moments, out=(None,)):
        return (p - self.lr * g,)


class OnlyForward:
    def init(self, params):
        return None

    def update(self, grads, state, params, **how):
        return {n: p - 0.1 * grads[n] for n, p in params.items()}, state


KINDS = {
    "params: expected tensors by name, found .1": {"params": [1]},
    "params: expected one tensor or more, found none; .*is_trainable": {"params": {}},
    "support: expected a list of batches, found a NoneType": {"support": None},
    "support: expected a list of batches, found a dict": {"support": {"a": 0}},
    "support: expected a list of batches, found a Tensor": {"support": torch.ones(1)},
    "inner: expected an optimizer .*found None": {"inner": None},
    "inner: expected an optimizer .*found 'sgd'": {"inner": "sgd"},
    "inner: expected an optimizer .*SGD'>": {"inner": SGD},
    "state: expected that of the optimizer.* found 5": {"state": 5},
    r"state: expected that of the optimizer.* found \(\)": {"state": ()},
    "adapt: expected names of parameters, found ..$": {"adapt": []},
    "adapt: expected a list of parameters' names, found 'x'": {"adapt": "x"},
    "adapt: expected a list of parameters' names, found 1": {"adapt": 1},
    "inner: .* an adjoint, .*'reverse'.* NoAdjoint.adjoint, or .*'unrolled'": {
        "inner": Clipped(NoAdjoint(), 1.0)
    },
    "inner: .* an adjoint, .* mode 'finite_difference' .* NoAdjoint.adjoint": {
        "inner": NoAdjoint(),
        "mode": "finite_difference",
    },
    "inner: .* an adjoint, .* OnlyForward.adjoint": {"inner": OnlyForward()},
    "inner: .* an adjoint, .* found Clipped.* OnlyForward.adjoint": {
        "inner": Clipped(OnlyForward(), 1.0),
    },
    "inner: .* an adjoint, .* found Frozen.* OnlyForward.adjoint": {
        "inner": Frozen(Clipped(OnlyForward(), 1.0)),
        "mode": "finite_difference",
    },
    "state: .*with moments variance, found buffer": {
        "inner": RMSprop(0.1),
        "state": Momentum(0.1).init({"x": torch.ones(2)}),
    },
    "state: .*tensor of shape .2,. for 'x'.*found none": {
        "inner": Adam(0.1),
        "state": Adam(0.1).init({"y": torch.ones(2)}),
    },
}


@pytest.mark.parametrize(("message", "wrong"), KINDS.items(), ids=KINDS)
def test_arguments_of_another_kind_are_refused(message, wrong):
    given = {"params": {"x": torch.ones(2)}, "support": [0], "query": 0}
    given |= {"inner": SGD(0.1)} | wrong
    with pytest.raises(ValueError, match=message):
        meta_gradient(lambda p, _: (p["x"] ** 2).sum(), **given)


@pytest.mark.parametrize("inner", [NoAdjoint(), OnlyForward()])
@pytest.mark.parametrize("mode", ["unrolled", "first_order"])
def test_modes_that_do_not_go_back_need_no_adjoint(mode, inner):
    def loss(p, batch):
        return batch * p["x"].square().sum()

    params = {"x": torch.tensor([1.0, -2.0], dtype=torch.float64)}
    found, expected = (
        meta_gradient(loss, params, [1, 2], 1, step, mode=mode).grads["x"]
        for step in (inner, SGD(0.1))
    )
    assert torch.equal(found, expected)


def test_unknown_mode_is_refused(gpt2, batches):
    with pytest.raises(
        ValueError, match=r"mode: expected one of reverse.*found 'sideways'"
    ):
        meta_gradient(
            PromptLoss(gpt2), parameters(gpt2), [], batches[3], None, mode="sideways"
        )


def test_fused_attention_is_refused_for_second_order_only(gpt2, batches):
    fused = (
        AutoModelForCausalLM.from_config(gpt2.config, attn_implementation="sdpa")
        .double()
        .eval()
    )
    try:
        args = (PromptLoss(fused), parameters(fused), batches[:1], batches[3], SGD(0.1))
        with pytest.raises(
            ValueError,
            match="'eager' or 'twice' attention, found 'sdpa'.*set_attn_implementation",
        ):
            meta_gradient(*args)
        meta_gradient(*args, mode="first_order")
    finally:
        gpt2.set_attn_implementation(
            "eager"
        )  # both models share one configuration object
