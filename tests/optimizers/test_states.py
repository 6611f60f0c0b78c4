"""States that no update gives are refused: counts of steps, and second moments."""

import numpy as np
import pytest
import torch

from maml_en_llm import SGD, Adam, meta_gradient
from maml_en_llm.meta import DERIVATIVES
from maml_en_llm.optimizers import Clipped, Frozen, NAdam, RMSprop

PARAMS = {"x": torch.tensor([1.0, -2.0], dtype=torch.float64)}


def loss(params, batch):
    return batch * params["x"].sin().square().sum()


def found(optimizer, state, mode="reverse"):
    how = dict(mode=mode, state=state)
    return meta_gradient(loss, PARAMS, [1.0], 1.0, optimizer, **how).grads["x"]


@pytest.mark.parametrize("step", [0.5, -1, -7, None, "3", float("nan"), True])
@pytest.mark.parametrize("optimizer", [SGD(0.1), Adam(0.1)], ids=repr)
def test_a_count_that_is_no_whole_number_from_0_is_refused(optimizer, step):
    state = optimizer.init(PARAMS)._replace(step=step)
    message = "state.step: expected a whole number of at least 0, found "
    with pytest.raises(ValueError, match=message):
        optimizer.update(PARAMS, state, PARAMS)
    for mode in DERIVATIVES:
        with pytest.raises(ValueError, match=message):
            found(optimizer, state, mode)


def test_a_count_of_another_library_is_taken():
    adam = Adam(0.1)
    state = adam.init(PARAMS)
    expected = found(adam, state._replace(step=2))
    assert torch.equal(found(adam, state._replace(step=np.int64(2))), expected)


@pytest.mark.parametrize("mode", DERIVATIVES)
@pytest.mark.parametrize(
    "optimizer",
    [Adam(0.1), NAdam(0.1), RMSprop(0.1), Frozen(Clipped(Adam(0.1), 1.0))],
    ids=repr,
)
def test_a_negative_second_moment_is_refused(optimizer, mode):
    fine = optimizer.init(PARAMS)
    *others, variance = fine.moments
    below = variance["x"].clone()
    below[1] = -1e-12
    for slots in (fine.slots, ""):
        state = fine._replace(moments=(*others, {"x": below}), slots=slots)
        with pytest.raises(ValueError, match="state: .* least 0, found -1e-12 for 'x'"):
            found(optimizer, state, mode)
    assert found(optimizer, fine, mode).isfinite().all()
