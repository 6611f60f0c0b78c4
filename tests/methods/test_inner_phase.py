"""What an inner phase reads and hands on: clipping, joining, second moments, looks."""

from dataclasses import replace

import pytest
import torch
from helpers import batch_for, distance, episodes_for, small_model, warm_state

from maml_en_llm import (
    SGD,
    Adam,
    Episode,
    MAMLenLLM,
    MetaICL,
    PromptLoss,
    Reptile,
    parameters,
)
from maml_en_llm.meta.calculus import loss_and_grad
from maml_en_llm.methods.inner import stackable
from maml_en_llm.optimizers import (
    AdamW,
    Clipped,
    Frozen,
    Lion,
    NAdam,
    Optimizer,
    RMSprop,
    State,
)
from maml_en_llm.tensors import clip_by_norm, joint_norm, tree_map

pytestmark = pytest.mark.numeric

ADAM = Adam(0.05, (0.8, 0.9))
PARAMS = {
    "x": torch.tensor([0.7, -0.4], dtype=torch.float64),
    "y": torch.tensor([1.3], dtype=torch.float64),
}
EPISODES = [Episode(f"task {n}", (0.3 + n, 1.1 - n), 0.5 * n) for n in range(3)]
CLIP = 0.7  # below the norm of every gradient of EPISODES


def loss(params, batch):
    """Any smooth function that differs between batches, here numbers."""
    return (params["x"] * batch).sin().sum() + (
        params["x"].sum() * params["y"] - batch
    ).square().sum()


def warm(optimizer=ADAM):
    grads = loss_and_grad(loss, PARAMS, 0.2)[1]
    return optimizer.update(grads, optimizer.init(PARAMS), PARAMS)[1]


def maml(**changes):
    return MAMLenLLM(**dict(inner=ADAM, inner_steps=2, clip=CLIP) | changes)


def clipped_gradient(params, batch):
    grads = loss_and_grad(loss, params, batch)[1]
    assert joint_norm(grads) > CLIP
    return clip_by_norm(grads, CLIP)[0]


def own_way(episode, state, inner=ADAM):
    """θᵢ, sᵢ and the clipped gradients of one task, step by step."""
    params, found = PARAMS, []
    for batch in episode.support:
        grads = clipped_gradient(params, batch)
        params, state = inner.update(grads, state, params)
        found.append(grads)
    return params, state, found


def mean(trees):
    total = trees[0]
    for tree in trees[1:]:
        total = tree_map(torch.add, total, tree)
    return tree_map(lambda t: t / len(trees), total)


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_clipped_gradients_make_the_step_and_enter_the_moments():
    found = maml(mode="first_order").gradient(loss, PARAMS, EPISODES, warm())
    ways = [own_way(episode, warm()) for episode in EPISODES]
    same(found.state.moments, mean([state.moments for _, state, _ in ways]))
    grads = [
        loss_and_grad(loss, params, episode.query)[1]
        for (params, _, _), episode in zip(ways, EPISODES, strict=True)
    ]
    same(found.grads, mean(grads))


def test_copies_joined_by_the_mean_gradient():
    found = maml(join="mean-gradient").gradient(loss, PARAMS, EPISODES, warm())
    each = [own_way(episode, warm())[2] for episode in EPISODES]
    state = warm()
    for step in range(2):
        one = mean([grads[step] for grads in each])
        _, state = ADAM.update(one, state, PARAMS)
    same(found.state.moments, state.moments)
    assert found.state.step == state.step
    other = maml().gradient(loss, PARAMS, EPISODES, warm())
    same(found.grads, other.grads)
    same(found.state.moments[0], other.state.moments[0])
    for name in PARAMS:  # the square of a mean is at most the mean of the squares
        assert (found.state.moments[1][name] < other.state.moments[1][name]).all()


