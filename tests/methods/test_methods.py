"""Methods: the identities between them, averaging over tasks, moments, clipping."""

import pytest
import torch
from helpers import small_model

from maml_en_llm import (
    SGD,
    Adam,
    Episode,
    MAMLenLLM,
    MetaICL,
    PromptLoss,
    Reptile,
    meta_gradient,
    parameters,
)
from maml_en_llm.meta.calculus import loss_and_grad
from maml_en_llm.methods import Budget
from maml_en_llm.prompts import Prompt, bucket, collate
from maml_en_llm.tensors import clip_by_norm

pytestmark = pytest.mark.numeric

PARAMS = {
    "x": torch.tensor([0.7, -0.4], dtype=torch.float64),
    "y": torch.tensor([1.3], dtype=torch.float64),
}
EPISODES = [Episode(f"task {n}", (0.3 + n, 1.1 - n), 0.5 * n) for n in range(3)]


def loss(params, batch):
    """Any smooth function that differs between batches, here numbers."""
    return (params["x"] * batch).sin().sum() + (
        params["x"].sum() * params["y"] - batch
    ).square().sum()


def warm_state():
    adam = Adam(0.01)
    return adam.update(loss_and_grad(loss, PARAMS, 0.2)[1], adam.init(PARAMS), PARAMS)[
        1
    ]


def assert_same(found, expected):
    assert found.loss == expected.loss
    for name in PARAMS:
        assert torch.equal(found.grads[name], expected.grads[name])


def test_metaicl_is_the_mean_of_the_query_gradients():
    found = MetaICL().gradient(loss, PARAMS, EPISODES, ())
    for name in PARAMS:
        expected = (
            sum(loss_and_grad(loss, PARAMS, e.query)[1][name] for e in EPISODES) / 3
        )
        torch.testing.assert_close(found.grads[name], expected)


@pytest.mark.parametrize("moments", ["shared", "shared-frozen", "fresh"])
@pytest.mark.parametrize(
    "inner, k",
    [(Adam(0.01), 0), (Adam(0.0), 2), (SGD(0.0), 2)],
    ids=["k=0", "rate 0", "SGD 0"],
)
def test_maml_without_adaptation_is_metaicl_exactly(moments, inner, k):
    state = warm_state() if isinstance(inner, Adam) else inner.init(PARAMS)
    maml = MAMLenLLM(inner=inner, inner_steps=k, moments=moments)
    assert_same(
        maml.gradient(loss, PARAMS, EPISODES, state),
        MetaICL().gradient(loss, PARAMS, EPISODES, state),
    )


def test_maml_averages_the_tasks_meta_gradients():
    found = MAMLenLLM(inner=SGD(0.05), inner_steps=2).gradient(
        loss, PARAMS, EPISODES, SGD(0.05).init(PARAMS)
    )
    each = [
        meta_gradient(loss, PARAMS, e.support, e.query, SGD(0.05), mode="unrolled")
        for e in EPISODES
    ]
    for name in PARAMS:
        torch.testing.assert_close(
            found.grads[name], sum(r.grads[name] for r in each) / 3
        )
    assert found.loss == pytest.approx(sum(r.query_loss for r in each) / 3)
    assert [len(task) for task in found.inner_losses] == [2, 2, 2]


def test_the_order_of_the_tasks_does_not_matter():
    maml, state = MAMLenLLM(inner=Adam(0.05), inner_steps=2), warm_state()
    one, other = (
        maml.gradient(loss, PARAMS, episodes, state)
        for episodes in (EPISODES, EPISODES[::-1])
    )
    for name in PARAMS:
        torch.testing.assert_close(
            one.grads[name], other.grads[name], rtol=1e-12, atol=1e-14
        )
        torch.testing.assert_close(
            one.state.moments[1][name],
            other.state.moments[1][name],
            rtol=1e-12,
            atol=1e-14,
        )


