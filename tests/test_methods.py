"""Methods: the identities between them, averaging over tasks, moments, clipping."""

import pytest
import torch

from maml_en_llm import MAMLenLLM, MetaICL, meta_gradient
from maml_en_llm.episodes import Episode
from maml_en_llm.calculus import loss_and_grad
from maml_en_llm.methods import clip_by_norm
from maml_en_llm.optimizers import SGD, Adam

PARAMS = {"x": torch.tensor([0.7, -0.4], dtype=torch.float64), "y": torch.tensor([1.3], dtype=torch.float64)}
EPISODES = [Episode(f"task {n}", (0.3 + n, 1.1 - n), 0.5 * n) for n in range(3)]


def loss(params, batch):
    """Any smooth function that differs between batches, here numbers."""
    return (params["x"] * batch).sin().sum() + (params["x"].sum() * params["y"] - batch).square().sum()


def warm_state():
    adam = Adam(0.01)
    return adam.update(loss_and_grad(loss, PARAMS, 0.2)[1], adam.init(PARAMS), PARAMS)[1]


def assert_same(found, expected):
    assert found.loss == expected.loss
    for name in PARAMS:
        assert torch.equal(found.grads[name], expected.grads[name])


def test_metaicl_is_the_mean_of_the_query_gradients():
    found = MetaICL().gradient(loss, PARAMS, EPISODES, ())
    for name in PARAMS:
        expected = sum(loss_and_grad(loss, PARAMS, e.query)[1][name] for e in EPISODES) / 3
        torch.testing.assert_close(found.grads[name], expected)


@pytest.mark.parametrize("moments", ["shared", "shared-frozen", "fresh"])
@pytest.mark.parametrize("inner, k", [(Adam(0.01), 0), (Adam(0.0), 2), (SGD(0.0), 2)], ids=["k=0", "rate 0", "SGD 0"])
def test_maml_without_adaptation_is_metaicl_exactly(moments, inner, k):
    state = warm_state() if isinstance(inner, Adam) else inner.init(PARAMS)
    maml = MAMLenLLM(inner=inner, inner_steps=k, moments=moments)
    assert_same(maml.gradient(loss, PARAMS, EPISODES, state), MetaICL().gradient(loss, PARAMS, EPISODES, state))


def test_maml_averages_the_tasks_meta_gradients():
    found = MAMLenLLM(inner=SGD(0.05), inner_steps=2).gradient(loss, PARAMS, EPISODES, SGD(0.05).init(PARAMS))
    each = [meta_gradient(loss, PARAMS, e.support, e.query, SGD(0.05), mode="unrolled") for e in EPISODES]
    for name in PARAMS:
        torch.testing.assert_close(found.grads[name], sum(r.grads[name] for r in each) / 3)
    assert found.loss == pytest.approx(sum(r.query_loss for r in each) / 3)
    assert [len(task) for task in found.inner_losses] == [2, 2, 2]


def test_the_order_of_the_tasks_does_not_matter():
    maml, state = MAMLenLLM(inner=Adam(0.05), inner_steps=2), warm_state()
    one, other = (maml.gradient(loss, PARAMS, episodes, state) for episodes in (EPISODES, EPISODES[::-1]))
    for name in PARAMS:
        torch.testing.assert_close(one.grads[name], other.grads[name], rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(one.state.moments[1][name], other.state.moments[1][name], rtol=1e-12, atol=1e-14)


def test_moments_decide_where_the_outer_step_starts():
    state = warm_state()
    after = {m: MAMLenLLM(inner=Adam(0.05), inner_steps=2, moments=m).gradient(loss, PARAMS, EPISODES, state).state
             for m in ("shared", "shared-frozen", "fresh")}
    assert after["shared-frozen"] is state and after["fresh"] is state
    assert after["shared"].step == state.step + 2
    each = [meta_gradient(loss, PARAMS, e.support, e.query, Adam(0.05), state=state).state for e in EPISODES]
    torch.testing.assert_close(after["shared"].moments[0]["x"], sum(s.moments[0]["x"] for s in each) / 3)


def test_moments_decide_the_gradient():
    state = warm_state()
    found = [MAMLenLLM(inner=Adam(0.05), inner_steps=2, moments=m).gradient(loss, PARAMS, EPISODES, state).grads["x"]
             for m in ("shared", "shared-frozen", "fresh")]
    assert not torch.allclose(found[0], found[1]) and not torch.allclose(found[0], found[2])


def test_unknown_moments_are_refused():
    with pytest.raises(ValueError, match="moments: expected one of shared, shared-frozen, fresh, found 'mixed'"):
        MAMLenLLM(inner=SGD(0.1), moments="mixed")


@pytest.mark.parametrize("limit, length", [(1.0, 1.0), (10.0, 5.0)])
def test_clipping_keeps_the_direction(limit, length):
    grads = {"a": torch.tensor([3.0]), "b": torch.tensor([0.0, 4.0])}
    clipped, norm = clip_by_norm(grads, limit)
    assert norm == pytest.approx(5.0)
    assert torch.cat(list(clipped.values())).norm().item() == pytest.approx(length)
    assert clipped["b"][1] / clipped["a"][0] == pytest.approx(4 / 3)