@pytest.mark.parametrize("mode", ["reverse", "unrolled", "first_order"])
@pytest.mark.parametrize("k", [1, 6])
def test_the_join_is_the_same_in_every_mode(mode, k):
    """Six steps are more than the sweep keeps whole: it makes some of them again."""
    episodes = [
        Episode(e.task, tuple(0.2 * t + i for t in range(k)), e.query)
        for i, e in enumerate(EPISODES)
    ]
    settings = dict(join="mean-gradient", inner_steps=k)
    found, expected = (
        maml(mode=m, **settings).gradient(loss, PARAMS, episodes, warm()).state
        for m in (mode, "unrolled")
    )
    same(found[:2], expected[:2])
    assert found.step == warm().step + k


@pytest.mark.parametrize("join", ["mean", "mean-gradient"])
@pytest.mark.parametrize("moments", ["shared", "shared-frozen", "fresh", "second"])
@pytest.mark.parametrize("mode", ["reverse", "first_order"])
def test_clipped_tasks_together_equal_tasks_one_by_one(join, moments, mode):
    model = small_model("llama")
    prompts, params = PromptLoss(model), parameters(model)
    episodes = episodes_for(model)
    adam = Adam(1e-3)
    state = warm_state(adam, prompts, params, None, batch_for(model, 99))
    method = maml(inner=adam, clip=0.1, join=join, moments=moments, mode=mode)
    one, both = (
        replace(method, together=t).gradient(prompts, params, episodes, state)
        for t in (False, True)
    )
    assert distance(both.grads, one.grads) < 1e-9
    for a, b in zip(both.state.moments, one.state.moments, strict=True):
        assert distance(a, b) < 1e-12


class Lars:
    """Steps as long as the weights: it looks at whole tensors (You et al. 2017)."""

    lr = 0.01

    def init(self, params):
        return State((), 0)

    def update(self, grads, state, params, **how):
        moved = {}
        for name, g in grads.items():
            length = params[name].norm() / (g.norm() + 1e-9)
            moved[name] = params[name] - self.lr * length * g
        return {**params, **moved}, State((), state.step + 1)


class Halved(Optimizer):
    """An elementwise rule in an update of its own, which may be anything."""

    lr, slots = 0.1, ()

    def __init__(self):
        pass

    def update(self, grads, state, params, **how):
        return SGD(0.05).update(grads, state, params, **how)


CHAINS = [
    (Clipped(SGD(0.1), 0.1), "unrolled"),
    (Clipped(Adam(1e-3), 0.1), "reverse"),
    (Clipped(Adam(1e-3), 0.1, stacked=True), "reverse"),
    (Frozen(Clipped(Clipped(Adam(1e-3), 0.1), 0.2)), "reverse"),
    (Lars(), "unrolled"),
    (Lars(), "first_order"),
    (Clipped(Lars(), 0.1), "first_order"),
    (Halved(), "first_order"),
]


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize(("inner", "mode"), CHAINS)
def test_tasks_do_not_see_each_other_whatever_the_optimizer(inner, mode, clip):
    """By default, where the loss would rather stack them: each task by itself."""
    model = small_model()
    prompts, params = PromptLoss(model), parameters(model)
    episodes = episodes_for(model)
    assert prompts.faster_together(params, [(*e.support, e.query) for e in episodes])
    method = MAMLenLLM(
        inner=inner, inner_steps=2, mode=mode, moments="fresh", clip=clip
    )
    found = method.gradient(prompts, params, episodes, None).grads
    alone = [method.gradient(prompts, params, [e], None).grads for e in episodes]
    assert distance(found, mean(alone)) < 1e-9
    if stackable(inner):
        replace(method, together=True)
    else:
        with pytest.raises(ValueError, match="^together: .* for True, .* found"):
            replace(method, together=True)


