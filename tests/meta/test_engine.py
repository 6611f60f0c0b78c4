"""One exact meta-gradient: every optimizer, subset, part and architecture."""

import copy

import pytest
import torch
from helpers import CONFIGS as ARCHITECTURES
from helpers import OPTIMIZERS as ALL
from helpers import (
    SUBSETS,
    batch_for,
    distance,
    name,
    rounding,
    small_model,
    subset,
    warm_state,
)

from maml_en_llm import (
    SGD,
    Adam,
    Momentum,
    PromptLoss,
    meta_gradient,
    parameters,
)
from maml_en_llm.meta import DERIVATIVES as MODES
from maml_en_llm.optimizers import Frozen

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("which", SUBSETS)
@pytest.mark.parametrize("moments", ["shared", "shared-frozen", "fresh"])
@pytest.mark.parametrize("optimizer", ALL, ids=name)
def test_exact_modes_agree(gpt2, batches, optimizer, moments, which):
    loss, params = PromptLoss(gpt2), parameters(gpt2)
    names = subset(params, which)
    state = (
        None
        if moments == "fresh"
        else warm_state(optimizer, loss, params, names, batches[2])
    )
    inner = Frozen(optimizer) if moments == "shared-frozen" else optimizer
    reverse, unrolled = (
        meta_gradient(
            loss,
            params,
            batches[:2],
            batches[3],
            inner,
            mode=mode,
            state=state,
            adapt=names,
        )
        for mode in ("reverse", "unrolled")
    )
    assert distance(reverse.grads, unrolled.grads) < 1e-9
    moved = {
        n: reverse.adapted[n] - params[n] for n in params
    }  # deltas from the common start
    assert distance(moved, {n: unrolled.adapted[n] - params[n] for n in params}) < 1e-9
    assert all(
        (moved[n] == 0).all() == (names is not None and n not in names) for n in params
    )
    assert set(reverse.grads) == set(params)


def test_unknown_parameter_to_adapt_is_refused(gpt2, batches):
    with pytest.raises(
        ValueError, match="adapt: expected names of parameters, found 'lm_head.weight'"
    ):
        meta_gradient(
            PromptLoss(gpt2),
            parameters(gpt2),
            [],
            batches[3],
            None,
            adapt={"lm_head.weight"},
        )


def test_the_order_of_what_adapts_is_that_of_the_parameters(gpt2, batches):
    """A set has another one in every process, and joint norms would round otherwise."""

    class Seen(SGD):
        def update(self, grads, state, params):
            orders.append(list(grads))
            return super().update(grads, state, params)

    orders: list[list[str]] = []
    names = [n for n in parameters(gpt2) if ".ln_" in n]
    how = PromptLoss(gpt2), parameters(gpt2), batches[:1], batches[3], Seen(1e-3)
    for adapt in (names[::-1], set(names)):
        meta_gradient(*how, adapt=adapt, mode="first_order")
    assert orders and all(order == names for order in orders)
    with pytest.raises(ValueError, match=r"adapt: .* found \['wte'\]"):
        meta_gradient(*how, adapt=[["wte"]])


def test_a_subset_needs_a_name(gpt2, batches):
    with pytest.raises(ValueError, match=r"adapt: .* names of parameters, found \(\)"):
        meta_gradient(
            PromptLoss(gpt2),
            parameters(gpt2),
            batches[:1],
            batches[3],
            SGD(0.1),
            adapt=(),
        )


@pytest.mark.parametrize("mode", MODES)
def test_a_subset_from_a_generator_and_moments_of_all(gpt2, batches, mode):
    loss, params, adam = PromptLoss(gpt2), parameters(gpt2), Adam(1e-3)
    names = subset(params, "attention")
    state = warm_state(adam, loss, params, None, batches[2])
    own = state._replace(moments=tuple({n: m[n] for n in names} for m in state.moments))
    one, all_moments = (
        meta_gradient(
            loss,
            params,
            batches[:2],
            batches[3],
            adam,
            mode=mode,
            state=s,
            adapt=(n for n in names),
        )
        for s in (own, state)
    )
    assert distance(all_moments.grads, one.grads) == 0 and not torch.equal(
        all_moments.adapted[min(names)], params[min(names)]
    )
    for moment, before in zip(all_moments.state.moments, state.moments, strict=True):
        # an outer step can go on from it
        assert set(moment) == set(params)
        assert all(
            torch.equal(moment[n], before[n]) == (n not in names) for n in params
        )


