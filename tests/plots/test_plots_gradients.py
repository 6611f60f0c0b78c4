"""Figures of meta-gradients: what is drawn."""

import numpy as np
import pytest
import torch

from maml_en_llm import plots


def named(axes):
    """Lines that a legend would show, by label."""
    lines = axes.lines
    return {x.get_label(): x for x in lines if not x.get_label().startswith("_")}


def test_descent_paths_are_drawn_over_contours_with_their_ends(axes):
    start = torch.tensor([2.0, 1.0], dtype=torch.float64)
    scale = torch.linspace(1, 0, 5, dtype=torch.float64)[:, None]
    paths = {"straight": start * scale, "short": start * scale[:3]}

    def height(theta):
        return (theta @ theta).item() + 0.1

    found = plots.descent_paths(axes, height, paths, minimum=torch.zeros(2))
    assert found is axes
    lines = named(axes)
    assert list(lines) == ["straight", "short"]
    for name, path in paths.items():
        assert np.allclose(np.array(lines[name].get_data()).T, path)
    ends = {line.get_marker(): line.get_xydata()[0].tolist() for line in axes.lines}
    assert ends["*"] == [0, 0] and ends["s"] == [2, 1]
    assert axes.collections, "expected contours"
    assert axes.get_aspect() == 1.0


def test_saved_memory_stacks_the_trajectory_on_the_sweep(axes):
    saved = {"unrolled": [10.0, 20.0, 40.0], "reverse": [5.0, 5.0, 5.0]}
    assert plots.saved_memory(axes, (1, 2, 4), saved, [1.0, 2.0, 3.0]) is axes
    unrolled, reverse = axes.lines
    assert unrolled.get_ydata().tolist() == saved["unrolled"]
    assert reverse.get_ydata().tolist() == saved["reverse"]
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices[:, 1]
    assert corners.min() == 5 and corners.max() == 8
    assert axes.get_ylim()[0] == 0 and "MiB" in axes.get_ylabel()
    assert axes.get_xticks().tolist() == [1, 2, 4]
    assert len(axes.get_legend().get_texts()) == 3


def test_first_order_has_a_line_per_k_in_both_panels(two):
    agreement = {1: [(0.9, 0.1), (0.5, 1.0)], 4: [(0.8, 0.3), (0.2, 2.0)]}
    assert plots.first_against_second_order(two, (0.01, 0.1), agreement) is two
    left, right = two
    assert list(named(left)) == ["k = 1", "k = 4"]
    assert named(left)["k = 4"].get_ydata().tolist() == [0.8, 0.2]
    assert named(right)["k = 1"].get_ydata().tolist() == [0.1, 1.0]
    assert left.get_ylim() == (0, 1.05) and left.get_xscale() == "log"
    assert right.get_yscale() == "log"


def test_cold_and_warm_draws_gains_a_histogram_and_four_terms(two):
    magnitudes = np.geomspace(1e-6, 0.5, 50)
    rows = [{"loud": 1e-3, "silent": 0.1}, {"loud": 2e-3, "silent": 0.2}]
    parts = {"cold": rows, "warm": rows}
    plots.cold_and_warm(two, magnitudes, (1e-12, 1e-8), parts)
    left, right = two
    gains = named(left)
    assert list(gains) == ["eps_root 1e-12", "eps_root 1e-08"]
    g, gain = gains["eps_root 1e-08"].get_data()
    assert np.allclose(gain, 1e-8 / (g**2 + 1e-8) ** 1.5)
    histogram = next(x for x in left.figure.axes if x not in (left, right))
    assert sum(bar.get_height() for bar in histogram.patches) == 50
    assert len(named(right)) == 4
    silent = named(right)["warm, silent"]
    assert silent.get_ydata().tolist() == [0.1, 0.2]


def measured(shape, method, k, optimizer="Adam", **more):
    row = dict(shape=shape, method=method, k=k, optimizer=optimizer)
    return row | dict(seconds=2.0 * k, peak=k * 2**30, model_bytes=2**29) | more


def test_peers_have_lines_where_they_were_measured(four):
    rows = []
    for shape in ("parameter", "activation"):
        rows.append(measured(shape, "first_order", 0, "none", seconds=0.5))
        rows.extend(measured(shape, "reverse", k) for k in (1, 2, 4))
        rows.append(measured(shape, "higher", 2))
        rows.append(measured(shape, "reverse", 2, "Lion", seconds=99.0))
    failed = dict(shape="parameter", method="torchopt", k=2, optimizer="Adam")
    assert plots.against_peers(four, [*rows, failed]) is four
    for seconds, memory in four:
        lines = named(seconds)
        assert list(lines) == ["this package, reverse", "higher", "4k gradients"]
        ours = lines["this package, reverse"]
        assert ours.get_xdata().tolist() == [1, 2, 4]
        assert ours.get_ydata().tolist() == [2, 4, 8]
        assert lines["4k gradients"].get_ydata() == pytest.approx([2, 4, 8])
        in_gib = named(memory)["this package, reverse"].get_ydata()
        assert in_gib.tolist() == [1, 2, 4]
        dotted = next(line for line in memory.lines if line.get_linestyle() == ":")
        assert dotted.get_ydata() == pytest.approx([1, 1.5, 2.5])
        assert "GiB" in memory.get_ylabel()
    assert four[1][0].get_xlabel() == "inner steps k"


def test_together_draws_ratios_by_family_and_the_bound(axes):
    shape = dict(prompts=1, length=32, width=64)
    rows = [
        dict(family="gpt2", together=0.5, twice=1.0, **shape),
        dict(family="llama", together=3.0, twice=2.0, **shape),
    ]
    assert plots.together(axes, rows, bound=4096) is axes
    lines = named(axes)
    assert lines["GPT-2"].get_ydata().tolist() == [0.5]
    assert lines["Llama"].get_ydata().tolist() == [1.5]
    assert lines["Llama"].get_xdata().tolist() == [2048]
    others = [line for line in axes.lines if line not in lines.values()]
    even, bound = others
    assert even.get_ydata()[0] == 1 and 4096 < bound.get_xdata()[0] < 8192
