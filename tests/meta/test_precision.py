"""Second order in half precision is refused, of a plain loss too."""

import pytest
import torch

from maml_en_llm import SGD, meta_gradient

SECOND_ORDER = ("reverse", "unrolled", "finite_difference")
HALF = (torch.bfloat16, torch.float16)


def loss(params, batch):
    """In float32 whatever the parameters are: nothing of it tells their types."""
    return batch * (params["w"].float().sin() @ params["v"].float()).square()


def of_types(w: torch.dtype, v: torch.dtype) -> dict:
    return {"w": torch.ones(3, dtype=w), "v": torch.ones(3, dtype=v)}


@pytest.mark.parametrize("mode", SECOND_ORDER)
@pytest.mark.parametrize("kind", HALF)
def test_half_precision_is_refused_and_the_cure_is_named(mode, kind):
    for params, name in (
        (of_types(kind, kind), "v"),
        (of_types(torch.float32, kind), "v"),
        (of_types(kind, torch.float64), "w"),
    ):
        message = f"dtype: mode '{mode}' .* found {kind}; hold '{name}' .*float32 or fl"
        for adapt in (None, ["w"]):
            how = dict(mode=mode, adapt=adapt)
            with pytest.raises(ValueError, match=message) as raised:
                meta_gradient(loss, params, [1.0], 1.0, SGD(0.1), **how)
            assert len(str(raised.value)) < 300
            meta_gradient(loss, params, [], 1.0, None, **how)  # no second order


@pytest.mark.parametrize("kind", HALF)
def test_first_order_goes_in_half_precision(kind):
    how = dict(mode="first_order")
    found = meta_gradient(loss, of_types(kind, kind), [1.0], 1.0, SGD(0.1), **how)
    assert found.grads["w"].dtype == kind


@pytest.mark.parametrize("mode", SECOND_ORDER)
def test_autocast_around_a_plain_loss_is_refused(mode):
    params = of_types(torch.float32, torch.float32)
    with torch.autocast("cpu"), pytest.raises(ValueError, match="autocast: .*cpu"):
        meta_gradient(loss, params, [1.0], 1.0, SGD(0.1), mode=mode)
    meta_gradient(loss, params, [1.0], 1.0, SGD(0.1), mode=mode)
