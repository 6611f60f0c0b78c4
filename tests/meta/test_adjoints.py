"""An adjoint that is inherited is that of the update that is inherited with it."""

from dataclasses import dataclass

import pytest
import torch
from helpers import OPTIMIZERS, name

from maml_en_llm import SGD, meta_gradient
from maml_en_llm.optimizers import Clipped, Frozen, Momentum

pytestmark = pytest.mark.numeric


@dataclass(frozen=True)
class Nesterov(Momentum):
    """Its rule is its own, its adjoint is that of `Momentum`."""

    def rule(self, t, g, p, b, out=(None, None)):
        b = self.momentum * b + g
        return p - self.lr * (g + self.momentum * b), b


@dataclass(frozen=True)
class WithAdjoint(Nesterov):
    """θ' = θ − lr (g + γ b'),   b' = γ b + g."""

    def adjoint(self, t, g, p, b, dp, db):
        db = db - self.lr * self.momentum * dp
        return db - self.lr * dp, dp, self.momentum * db


class Renamed(WithAdjoint):
    """What overrides neither is taken as it is."""


class Signs:
    """Mixed in before a class, it stands between that and its adjoint."""

    def update(self, grads, state, params, **how):
        signs = {n: g.sign() for n, g in grads.items()}
        return super().update(signs, state, params, **how)


class SignedSGD(Signs, SGD):
    pass


class Doubled(Clipped):
    def update(self, grads, state, params, **how):
        twice = {n: 2 * g for n, g in grads.items()}
        return super().update(twice, state, params, **how)


def loss(params, batch):
    return batch * params["x"].sin().square().sum()


def found(step, mode):
    params = {"x": torch.tensor([1.0, -2.0], dtype=torch.float64)}
    return meta_gradient(loss, params, [1, 2], 1, step, mode=mode).grads["x"]


@pytest.mark.parametrize("mode", ["reverse", "finite_difference"])
@pytest.mark.parametrize(
    ("inner", "words"),
    [
        (Nesterov(0.1), "its Momentum; write Nesterov.adjoint"),
        (Frozen(Clipped(Nesterov(0.1), 1.0)), "its Momentum; write Nesterov.adjoint"),
        (SignedSGD(0.1), "its SGD; write SignedSGD.adjoint"),
        (Doubled(SGD(0.1), 1.0), "its Clipped; write Doubled.adjoint"),
    ],
    ids=repr,
)
def test_the_adjoint_of_another_update_is_refused(inner, words, mode):
    message = f"inner: .*'{mode}' .* not that of {words}, or use mode 'unrolled'"
    with pytest.raises(ValueError, match=message):
        found(inner, mode)
    for other in ("unrolled", "first_order"):
        assert found(inner, other).isfinite().all()


@pytest.mark.parametrize("kind", [WithAdjoint, Renamed])
def test_an_adjoint_of_ones_own_is_used(kind):
    exact = found(Nesterov(0.1), "unrolled")
    torch.testing.assert_close(found(kind(0.1), "reverse"), exact, rtol=1e-12, atol=0)


@pytest.mark.parametrize("step", OPTIMIZERS, ids=name)
def test_those_of_the_package_bring_their_own(step):
    for inner in (step, Clipped(step, 0.5), Frozen(step)):
        exact = found(inner, "unrolled")
        torch.testing.assert_close(
            found(inner, "reverse"), exact, rtol=1e-9, atol=1e-12
        )
