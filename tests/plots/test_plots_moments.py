"""The picture of the moments says what the methods do."""

import pytest
import torch

from maml_en_llm import Adam, MAMLenLLM
from maml_en_llm.methods import Episode
from maml_en_llm.methods.inner import MOMENTS, inner_step
from maml_en_llm.plots import moments_flow
from maml_en_llm.plots.moments import FLOWS

PARAMS = {"x": torch.tensor([1.0, -2.0], dtype=torch.float64)}
EPISODES = [
    Episode("task", (torch.tensor(a),), torch.tensor(a + 1)) for a in (0.5, 2.0)
]


def loss(params, batch):
    return (batch * params["x"] ** 2).sum()


def state(m=0.1, v=0.2):
    """Moments of two coordinates, after ten updates."""
    x = torch.ones(2, dtype=torch.float64)
    start = Adam(0.05).init(PARAMS)
    return start._replace(moments=({"x": m * x}, {"x": v * x}), step=10)


def step_from(moments, start):
    """One inner step as the method makes it."""
    step = inner_step(Adam(0.05), moments, None)
    begins = step.init(PARAMS) if moments == "fresh" else start
    moved, _ = step.update({"x": torch.ones(2, dtype=torch.float64)}, begins, PARAMS)
    return moved["x"]


def test_every_value_of_moments_is_drawn(row):
    assert set(FLOWS) == set(MOMENTS)
    assert [axes.get_title() for axes in moments_flow(row)] == list(FLOWS)


@pytest.mark.parametrize("moments", FLOWS)
def test_an_inner_step_reads_what_the_picture_says(moments):
    reads, _ = FLOWS[moments]
    usual = step_from(moments, state())
    for letter, other in (("m", state(m=0.3)), ("v", state(v=0.5))):
        changed = not torch.equal(usual, step_from(moments, other))
        assert changed == (letter in reads), letter


@pytest.mark.parametrize("moments", FLOWS)
def test_copies_are_handed_on_where_the_picture_says(moments):
    _, hands_on = FLOWS[moments]
    start = state()
    method = MAMLenLLM(inner=Adam(0.05), inner_steps=1, moments=moments)
    found = method.gradient(loss, PARAMS, EPISODES, start).state
    kept = torch.equal(found.moments[1]["x"], start.moments[1]["x"])
    assert kept != hands_on
