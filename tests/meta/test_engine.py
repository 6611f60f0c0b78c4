"""The engine's ways to one meta-gradient: every optimiser, moments and subset; parts, stacks, kernels, architectures."""

import copy
from pathlib import Path

import pytest
import torch
from helpers import CONFIGS as ARCHITECTURES
from helpers import OPTIMIZERS as ALL
from helpers import batch_for, distance, small_model
from transformers import GPT2Config

from maml_en_llm import (
    SGD,
    Adam,
    Episode,
    Lion,
    MAMLenLLM,
    Momentum,
    PromptLoss,
    RMSprop,
    meta_gradient,
    parameters,
)
from maml_en_llm.meta import DERIVATIVES as MODES
from maml_en_llm.meta.calculus import loss_and_grad
from maml_en_llm.meta.trajectory import Trajectory, in_one_piece
from maml_en_llm.methods import maml as methods
from maml_en_llm.optimizers import Frozen


def name(optimizer):
    return type(optimizer).__name__


SUBSETS = {"all": None, "head": {"transformer.wte.weight"}, "attention": "attn"}


def subset(params, which):
    chosen = SUBSETS[which]
    return {n for n in params if chosen in n} if isinstance(chosen, str) else chosen


def warm_state(optimizer, loss, params, names, batch):
    params = {n: params[n] for n in names or params}
    grads = {n: g for n, g in loss_and_grad(loss, params, batch)[1].items()}
    return optimizer.update(grads, optimizer.init(params), params)[1]


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


def test_a_subset_needs_a_name(gpt2, batches):
    with pytest.raises(
        ValueError, match="adapt: expected names of parameters, found None"
    ):
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
    for moment, before in zip(
        all_moments.state.moments, state.moments
    ):  # an outer step can go on from it
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
    # forward 0, forward 1 (its graph waits for the Hessian product), query, recomputed 0; then two steps and the query
    assert tracked == [some, everything, everything, everything] + [
        some,
        some,
        everything,
    ]


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
    """Each step needs a way of its own: the last gradient is a small part of the first."""
    source = torch.Generator().manual_seed(0)
    x, y = torch.randn(64, 8, generator=source), torch.randn(64, 1, generator=source)
    params = {
        "a": torch.randn(8, 16, generator=source) / 3,
        "b": torch.randn(16, 1, generator=source) / 4,
    }

    def loss(p, batch):
        return ((x.to(p["a"]) @ p["a"]).tanh() @ p["b"] - y.to(p["a"])).square().mean()

    exact = meta_gradient(
        loss, {n: p.double() for n, p in params.items()}, [None] * 30, None, Adam(3e-2)
    ).grads
    found = meta_gradient(
        loss, params, [None] * 30, None, Adam(3e-2), mode="finite_difference"
    ).grads
    assert distance(found, exact) < 1e-2


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
    torch.testing.assert_close(straight.grads["w"], torch.ones(2))
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


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("attention", ["eager", "twice"])
def test_architectures(architecture, attention):
    model = small_model(architecture, attention=attention)
    loss, params = PromptLoss(model), parameters(model)
    support, query = [batch_for(model, seed) for seed in (1, 2)], batch_for(model, 3)
    reverse, unrolled = (
        meta_gradient(loss, params, support, query, Adam(1e-3), mode=mode).grads
        for mode in ("reverse", "unrolled")
    )
    assert distance(reverse, unrolled) < 1e-8


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_attention_twice_equals_eager(architecture):
    found = []
    for attention in ("eager", "twice"):
        model = small_model(architecture, attention=attention)
        support, query = (
            [batch_for(model, seed) for seed in (1, 2)],
            batch_for(model, 3),
        )
        found.append(
            meta_gradient(
                PromptLoss(model), parameters(model), support, query, SGD(0.1)
            ).grads
        )
    # transformers computes softmax and norms of all but GPT-2 in float32, whatever the weights
    assert distance(*found) < (1e-10 if architecture == "gpt2" else 1e-4)


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


@pytest.mark.parametrize("mode", ["reverse", "unrolled", "first_order"])
@pytest.mark.parametrize("moments", ["shared", "shared-frozen", "fresh"])
def test_tasks_together_equal_tasks_one_by_one(gpt2, moments, mode):
    loss, params = PromptLoss(gpt2), parameters(gpt2)
    episodes = [
        Episode(
            str(seed),
            (batch_for(gpt2, seed), batch_for(gpt2, seed + 10)),
            batch_for(gpt2, seed + 20),
        )
        for seed in range(3)
    ]
    state = warm_state(Adam(1e-3), loss, params, None, batch_for(gpt2, 99))
    one, together = (
        MAMLenLLM(
            inner=Adam(1e-3), inner_steps=2, moments=moments, mode=mode, together=t
        ).gradient(loss, params, episodes, state)
        for t in (False, True)
    )
    assert distance(together.grads, one.grads) < 1e-9
    for a, b in zip(together.state.moments, one.state.moments):
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
    # not where batches differ in their number of prompts, nor where a copy of all parameters a task is much
    uneven = [
        *episodes,
        Episode("uneven", (batch_for(model, 9, prompts=1),), batch_for(model, 8)),
    ]
    MAMLenLLM(inner=SGD(0.1)).gradient(loss, params, uneven, SGD(0.1).init(params))
    monkeypatch.setattr("maml_en_llm.models.loss.PARAMETERS", 1000)
    MAMLenLLM(inner=SGD(0.1)).gradient(loss, params, episodes, SGD(0.1).init(params))
    assert len(stacked) == 1