def test_moments_decide_where_the_outer_step_starts():
    state = warm_state()
    after = {
        m: MAMLenLLM(inner=Adam(0.05), inner_steps=2, moments=m)
        .gradient(loss, PARAMS, EPISODES, state)
        .state
        for m in ("shared", "shared-frozen", "fresh")
    }
    assert after["shared-frozen"] is state and after["fresh"] is state
    assert after["shared"].step == state.step + 2
    each = [
        meta_gradient(loss, PARAMS, e.support, e.query, Adam(0.05), state=state).state
        for e in EPISODES
    ]
    torch.testing.assert_close(
        after["shared"].moments[0]["x"], sum(s.moments[0]["x"] for s in each) / 3
    )


def test_moments_decide_the_gradient():
    state = warm_state()
    found = [
        MAMLenLLM(inner=Adam(0.05), inner_steps=2, moments=m)
        .gradient(loss, PARAMS, EPISODES, state)
        .grads["x"]
        for m in ("shared", "shared-frozen", "fresh")
    ]
    assert not torch.allclose(found[0], found[1]) and not torch.allclose(
        found[0], found[2]
    )


def test_unknown_moments_are_refused():
    with pytest.raises(
        ValueError,
        match="moments: expected one of shared, shared-frozen, fresh, second, found",
    ):
        MAMLenLLM(inner=SGD(0.1), moments="mixed")


@pytest.mark.parametrize("limit, length", [(1.0, 1.0), (10.0, 5.0)])
def test_clipping_keeps_the_direction(limit, length):
    grads = {"a": torch.tensor([3.0]), "b": torch.tensor([0.0, 4.0])}
    clipped, norm = clip_by_norm(grads, limit)
    assert norm == pytest.approx(5.0)
    assert torch.cat(list(clipped.values())).norm().item() == pytest.approx(length)
    assert clipped["b"][1] / clipped["a"][0] == pytest.approx(4 / 3)


# --- Reptile and FOMAML ---


def test_reptile_without_support_is_metaicl_by_sgd():
    sgd = SGD(0.03)
    found = Reptile(inner=sgd, inner_steps=0).gradient(
        loss, PARAMS, EPISODES, sgd.init(PARAMS)
    )
    expected = MetaICL().gradient(loss, PARAMS, EPISODES, ())
    assert found.loss == expected.loss
    for name in PARAMS:
        torch.testing.assert_close(found.grads[name], expected.grads[name])


@pytest.mark.parametrize("moments", ["shared", "shared-frozen", "fresh"])
def test_reptile_is_the_way_that_plain_steps_lead(moments):
    inner, state = Adam(0.03), warm_state()
    found = Reptile(inner=inner, inner_steps=2, moments=moments).gradient(
        loss, PARAMS, EPISODES, state
    )
    ways, states = [], []
    for e in EPISODES:
        theta, own = PARAMS, inner.init(PARAMS) if moments == "fresh" else state
        for batch in (*e.support, e.query):
            theta, advanced = inner.update(
                loss_and_grad(loss, theta, batch)[1], own, theta
            )
            own = own if moments == "shared-frozen" else advanced
        ways.append({name: (PARAMS[name] - theta[name]) / 0.03 for name in PARAMS})
        states.append(own)
    for name in PARAMS:
        torch.testing.assert_close(
            found.grads[name], sum(way[name] for way in ways) / 3
        )
    if moments == "shared":
        for n in PARAMS:
            torch.testing.assert_close(
                found.state.moments[0][n], sum(s.moments[0][n] for s in states) / 3
            )
    else:
        assert found.state is state
    assert [len(losses) for losses in found.inner_losses] == [2, 2, 2]


def test_reptile_refuses_a_rate_of_zero():
    with pytest.raises(
        ValueError,
        match="inner: expected a rate above 0, by which Reptile divides, found 0.0",
    ):
        Reptile(inner=SGD(0.0))