@pytest.mark.parametrize("join", ["mean", "mean-gradient"])
@pytest.mark.parametrize("moments", ["shared", "shared-frozen", "fresh", "second"])
@pytest.mark.parametrize("mode", ["reverse", "unrolled", "first_order"])
def test_a_clip_that_is_handed_in_is_that_of_the_method(mode, moments, join):
    """So β₁ = 0 reaches the optimizer within, and joins are of clipped gradients."""
    how = dict(mode=mode, moments=moments, join=join)
    found, expected = (
        maml(inner=inner, clip=clip, **how).gradient(loss, PARAMS, EPISODES, warm())
        for inner, clip in ((Clipped(ADAM, CLIP), None), (ADAM, CLIP))
    )
    same(found.grads, expected.grads)
    same(found.state[:2], expected.state[:2])


def test_a_frozen_state_that_is_handed_in_stays():
    for join in ("mean", "mean-gradient"):
        method = maml(inner=Frozen(ADAM), join=join)
        same(method.gradient(loss, PARAMS, EPISODES, warm()).state[:2], warm()[:2])


class Around:
    """A wrapper of one's own, which says of no first moment how it is made."""

    slots = ("mean", "variance")

    def update(self, grads, state, params, **how):
        return ADAM.update(grads, state, params, **how)


@pytest.mark.parametrize("kind", [MAMLenLLM, Reptile])
def test_a_first_moment_that_cannot_be_left_out_is_refused(kind):
    for inner in (Around(), Clipped(Around(), 1.0)):
        with pytest.raises(ValueError, match="^moments: .* betas if it has a first"):
            kind(inner=inner, moments="second")


@pytest.mark.parametrize("inner", [ADAM, AdamW(0.05), NAdam(0.05)])
def test_second_moments_only_follow_the_own_gradient(inner):
    """m of the outer optimizer plays no part; v does; neither is advanced."""
    state = warm(inner)
    m, v = state.moments
    method = maml(inner=inner, moments="second", mode="unrolled")
    found = method.gradient(loss, PARAMS, EPISODES, state)
    assert found.state is state
    other = State(({n: 7 * t + 1 for n, t in m.items()}, v), state.step)
    same(method.gradient(loss, PARAMS, EPISODES, other).grads, found.grads)
    louder = State((m, {n: 9 * t for n, t in v.items()}), state.step)
    assert not torch.allclose(
        method.gradient(loss, PARAMS, EPISODES, louder).grads["x"], found.grads["x"]
    )
    by_hand = replace(inner, betas=(0.0, inner.betas[1]))
    params = PARAMS
    for batch in EPISODES[0].support:
        grads = clipped_gradient(params, batch)
        params, _ = by_hand.update(grads, state, params)
    one = method.gradient(loss, PARAMS, EPISODES[:1], state)
    assert one.loss == pytest.approx(float(loss(params, EPISODES[0].query)), rel=1e-12)


def test_second_moments_where_there_are_no_others_are_frozen_ones():
    inner = RMSprop(0.05)
    frozen, second = (
        maml(inner=inner, moments=moments).gradient(loss, PARAMS, EPISODES, warm(inner))
        for moments in ("shared-frozen", "second")
    )
    same(second.grads, frozen.grads)


@pytest.mark.parametrize(
    "inner", ["adam", 0.1, Adam, SGD, torch.optim.Adam, [ADAM], {}, {"lr": 0.1}, set()]
)
@pytest.mark.parametrize("kind", [MAMLenLLM, Reptile])
def test_what_is_no_optimizer_is_refused_at_once(inner, kind):
    message = r"^inner: expected an optimizer, such as SGD\(0.1\), found "
    for moments in ("shared", "second"):
        with pytest.raises(ValueError, match=message):
            kind(inner=inner, moments=moments)


def test_reptile_always_steps():
    with pytest.raises(ValueError, match="inner: expected an optimizer, .* found None"):
        Reptile(inner=None, inner_steps=0)


class Own:
    """An optimizer of one's own that does the least."""

    lr = 0.1

    def update(self, grads, state, params, **how):
        return {n: p - self.lr * grads[n] for n, p in params.items()}, state


