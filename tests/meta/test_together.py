"""Tasks computed together equal tasks computed in turn."""

from functools import partial

import pytest
from helpers import (
    batch_for,
    distance,
    episodes_for,
    name,
    rounding,
    small_model,
    warm_state,
)

from maml_en_llm import (
    SGD,
    Adam,
    Episode,
    MAMLenLLM,
    PromptLoss,
    parameters,
)
from maml_en_llm.methods import maml as methods

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("mode", ["reverse", "unrolled", "first_order"])
@pytest.mark.parametrize("moments", ["shared", "shared-frozen", "fresh"])
def test_tasks_together_equal_tasks_one_by_one(gpt2, moments, mode):
    loss, params = PromptLoss(gpt2), parameters(gpt2)
    episodes = episodes_for(gpt2)
    state = warm_state(Adam(1e-3), loss, params, None, batch_for(gpt2, 99))
    one, together = (
        MAMLenLLM(
            inner=Adam(1e-3), inner_steps=2, moments=moments, mode=mode, together=t
        ).gradient(loss, params, episodes, state)
        for t in (False, True)
    )
    assert distance(together.grads, one.grads) < 1e-9
    for a, b in zip(together.state.moments, one.state.moments, strict=True):
        assert distance(a, b) < 1e-12
    assert together.loss == pytest.approx(one.loss, rel=1e-12)
    for a, b in zip(together.inner_losses, one.inner_losses, strict=True):
        assert a == pytest.approx(b, rel=1e-12)


def test_small_models_run_their_tasks_together_whatever_their_attention(monkeypatch):
    model = small_model(attention="twice")
    loss, params = PromptLoss(model), parameters(model)
    episodes = [
        Episode(str(seed), (batch_for(model, seed),), batch_for(model, seed + 5))
        for seed in range(3)
    ]
    stacked, inner = [], "maml_en_llm.methods.maml._together"
    monkeypatch.setattr(
        inner,
        lambda *args, run=methods._together, **how: (
            stacked.append(1) or run(*args, **how)
        ),
    )
    found = {
        limit: (
            monkeypatch.setattr("maml_en_llm.models.loss.TOGETHER", limit),
            MAMLenLLM(inner=SGD(0.1)).gradient(
                loss, params, episodes, SGD(0.1).init(params)
            ),
        )[1]
        for limit in (0, 2 * 12 * 32)
    }  # numbers in the hidden states of these batches
    assert len(stacked) == 1 and model.config._attn_implementation == "twice"
    assert distance(*(outer.grads for outer in found.values())) < 1e-9
    # not where batches differ in their number of prompts, nor where a copy of all
    # parameters per task is much
    uneven = [
        *episodes,
        Episode("uneven", (batch_for(model, 9, prompts=1),), batch_for(model, 8)),
    ]
    MAMLenLLM(inner=SGD(0.1)).gradient(loss, params, uneven, SGD(0.1).init(params))
    monkeypatch.setattr("maml_en_llm.models.loss.PARAMETERS", 1000)
    MAMLenLLM(inner=SGD(0.1)).gradient(loss, params, episodes, SGD(0.1).init(params))
    assert len(stacked) == 1


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize("optimizer", [SGD(0.01), Adam(1e-3)], ids=name)
def test_tasks_together_agree_in_float32(architecture, optimizer):
    """Each way is as near to float64 as the plain way is, and so to the other."""
    episodes = [
        Episode(str(seed), (batch_for(fine, seed),), batch_for(fine, seed + 5))
        for fine in [small_model(architecture)]
        for seed in range(4)
    ]

    def gradient(model, together=False):
        loss, params = PromptLoss(model), parameters(model)
        # Warm moments: a cold Adam multiplies the rounding of almost silent
        # coordinates, in whatever order tasks are run.
        batch = batch_for(model, 99, prompts=4)
        state = warm_state(optimizer, loss, params, None, batch)._replace(step=100)
        method = MAMLenLLM(inner=optimizer, together=together)
        return method.gradient(loss, params, episodes, state).grads

    model = small_model(architecture)
    plain, stacked = (
        rounding(partial(gradient, together=together), model)
        for together in (False, True)
    )
    assert 0 < plain < 1e-3
    assert stacked < 8 * plain
    coarse = small_model(architecture).float()
    assert distance(gradient(coarse, together=True), gradient(coarse)) < 8 * plain
