"""Adam with moments in 8 bits: what coding loses, what stays exact, and training."""

import sys

import pytest
import torch
from helpers import batch_for, small_model

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
from maml_en_llm.optimizers import Adam8Bit, Clipped, Frozen, make_optimizer
from maml_en_llm.optimizers.eight_bit import NUMBERS_PER_SCALE as BLOCK
from maml_en_llm.optimizers.eight_bit import SMALLEST, Coded, EightBit, decoded


def tensors(seed, size=2 * SMALLEST):
    source = torch.Generator().manual_seed(seed)
    return {
        "large": torch.randn(size // BLOCK, BLOCK, generator=source),
        "small": torch.randn(7, generator=source),
    }


def after(optimizer, steps=3):
    params, state = tensors(0), optimizer.init(tensors(0))
    for step in range(steps):
        params, state = optimizer.update(tensors(step + 1), state, params)
    return params, state


def test_float64_parameters_are_refused():
    params = {name: tensor.double() for name, tensor in tensors(0).items()}
    with pytest.raises(ValueError, match=r"of 32 or 16 bits.*float64 \(large\); use"):
        EightBit(Adam(1e-3)).init(params)


def test_moments_are_coded_in_a_byte_each_and_small_ones_left_alone():
    _, state = after(EightBit(Adam(1e-3)))
    for moment in state.moments:
        assert (
            isinstance(moment["large"], Coded)
            and moment["large"].levels.dtype == torch.uint8
        )
        assert moment["large"].levels.numel() == tensors(0)["large"].numel()
        assert (
            moment["large"].key.absmax.numel() == tensors(0)["large"].numel() // BLOCK
        )  # a scale a block
        assert moment["small"].dtype == torch.float32


def test_a_first_step_is_adam_and_what_is_small_stays_adam():
    coded, plain = EightBit(Adam(1e-3)), Adam(1e-3)
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            after(coded, 1)[0].values(), after(plain, 1)[0].values(), strict=True
        )
    )
    assert torch.equal(after(coded)[0]["small"], after(plain)[0]["small"])


def test_the_coding_loses_a_hundredth_of_the_largest_of_a_block():
    states = [
        decoded(after(optimizer, 1)[1])
        for optimizer in (EightBit(Adam(1e-3)), Adam(1e-3))
    ]
    for ours, exact in zip(*(state.moments for state in states), strict=True):
        gap, size = (
            (ours["large"] - exact["large"]).abs(),
            exact["large"].abs().amax(1, keepdim=True),
        )
        assert 0 < (gap / size).max() < 0.02
        assert (gap.norm() / exact["large"].norm()) < 0.015


def test_later_steps_stay_near_adam():
    start, coded, plain = (
        tensors(0),
        after(EightBit(Adam(1e-3)), 10)[0],
        after(Adam(1e-3), 10)[0],
    )
    moved = (plain["large"] - start["large"]).norm()
    assert 0 < (coded["large"] - plain["large"]).norm() / moved < 0.05


def test_what_is_not_coded_is_decoded_to_itself():
    state = Adam(1e-3).init(tensors(0))
    assert all(
        decoded(state).moments[0][name] is t for name, t in state.moments[0].items()
    )
    assert decoded(()) == ()


def test_an_optimizer_without_moments_has_nothing_to_code():
    assert torch.equal(
        after(EightBit(SGD(0.1)))[0]["large"], after(SGD(0.1))[0]["large"]
    )


@pytest.mark.parametrize(
    "method",
    [MetaICL(), MAMLenLLM(inner=Adam(1e-3)), Reptile(inner=Adam(1e-3))],
    ids=lambda method: type(method).__name__,
)
def test_training_follows_adam(method):
    model = small_model(dtype=torch.float32)  # its embeddings are large enough
    loss = PromptLoss(model)
    losses = {}
    for name in ("adam", "adam-8bit"):
        optimizer, params = make_optimizer(name, 1e-3), parameters(model)
        state, losses[name] = optimizer.init(params), []
        for step in range(6):
            batch = batch_for(model, step % 2)
            episodes = [Episode("t", (batch_for(model, 9),), batch)]
            outer = method.gradient(loss, params, episodes, state)
            params, state = optimizer.update(outer.grads, outer.state, params)
            losses[name].append(outer.loss)
    assert losses["adam"][0] == losses["adam-8bit"][0]
    assert losses["adam"] != losses["adam-8bit"]
    fall = losses["adam"][0] - losses["adam"][-2]  # of the same batch
    assert fall > 0
    assert losses["adam-8bit"] == pytest.approx(losses["adam"], abs=0.1 * fall)


@pytest.mark.parametrize("mode", ["reverse", "unrolled", "finite_difference"])
@pytest.mark.parametrize("wrap", [lambda o: o, Frozen, lambda o: Clipped(o, 1.0)])
def test_what_is_rounded_has_no_derivative(wrap, mode):
    """Autograd sees no way through the coding, and would leave it out."""
    inner, batches = wrap(Adam8Bit(1e-3)), [0.5, 0.3]

    def loss(params, batch):
        assert mode == "first_order", "no work is done before"
        return sum((p * batch).sin().square().sum() for p in params.values())

    with pytest.raises(ValueError, match=r"^inner: .* derivative, .* take Adam\(lr"):
        meta_gradient(loss, tensors(0), batches, 0.1, inner, mode=mode)
    mode = "first_order"
    found = meta_gradient(loss, tensors(0), batches, 0.1, inner, mode=mode)
    assert found.grads["large"].isfinite().all()


def test_what_has_no_gradient_keeps_its_moments():
    coded = EightBit(Adam(1e-3))
    params, state = after(coded)
    some = {"small": params["small"]}
    _, later = coded.update(some, state, params)
    for before, now in zip(state.moments, later.moments, strict=True):
        assert now["large"] is before["large"]


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(
        ImportError,
        match="'adam-8bit' needs bitsandbytes, found none; pip install bitsandbytes",
    ):
        EightBit(Adam(1e-3))