@pytest.mark.parametrize("kind", [MAMLenLLM, Reptile])
def test_optimizers_of_ones_own_and_wrapped_ones_are_taken(kind):
    state = SGD(0.1).init(PARAMS)
    how = dict() if kind is Reptile else dict(mode="unrolled")
    found, expected, wrapped = (
        kind(inner=inner, **how).gradient(loss, PARAMS, EPISODES, state).grads
        for inner in (Own(), SGD(0.1), Clipped(SGD(0.1), 1e9))
    )
    same(found, expected)
    same(wrapped, expected)
    with pytest.raises(ValueError, match="^moments: expected .*second.* found 'Own'"):
        kind(inner=Own(), moments="second")


class Least:
    """An optimizer of one's own whose update takes the three tensors alone."""

    lr = 0.1

    def init(self, params):
        return {"seen": torch.zeros(())}

    def update(self, grads, state, params):
        return {n: p - self.lr * grads[n] for n, p in params.items()}, state


class LeastBack(Least):
    def pull_back_(self, grads, state, params, adjoint, moments_adjoint, out=None):
        return {n: -self.lr * adjoint[n] for n in grads}, moments_adjoint


@pytest.mark.parametrize("moments", ["shared", "shared-frozen", "fresh"])
@pytest.mark.parametrize("kind", [MAMLenLLM, Reptile])
def test_an_update_need_not_take_a_rate_or_memory(kind, moments):
    how = dict(inner_steps=2, clip=CLIP, moments=moments)
    if kind is MAMLenLLM:
        how["mode"] = "unrolled"
    found, expected = (
        kind(inner=inner, **how).gradient(loss, PARAMS, EPISODES, inner.init(PARAMS))
        for inner in (Least(), SGD(0.1))
    )
    same(found.grads, expected.grads)


def test_what_an_optimizer_of_ones_own_lacks_is_named():
    how = dict(inner=LeastBack(), inner_steps=2, clip=None)
    first = MAMLenLLM(**how, mode="first_order")
    seen = first.look(loss, PARAMS, EPISODES, Least().init(PARAMS))  # counts no steps
    expected = maml(inner=SGD(0.1), clip=None).look(
        loss, PARAMS, EPISODES, SGD(0.1).init(PARAMS)
    )
    for found, own in zip(seen.inner_losses, expected.inner_losses, strict=True):
        assert found == pytest.approx(own)
    with pytest.raises(ValueError, match="^inner: .* argument `out`, .* 'unrolled'"):
        MAMLenLLM(**how).gradient(loss, PARAMS, EPISODES, Least().init(PARAMS))
    with pytest.raises(ValueError, match="^join: .* 'mean-gradient', found 'Least'"):
        MAMLenLLM(inner=Least(), join="mean-gradient")
    for inner in (Own(), Clipped(Own(), 1.0)):
        for method in (
            MAMLenLLM(inner=inner, moments="fresh", mode="first_order"),
            Reptile(inner=inner, moments="fresh"),
        ):
            with pytest.raises(ValueError, match=r"^inner: .* init\(params\).* 'Own'"):
                method.gradient(loss, PARAMS, EPISODES, None)


def test_a_look_without_inner_steps_moves_nothing():
    seen = maml(inner_steps=0).look(loss, PARAMS, EPISODES, warm())
    for before, after, moved, support in seen.inner_losses:
        assert (before, moved, support) == (after, 0, 0)


def test_a_plain_loss_cannot_be_stacked():
    with pytest.raises(ValueError, match="^together: .* plain function"):
        maml(together=True).gradient(loss, PARAMS, EPISODES, warm())


