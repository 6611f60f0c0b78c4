"""The figure of one inner step: what is drawn."""

import numpy as np
import pytest

from maml_en_llm.plots.inner_steps import change_by_step, inner_step_changes


def record(shift, tasks=3, moments=("fresh",)):
    """Task i starts at i and changes by shift · (i + 1) · support · place of rate."""
    supports, rates = [1, 4], [1e-3, 1e-2]
    before = [float(i) for i in range(tasks)]
    after = [
        [
            [[i + shift * (i + 1) * s * r for r in (1, 2)] for s in supports]
            for i in before
        ]
        for _ in moments
    ]
    return dict(
        tasks=[f"t{i}" for i in before],
        supports=supports,
        rates=rates,
        moments=list(moments),
        before=before,
        after=after,
    )


def test_changes_are_means_over_tasks_of_the_same_queries():
    mean, error = change_by_step(record(0.5))
    assert mean.shape == error.shape == (1, 2, 2)
    assert mean[0].tolist() == [[1.0, 2.0], [4.0, 8.0]]
    each = np.array([0.5, 1.0, 1.5])
    assert error[0, 0, 0] == pytest.approx(2 * each.std(ddof=1) / 3**0.5)


def test_one_task_has_no_spread():
    assert not change_by_step(record(0.5, tasks=1))[1].any()


def test_a_panel_per_support_and_a_line_per_model_and_moments(two):
    records = {
        "base": record(0.5, moments=("fresh", "second")),
        "MetaICL": record(-0.5, moments=("fresh", "second")),
    }
    assert inner_step_changes(two, records) is two
    assert [axes.get_title() for axes in two] == ["1 prompt", "4 prompts"]
    drawn = [line for line in two[1].lines if line.get_marker() == "o"]
    assert [line.get_ydata().tolist() for line in drawn] == [
        [4.0, 8.0],
        [4.0, 8.0],
        [-4.0, -8.0],
        [-4.0, -8.0],
    ]
    assert [line.get_xdata().tolist() for line in drawn] == [[1e-3, 1e-2]] * 4
    names = [text.get_text() for text in two[0].get_legend().get_texts()]
    assert names == [
        f"{model}, {moments} moments"
        for model in ("base", "MetaICL")
        for moments in ("fresh", "second")
    ]
    assert two[0].get_xscale() == "log" and "nats" in two[0].get_ylabel()
