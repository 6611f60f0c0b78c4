"""Low-rank adapters (LoRA, Hu et al. 2022).

They are the only parameters that the inner loop, or all of training, moves.
"""

import copy

import pytest
import torch
from helpers import batch_for, distance, rounding, small_model
from peft import LoraConfig, inject_adapter_in_model

from maml_en_llm import (
    SGD,
    Adam,
    Episode,
    MAMLenLLM,
    PromptLoss,
    meta_gradient,
    parameters,
)

pytestmark = pytest.mark.numeric

TARGETS = {"gpt2": ["c_attn"], "llama": ["q_proj", "v_proj"]}


@pytest.fixture(params=TARGETS)
def lora(request):
    """A model with rank-2 adapters, its parameters, the names of the adapters."""
    config = LoraConfig(
        r=2,
        target_modules=TARGETS[request.param],
        fan_in_fan_out=request.param == "gpt2",
    )
    model = inject_adapter_in_model(
        config, small_model(request.param, attention="twice")
    ).eval()
    source = torch.Generator().manual_seed(0)
    adapters = {n: p for n, p in model.named_parameters() if "lora_" in n}
    for p in adapters.values():
        torch.nn.init.normal_(p, std=0.1, generator=source)
    return model, parameters(model), set(adapters)


def tolerance(model, names) -> float:
    """What two ways to a gradient may differ by.

    Llama computes its norms in float32 whatever the weights: then 8 times what plain
    float32 is off.
    """
    if model.config.model_type == "gpt2":
        return 1e-9
    support, query = [batch_for(model, seed) for seed in range(3)], batch_for(model, 3)

    def gradient(other):
        loss, params, inner = PromptLoss(other), parameters(other), Adam(1e-3)
        found = meta_gradient(
            loss, params, support, query, inner, adapt=names, mode="unrolled"
        )
        return found.grads

    return 8 * rounding(gradient, model)


@pytest.fixture
def batches(lora):
    return [batch_for(lora[0], seed) for seed in range(4)]


def test_gradient_of_the_adapters_alone(lora, batches):
    model, params, names = lora
    before = {n: p.clone() for n, p in params.items()}
    inner_phase = batches[:3], batches[3], Adam(1e-3)
    whole, alone = (
        meta_gradient(PromptLoss(model), theta, *inner_phase, adapt=names)
        for theta in (params, {n: params[n] for n in names})
    )
    textbook = meta_gradient(
        PromptLoss(model), params, *inner_phase, adapt=names, mode="unrolled"
    )
    bound = tolerance(model, names)
    assert distance(whole.grads, textbook.grads) < bound
    assert (
        set(alone.grads) == names
        and distance(alone.grads, {n: whole.grads[n] for n in names}) < bound
    )
    moved = {n for n, p in whole.adapted.items() if not torch.equal(p, before[n])}
    assert moved == names
    torch.testing.assert_close(parameters(model), before, rtol=0, atol=0)


def test_central_differences_along_an_adapter(lora, batches):
    model, params, names = lora
    adapters = {n: params[n] for n in names}

    def objective(step):
        ahead = {n: p + step * direction[n] for n, p in adapters.items()}
        return meta_gradient(
            PromptLoss(model),
            ahead,
            batches[:2],
            batches[3],
            SGD(0.01),
            mode="first_order",
        ).query_loss

    direction = meta_gradient(
        PromptLoss(model), adapters, batches[:2], batches[3], SGD(0.01)
    ).grads
    size = sum(g.square().sum() for g in direction.values()).item()
    # Llama computes its norms in float32: a smaller step would drown.
    h = 1e-4 / size**0.5
    noise = 0.0
    if model.config.model_type != "gpt2":
        coarse = PromptLoss(copy.deepcopy(model).float())
        low = {n: p.float() for n, p in params.items()}
        losses = [(coarse(low, b), PromptLoss(model)(params, b)) for b in batches]
        noise = max((a.double() - b).abs().item() for a, b in losses) / h
    found = (objective(h) - objective(-h)) / (2 * h)
    assert found == pytest.approx(size, rel=1e-4, abs=4 * noise)


def test_adapters_of_several_tasks_together(lora):
    model, params, names = lora
    model.set_attn_implementation("eager")  # as both ways then have it
    adapters = {n: params[n] for n in names}
    episodes = [
        Episode(str(seed), (batch_for(model, seed),), batch_for(model, seed + 5))
        for seed in range(3)
    ]
    found = [
        MAMLenLLM(inner=Adam(1e-3), moments="fresh", together=t)
        .gradient(PromptLoss(model), adapters, episodes, None)
        .grads
        for t in (False, True)
    ]
    assert set(found[0]) == names and distance(*found) < tolerance(model, names)


@pytest.mark.parametrize("together", [False, True])
def test_adapters_move_inside_and_everything_outside(lora, together):
    model, params, names = lora
    model.set_attn_implementation("eager")
    episodes, adam = (
        [
            Episode(str(seed), (batch_for(model, seed),), batch_for(model, seed + 5))
            for seed in range(3)
        ],
        Adam(1e-3),
    )
    state = adam.update(params, adam.init(params), params)[1]
    outer = MAMLenLLM(inner=adam, adapt=names, together=together).gradient(
        PromptLoss(model), params, episodes, state
    )
    alone = [
        meta_gradient(
            PromptLoss(model),
            params,
            e.support,
            e.query,
            adam,
            state=state,
            adapt=names,
        )
        for e in episodes
    ]
    assert distance(
        outer.grads, {n: sum(one.grads[n] for one in alone) / 3 for n in params}
    ) < tolerance(model, names)
    moved, advanced = adam.update(
        outer.grads, outer.state, params
    )  # shared moments: the outer step goes on from them
    assert set(moved) == set(advanced.moments[0]) == set(params)
    assert not any(torch.equal(p, params[n]) for n, p in moved.items())