def highest_memory(run, calls: int) -> int:
    """Peak of this process in kB while ``run`` is called, the earlier peaks of other tests forgotten."""
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(calls):
        run()
    return next(
        int(line.split()[1])
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )


@pytest.mark.parametrize("attention", ["eager", "twice"])
@pytest.mark.parametrize("mode", MODES)
def test_no_leak_over_fifty_calls(mode, attention):
    config = GPT2Config(
        vocab_size=20_000,
        n_embd=32,
        n_layer=1,
        n_head=2,
        n_positions=16,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = small_model(
        config, attention=attention
    )  # a gradient of 5 MB: one leaked every other call would be 100 MB
    loss, params = PromptLoss(model), parameters(model)
    support, query = [batch_for(model, seed) for seed in (1, 2)], batch_for(model, 3)

    def call():
        meta_gradient(loss, params, support, query, Adam(1e-3), mode=mode)

    gradient = sum(p.nbytes for p in params.values()) / 1024
    after_5 = highest_memory(call, 5)
    # malloc may place a tensor or two elsewhere from call to call
    assert highest_memory(call, 45) <= 1.02 * after_5 + 2 * gradient


@pytest.mark.parametrize(
    "optimizer",
    [SGD(0.1), Momentum(0.1), RMSprop(1e-3), Adam(1e-3), Frozen(Adam(1e-3))],
    ids=name,
)
@pytest.mark.parametrize("steps", [1, 4, 5, 9])
def test_states_are_given_back_to_the_bit(optimizer, steps):
    source = torch.Generator().manual_seed(0)
    params = {n: torch.randn(3, generator=source) for n in "ab"}
    start, state = dict(params), optimizer.init({"a": params["a"]})
    gradients = [
        {n: torch.randn(3, generator=source) for n in "ab"} for _ in range(steps)
    ]
    trajectory, states = Trajectory(optimizer, ["a"], steps, keep_grads=False), []
    for grads in gradients:
        states.append(copy.deepcopy((params, state)))
        params, state = trajectory.step(params, state, grads)
    end = copy.deepcopy((params, state))
    held = {t for t, grads in enumerate(trajectory.grads) if grads is not None}
    kept = (
        {t for t in range(steps) if t % 4 == 0 or t == steps - 1}
        if getattr(optimizer, "slots", ())
        else {*range(steps)}
    )
    assert held == {
        t for t in range(steps - 1) if t + 1 not in kept
    }  # what leads to a kept state is not needed
    for expected in reversed(states):
        torch.testing.assert_close(trajectory.pop()[:2], expected, rtol=0, atol=0)
    assert str((params, state)) == str(end)  # the end is not overwritten
    assert all(
        start[n] is states[0][0][n] or torch.equal(start[n], states[0][0][n])
        for n in "ab"
    )


def test_kept_gradients_lie_in_one_piece(monkeypatch):
    monkeypatch.setattr("maml_en_llm.meta.trajectory.LARGE", 400)
    shapes = {
        "a": (3, 4),
        "b": (),
        "c": (5,),
        "large": (10, 10),
        "d": (2, 2, 2),
        "e": (0, 3),
    }
    tensors = {
        n: torch.randn(shape, dtype=torch.float64 if n in "cd" else torch.float32)
        for n, shape in shapes.items()
    }
    tensors["a"] = tensors["a"].T
    packed = in_one_piece(tensors)
    torch.testing.assert_close(packed, tensors, rtol=0, atol=0)
    assert list(packed) == list(tensors) and packed["large"] is tensors["large"]
    places = {n: t.untyped_storage().data_ptr() for n, t in packed.items()}
    assert places["a"] == places["b"] == places["e"] != places["c"] == places["d"]
    assert not {places[n] for n in "abcde"} & {
        t.untyped_storage().data_ptr() for t in tensors.values()
    }


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
    torch.testing.assert_close((params, state), (before, kept), rtol=0, atol=0)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize("optimizer", [SGD(0.01), Adam(1e-3)], ids=name)
def test_tasks_together_agree_in_float32(architecture, optimizer):
    model = small_model(architecture, attention="eager").float()
    loss, params = PromptLoss(model), parameters(model)
    episodes = [
        Episode(str(seed), (batch_for(model, seed),), batch_for(model, seed + 5))
        for seed in range(4)
    ]
    # warm moments: a cold Adam multiplies the rounding of almost silent coordinates, in whatever order tasks are run
    state = warm_state(optimizer, loss, params, None, batch_for(model, 99, prompts=4))
    state = state._replace(step=100)
    one, together = (
        MAMLenLLM(inner=optimizer, together=t)
        .gradient(loss, params, episodes, state)
        .grads
        for t in (False, True)
    )
    assert distance(together, one) < 1e-6
