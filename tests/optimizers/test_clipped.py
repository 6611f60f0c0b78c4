"""The clip inside a step: its value, its exact derivative, tasks stacked and alone."""

import pytest
import torch

from maml_en_llm import SGD, Adam, Momentum, meta_gradient
from maml_en_llm.meta.calculus import PlainLoss
from maml_en_llm.optimizers import Clipped, Frozen
from maml_en_llm.tensors import clip_by_norm, joint_norm

pytestmark = pytest.mark.numeric

SHAPES = {"weight": (3, 2), "bias": (3,), "scale": ()}


def tensors(seed, n=None):
    source = torch.Generator().manual_seed(seed)
    tasks = () if n is None else (n,)
    return {
        name: torch.randn((*tasks, *s), generator=source, dtype=torch.float64)
        for name, s in SHAPES.items()
    }


def loss(params, batch):
    """Smooth, with curvature everywhere; ``batch`` is a number or one per task."""
    x = params["weight"].sum(-1) * params["scale"][..., None] + params["bias"]
    return ((x - batch[..., None]).sin() + 0.1 * x.square()).sum(-1)


INNER = [Adam(0.05, (0.8, 0.9)), SGD(0.1), Momentum(0.1, 0.5), Frozen(Adam(0.05))]
# norms of the gradients lie between the last two: clipped always, sometimes, never
LIMITS = (0.05, 1.5, 1e3)


def clipped(inner, limit, **how):
    if isinstance(inner, Frozen):
        return Frozen(Clipped(inner.optimizer, limit, **how))
    return Clipped(inner, limit, **how)


def batches(seed, k=3):
    source = torch.Generator().manual_seed(seed)
    return list(torch.randn(k + 1, generator=source, dtype=torch.float64))


@pytest.mark.parametrize("inner", INNER, ids=lambda inner: type(inner).__name__)
@pytest.mark.parametrize("limit", LIMITS)
def test_a_step_takes_the_clipped_gradient(inner, limit):
    params, grads = tensors(0), tensors(1)
    state = inner.init(params)
    expected = inner.update(clip_by_norm(grads, limit)[0], state, params)
    found = clipped(inner, limit).update(grads, state, params)
    found, expected = ((moved, s.moments) for moved, s in (found, expected))
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("inner", INNER, ids=lambda inner: type(inner).__name__)
@pytest.mark.parametrize("limit", LIMITS)
def test_the_sweep_is_the_unrolled_graph(inner, limit):
    params = tensors(0)
    *support, query = batches(2)
    step = clipped(inner, limit)
    state = inner.init(params)
    for seed in (3, 4):  # warm
        _, state = step.update(tensors(seed), state, params)
    found, expected = (
        meta_gradient(loss, params, support, query, step, mode=mode, state=state)
        for mode in ("reverse", "unrolled")
    )
    for name in SHAPES:
        torch.testing.assert_close(found.grads[name], expected.grads[name])


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("mode", ["reverse", "unrolled"])
def test_the_derivative_is_that_of_central_differences(mode, limit):
    params = tensors(0)
    *support, query = batches(5)
    step = Clipped(Adam(0.05, (0.8, 0.9)), limit)
    found = meta_gradient(loss, params, support, query, step, mode=mode).grads
    way, h = tensors(6), 1e-5

    def at(sign):
        moved = {name: p + sign * h * way[name] for name, p in params.items()}
        return meta_gradient(loss, moved, support, query, step).query_loss

    slope = (at(1) - at(-1)) / (2 * h)
    along = sum((found[name] * way[name]).sum() for name in SHAPES)
    assert along.item() == pytest.approx(slope, rel=1e-6, abs=1e-9)


def test_the_clip_changes_the_gradient_where_it_bites():
    params = tensors(0)
    *support, query = batches(2)
    found = [
        meta_gradient(loss, params, support, query, step).grads["weight"]
        for step in (SGD(0.1), *(Clipped(SGD(0.1), limit) for limit in LIMITS))
    ]
    assert torch.equal(found[0], found[3])
    assert not torch.allclose(found[0], found[1])


@pytest.mark.parametrize("limit", LIMITS)
def test_stacked_tasks_are_clipped_alone(limit):
    n = 3
    params, grads = tensors(0, n), tensors(1, n)
    stacked = Clipped(Adam(0.05), limit, stacked=True)
    alone = Clipped(Adam(0.05), limit)
    found, _ = stacked.update(grads, stacked.init(params), params)
    lists = torch.randn(3, n, dtype=torch.float64)
    tasks = PlainLoss(loss, stacks=True)
    joint = meta_gradient(tasks, params, list(lists[:2]), lists[2], stacked)
    for i in range(n):
        own = {name: p[i] for name, p in params.items()}
        g = {name: t[i] for name, t in grads.items()}
        expected, _ = alone.update(g, alone.init(own), own)
        each = meta_gradient(loss, own, list(lists[:2, i]), lists[2, i], alone)
        for name in SHAPES:
            torch.testing.assert_close(found[name][i], expected[name])
            torch.testing.assert_close(joint.grads[name][i], each.grads[name])


def test_stacked_weights_of_two_types_keep_them():
    grads = {
        "a": torch.tensor([[3.0], [30.0]], dtype=torch.bfloat16),
        "b": torch.tensor([[4.0], [40.0]]),
    }
    params = {name: torch.zeros_like(g) for name, g in grads.items()}
    step = Clipped(SGD(1.0), 1.0, stacked=True)
    found, _ = step.update(grads, step.init(params), params)
    for name, share in (("a", -0.6), ("b", -0.8)):  # of norms 5 and 50
        expected = torch.full_like(grads[name], share)
        torch.testing.assert_close(found[name], expected)


@pytest.mark.parametrize("mode", ["reverse", "unrolled"])
def test_no_gradient_at_all_has_a_derivative(mode):
    params = tensors(0)

    def flat(params, batch):
        return 0 * sum(p.sum() for p in params.values()) + batch

    def bowl(params, batch):
        if batch < 0:
            return flat(params, batch)
        return sum(p.square().sum() for p in params.values())

    step = Clipped(Adam(0.05), 1.0)
    support, query = [torch.tensor(-1.0)], torch.tensor(1.0)
    found = meta_gradient(bowl, params, support, query, step, mode=mode)
    assert torch.isfinite(joint_norm(found.grads))


@pytest.mark.parametrize("limit", [0, -1.0, float("nan"), "1", None])
def test_a_limit_that_is_none_is_refused(limit):
    with pytest.raises(ValueError, match="^limit: expected .*found "):
        Clipped(SGD(0.1), limit)


def test_the_limit_of_the_norms_is_met_by_some_and_not_by_others():
    """The cases above are what their names say."""
    params = tensors(0)
    norms = []
    for batch in batches(2):
        leaves = {n: p.clone().requires_grad_() for n, p in params.items()}
        value = loss(leaves, batch)
        norms.append(
            torch.cat(
                [g.flatten() for g in torch.autograd.grad(value, list(leaves.values()))]
            ).norm()
        )
    assert LIMITS[0] < min(norms) and max(norms) < LIMITS[2]
    assert min(norms) < LIMITS[1] < max(norms)