def test_inner_steps_differentiate_by_what_they_adapt_only(gpt2, batches):
    loss, tracked = PromptLoss(gpt2), []

    def watched(params, batch):
        tracked.append({n for n, p in params.items() if p.requires_grad})
        return loss(params, batch)

    params = parameters(gpt2)
    for mode in ("reverse", "first_order"):
        meta_gradient(
            watched,
            params,
            batches[:2],
            batches[3],
            SGD(0.1),
            mode=mode,
            adapt={"transformer.ln_f.weight"},
        )
    everything, some = set(params), {"transformer.ln_f.weight"}
    # forward 0, forward 1 (its graph waits for the Hessian product), query, 0 again;
    # then two steps and the query
    assert tracked == [some, everything, everything, everything] + [
        some,
        some,
        everything,
    ]


def gradient_of(model, inner, mode="reverse"):
    """A meta-gradient through two steps on random batches."""
    support, query = [batch_for(model, seed) for seed in (1, 2)], batch_for(model, 3)
    loss, params = PromptLoss(model), parameters(model)
    return meta_gradient(loss, params, support, query, inner, mode=mode).grads


def tolerance(model, inner) -> float:
    """What two ways to a gradient may differ by.

    GPT-2 computes in its weights' type. Others compute softmax and norms in float32
    whatever the weights: then 8 times what plain float32 is off.
    """
    if model.config.model_type == "gpt2":
        return 1e-10
    return 8 * rounding(lambda other: gradient_of(other, inner, "unrolled"), model)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("attention", ["eager", "twice"])
def test_architectures(architecture, attention):
    model, adam = small_model(architecture, attention=attention), Adam(1e-3)
    reverse, unrolled = (gradient_of(model, adam, m) for m in ("reverse", "unrolled"))
    assert distance(reverse, unrolled) < tolerance(model, adam)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_attention_twice_equals_eager(architecture):
    eager, twice = (
        gradient_of(small_model(architecture, attention=attention), SGD(0.1))
        for attention in ("eager", "twice")
    )
    bound = tolerance(small_model(architecture), SGD(0.1))
    assert distance(twice, eager) < bound


@pytest.mark.parametrize("mode", ["reverse", "unrolled", "first_order"])
def test_parts_of_a_batch_give_the_gradient_of_the_whole(gpt2, batches, mode):
    params = parameters(gpt2)
    support = [batches[2], *batches[:2]]  # one prompt, two, two: the first has no parts
    whole, parts = (
        meta_gradient(
            PromptLoss(gpt2, n), params, support, batches[3], SGD(0.1), mode=mode
        )
        for n in (None, 1)
    )
    assert distance(parts.grads, whole.grads) < 1e-12
    assert parts.query_loss == pytest.approx(whole.query_loss, rel=1e-12)


@pytest.mark.parametrize("optimizer", [Momentum(0.1), Adam(1e-3)], ids=name)
@pytest.mark.parametrize("parts", [None, 1])
def test_nine_steps_whose_states_are_rebuilt(gpt2, batches, optimizer, parts):
    loss, params, support = PromptLoss(gpt2, parts), parameters(gpt2), (batches[:3] * 3)
    before = {n: p.clone() for n, p in params.items()}
    state = warm_state(optimizer, loss, params, None, batches[2])
    kept = copy.deepcopy(state)
    reverse, unrolled = (
        meta_gradient(
            loss, params, support, batches[3], optimizer, mode=mode, state=state
        )
        for mode in ("reverse", "unrolled")
    )
    assert distance(reverse.grads, unrolled.grads) < 1e-9
    assert distance(reverse.adapted, unrolled.adapted) < 1e-12
    found, expected = (params, *state.moments), (before, *kept.moments)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