NO_METHODS = [
    (MAMLenLLM, dict(inner_steps=-1), "inner_steps: expected a whole number"),
    (MAMLenLLM, dict(inner_steps=1.0), "inner_steps: expected a whole number"),
    (MAMLenLLM, dict(together="no"), "together: expected True or False, or None"),
    (MAMLenLLM, dict(instructions=1), "instructions: expected True or False, found 1"),
    (MAMLenLLM, dict(demonstrations=16), "demonstrations: expected True or False"),
    (MAMLenLLM, dict(adapt="x"), "adapt: expected names of parameters"),
    (MAMLenLLM, dict(adapt=5), "adapt: expected names of parameters"),
    (Reptile, dict(inner_steps=-1), "inner_steps: expected a whole number"),
    (Reptile, dict(instructions=None), "instructions: expected True or False"),
    (MetaICL, dict(tokens_at_once=-1), "tokens_at_once: expected a whole number"),
    (MetaICL, dict(demonstrations=0), "demonstrations: expected True or False"),
]


@pytest.mark.parametrize("kind, fields, message", NO_METHODS)
def test_fields_that_no_method_has_are_refused(kind, fields, message):
    inner = {} if kind is MetaICL else {"inner": SGD(0.1)}
    with pytest.raises(ValueError, match=f"^{message}"):
        kind(**inner, **fields)


def test_fomaml_is_maml_without_the_hessian():
    """By SGD, dL(θ′)/dθ = (I − lr·H) ∇L(θ′); FOMAML's is ∇L(θ′)."""
    lr, e = 0.05, EPISODES[0]
    first, second = (
        MAMLenLLM(inner=SGD(lr), inner_steps=1, mode=mode)
        .gradient(loss, PARAMS, [e], SGD(lr).init(PARAMS))
        .grads
        for mode in ("first_order", "reverse")
    )
    flat = torch.cat([p for p in PARAMS.values()])

    def of_vector(v):
        return loss({"x": v[:2], "y": v[2:]}, e.support[0])

    hessian = torch.autograd.functional.hessian(of_vector, flat)
    gap = torch.cat([second[n] - first[n] for n in PARAMS])
    torch.testing.assert_close(
        gap, -lr * hessian @ torch.cat([first[n] for n in PARAMS])
    )
    assert gap.abs().max() > 1e-3


# --- batches ---


def padded(prompt: int, length: int):
    return collate([Prompt(tuple(range(1, length + 1)), 2) for _ in range(prompt)])


def test_buckets_hold_neighbours_in_length():
    batches = [padded(1, n) for n in (5, 30, 6, 29, 90)]
    found = bucket(batches, 60)
    assert [tuple(batch.input_ids.shape) for _, batch in found] == [
        (2, 6),
        (2, 30),
        (1, 90),
    ]
    assert [share for share, _ in found] == [2 / 5, 2 / 5, 1 / 5]
    assert (
        sum(batch.n_tokens for _, batch in found) == 160
        and sum(int(b.loss_mask.sum()) for _, b in found) == 10
    )
    assert len(bucket(batches, 10**6)) == 1


@pytest.mark.parametrize("rows", [(2, 2, 2, 2), (1, 3, 3, 1)])
@pytest.mark.parametrize("tokens", [1, 40, 10**6])
def test_metaicl_in_buckets_is_metaicl(tokens, rows):
    """Tasks weigh alike, whatever the number of their prompts."""
    model = small_model()
    sizes = zip(rows, (9, 20, 8, 21), strict=True)
    episodes = [Episode(str(n), (), padded(row, n)) for row, n in sizes]
    params = parameters(model)
    plain = MetaICL().gradient(PromptLoss(model), params, episodes, ())
    found = MetaICL(tokens_at_once=tokens).gradient(
        PromptLoss(model), params, episodes, ()
    )
    assert found.loss == pytest.approx(plain.loss, rel=1e-12)
    for name in params:
        torch.testing.assert_close(
            found.grads[name], plain.grads[name], rtol=1e-9, atol=1e-12
        )


# --- budgets ---

METHODS = {
    "metaicl": (MetaICL(), 1),
    "reptile": (Reptile(inner=Adam(0.01), inner_steps=3), 4),
    **{
        mode: (MAMLenLLM(inner=Adam(0.01), inner_steps=3, mode=mode), cost)
        for mode, cost in (
            ("reverse", 12),
            ("unrolled", 10),
            ("first_order", 4),
            ("finite_difference", 8),
        )
    },
}