def test_without_an_inner_step_there_need_be_no_optimizer():
    episodes = [Episode(e.task, (), e.query) for e in EPISODES]
    for clip in (None, CLIP):
        method = MAMLenLLM(inner=None, inner_steps=0, clip=clip)
        found = method.gradient(loss, PARAMS, episodes, warm())
        expected = MetaICL().gradient(loss, PARAMS, episodes, warm())
        same(found.grads, expected.grads)
    with pytest.raises(ValueError, match="^moments: expected .*second moment"):
        MAMLenLLM(inner=None, inner_steps=0, moments="second")


@pytest.mark.parametrize("inner", [SGD(0.1), Lion(0.1)])
@pytest.mark.parametrize("kind", [MAMLenLLM, Reptile])
def test_no_second_moments_are_refused(inner, kind):
    with pytest.raises(ValueError, match="^moments: expected .*second.*found"):
        kind(inner=inner, moments="second")


@pytest.mark.parametrize("value", [0, -1, float("inf"), "1"])
@pytest.mark.parametrize("kind", [MAMLenLLM, Reptile])
def test_no_norm_is_refused(value, kind):
    with pytest.raises(ValueError, match="^clip: expected .*found"):
        kind(inner=ADAM, clip=value)


def test_an_unknown_join_is_refused():
    with pytest.raises(ValueError, match="^join: expected one of mean, mean-gradient"):
        maml(join="sum")


@pytest.mark.parametrize("mode", ["reverse", "unrolled"])
@pytest.mark.parametrize("moments", ["shared", "shared-frozen", "fresh", "second"])
def test_the_clipped_meta_gradient_is_that_of_central_differences(mode, moments):
    method = maml(mode=mode, moments=moments)
    found = method.gradient(loss, PARAMS, EPISODES, warm()).grads
    h = 1e-6
    for name, p in PARAMS.items():
        for i in range(len(p)):
            losses = []
            for sign in (1, -1):
                moved = p.clone()
                moved[i] += sign * h
                at = PARAMS | {name: moved}
                losses.append(method.gradient(loss, at, EPISODES, warm()).loss)
            slope = (losses[0] - losses[1]) / (2 * h)
            assert found[name][i].item() == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_reptile_clips_every_step():
    inner = Clipped(ADAM, CLIP)
    found = Reptile(inner=ADAM, clip=CLIP).gradient(loss, PARAMS, EPISODES, warm())
    expected = Reptile(inner=inner).gradient(loss, PARAMS, EPISODES, warm())
    same(found.grads, expected.grads)


@pytest.mark.parametrize("moments", ["shared", "shared-frozen", "fresh", "second"])
def test_a_look_goes_through_the_same_inner_loops(moments):
    method = maml(moments=moments)
    found = method.look(loss, PARAMS, EPISODES, warm())
    first = replace(method, mode="first_order").gradient(loss, PARAMS, EPISODES, warm())
    same(found.grads, first.grads)
    before = [float(loss(PARAMS, e.query)) for e in EPISODES]
    assert found.loss == pytest.approx(sum(before) / 3)
    assert [row[0] for row in found.inner_losses] == before
    after = [row[1] for row in found.inner_losses]
    assert sum(after) / 3 == pytest.approx(first.loss)
    assert all(row[2] > 0 for row in found.inner_losses)


def test_a_look_at_shared_moments_by_hand():
    found = maml().look(loss, PARAMS, EPISODES, warm())
    for row, episode in zip(found.inner_losses, EPISODES, strict=True):
        params, _, _ = own_way(episode, warm())
        change = joint_norm({n: params[n] - p for n, p in PARAMS.items()})
        assert row[2] == pytest.approx(float(change / joint_norm(PARAMS)))
        between, _ = ADAM.update(
            clipped_gradient(PARAMS, episode.support[0]), warm(), PARAMS
        )
        norms = [
            float(joint_norm(loss_and_grad(loss, at, batch)[1]))
            for at, batch in zip((PARAMS, between), episode.support, strict=True)
        ]
        assert row[3] == pytest.approx(sum(norms) / 2)
