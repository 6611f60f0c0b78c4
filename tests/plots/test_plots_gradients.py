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


def test_first_order_has_a_median_and_a_band_per_k_in_both_panels(two):
    cosines = {1: np.array([[0.9, 0.5], [0.8, 0.1], [1.0, 0.6]])}
    sizes = {1: np.array([[0.1, 1.0], [0.2, 2.0], [0.1, 9.0]])}
    assert plots.first_order_misses(two, (0.01, 0.1), cosines, sizes) is two
    left, right = two
    assert named(left)["k = 1"].get_ydata().tolist() == [0.9, 0.5]
    assert named(right)["k = 1"].get_ydata().tolist() == [0.1, 2.0]
    (band,) = right.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (0.1, 9.0)
    assert left.get_xscale() == right.get_yscale() == "log"


def test_cold_and_warm_draw_sizes_and_directions(two):
    roots = (1e-12, 1e-8)
    shares = {"cold": np.array([[2.0, 0.5]]), "warm": np.array([[0.02, 0.02]])}
    ways = {"cold": np.array([[0.6, 1.0]]), "warm": np.array([[1.0, 1.0]])}
    assert plots.cold_and_warm(two, roots, shares, ways) is two
    left, right = two
    assert list(named(left)) == ["cold moments", "warm moments"]
    assert named(left)["cold moments"].get_ydata().tolist() == [2.0, 0.5]
    assert named(right)["cold moments"].get_ydata().tolist() == [0.6, 1.0]


def test_two_bowls_draw_paths_and_arrows(axes):
    shapes = torch.eye(2).repeat(2, 1, 1)
    centres = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    paths = [torch.tensor([[0.0, 1.0], [x, 0.5]]) for x in (-0.5, 0.5)]
    ends = [path[-1] - centre for path, centre in zip(paths, centres, strict=True)]
    assert plots.two_bowls(axes, shapes, centres, paths, ends, ends) is axes
    steps = named(axes)["inner steps of task 2"]
    assert steps.get_xdata().tolist() == [0.0, 0.5]
    arrows = [text for text in axes.texts if text.arrow_patch is not None]
    assert len(arrows) == 5  # two at the ends, two pulled back, their mean


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
