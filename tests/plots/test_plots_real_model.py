"""Figures of a real model: what is drawn."""

from maml_en_llm.plots import held_curves, memory_limits


def test_memory_has_a_line_its_points_and_the_devices(axes):
    found = memory_limits(
        axes,
        [128, 256],
        {"all parameters": [2.0, 3.0], "adapters": [1.0, 1.5]},
        {"adapters": ([256], [1.6])},
        {"T4": 16.0},
    )
    assert found is axes
    drawn = [line.get_ydata() for line in axes.lines]
    assert [list(y) for y in drawn] == [[2, 3], [], [1, 1.5], [1.6], [16, 16]]
    line, point = axes.lines[2:4]
    assert line.get_color() == point.get_color()
    assert [text.get_text() for text in axes.texts] == ["T4"]
    assert "GiB" in axes.get_ylabel() and axes.get_yscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["128", "256"]


def test_held_curves_and_levels(axes):
    runs = {"1e-4": ([0, 25], [1.1, 0.9]), "3e-4": ([0, 25], [1.1, 1.0])}
    assert held_curves(axes, runs, {"guessing": 1.0, "raw model": 1.1}) is axes
    assert [line.get_label() for line in axes.lines] == [
        *("1e-4", "3e-4", "guessing", "raw model")
    ]
    assert list(axes.lines[0].get_ydata()) == [1.1, 0.9]
    assert axes.lines[2].get_linestyle() != axes.lines[3].get_linestyle()
    assert axes.get_xlabel() == "outer step"