@pytest.mark.parametrize(("method", "gradients"), METHODS.values(), ids=METHODS)
def test_the_budget_counts_what_the_loss_is_given(method, gradients):
    model, calls = small_model(), []
    inner = PromptLoss(model)

    def counted(params, batch):
        calls.append(batch.n_tokens)
        return inner(params, batch)

    episodes = [
        Episode(str(n), tuple(padded(1, n + i) for i in range(3)), padded(1, n))
        for n in (9, 20)
    ]
    params, budget = parameters(model), Budget()
    for _ in range(2):
        budget.add(method, episodes)
    method.gradient(counted, params, episodes, Adam(0.01).init(params))
    assert budget.outer_steps == 2 and budget.gradients == 2 * 2 * gradients
    assert budget.tokens_forward == 2 * sum(calls)
    support, query = (
        sum(b.n_tokens for e in episodes for b in part(e))
        for part in (lambda e: e.support[:2], lambda e: (e.query,))
    )
    last = sum(e.support[2].n_tokens for e in episodes)
    often = {12: (3, 2), 10: (2, 2), 8: (2, 3)}.get(
        gradients, (1, 1)
    )  # a Hessian-vector product goes back through both passes
    trained = (support * often[0] + last * often[1]) if gradients > 1 else 0
    assert budget.tokens_backward == 2 * (trained + query)


def test_the_budget_counts_batches_in_parts():
    """Of parts no graph waits: the last support batch is gone through twice, too."""
    model, calls = small_model(), []

    class Counted(PromptLoss):
        def __call__(self, params, batch):
            calls.append(batch.n_tokens)
            return super().__call__(params, batch)

    episodes = [
        Episode(name, (padded(2, 9), padded(2, 12)), padded(2, 7)) for name in "ab"
    ]
    params, budget = parameters(model), Budget()
    method = MAMLenLLM(inner=Adam(0.01), inner_steps=2)
    budget.add(method, episodes, in_parts=True)
    in_parts = Counted(model, prompts_at_once=1)
    method.gradient(in_parts, params, episodes, Adam(0.01).init(params))
    assert budget.tokens_forward == sum(calls)
    assert budget.gradients == 2 * (2 * 4 + 1)


# --- what the episodes have to hold ---

KINDS = {
    "MAML-en-LLM": MAMLenLLM(inner=SGD(0.1), inner_steps=3, moments="fresh"),
    "Reptile": Reptile(inner=SGD(0.1), inner_steps=3, moments="fresh"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batches", [0, 2])
def test_too_few_support_batches_are_refused(kind, batches):
    """None would make it MetaICL, silently."""
    few = [Episode(e.task, e.support[:batches], e.query) for e in EPISODES]
    with pytest.raises(ValueError, match=r"expected 3 support .* inner_steps=3\)"):
        KINDS[kind].gradient(loss, PARAMS, few, ())


@pytest.mark.parametrize("kind", KINDS)
def test_one_batch_for_all_steps_and_further_ones_are_taken(kind):
    one = [Episode(e.task, e.support[:1], e.query) for e in EPISODES]
    found = KINDS[kind].gradient(loss, PARAMS, one, ())
    assert [len(losses) for losses in found.inner_losses] == [1, 1, 1]
    longer = [Episode(e.task, (*e.support, 1.0, 2.0), e.query) for e in EPISODES]
    found = KINDS[kind].gradient(loss, PARAMS, longer, ())
    assert [len(losses) for losses in found.inner_losses] == [3, 3, 3]


@pytest.mark.parametrize("method", [MetaICL(), *KINDS.values()])
@pytest.mark.parametrize(
    "wrong", [[], EPISODES[0], (e for e in EPISODES), "abc", [1.0], None]
)
def test_what_is_no_list_of_episodes_is_refused(method, wrong):
    with pytest.raises(ValueError, match="episodes: expected a list of one Episode"):
        method.gradient(loss, PARAMS, wrong, ())
