"""Figures of scores: what is drawn."""

import pytest
from matplotlib.colors import to_rgb

from maml_en_llm import plots
from maml_en_llm.runs import Interval


def test_accuracy_against_demonstrations_by_kind(two):
    curves = {
        "classification": {"model": [50, 60, 70], "oracle": [50, 80, 90]},
        "multi-choice": {"model": [30, 31, 32], "oracle": [30, 60, 90]},
    }
    guessing = {"classification": 50, "multi-choice": 30}
    panels = plots.against_demonstrations(two, (0, 1, 16), curves, guessing)
    assert panels is two
    for axes, (kind, rows) in zip(two, curves.items(), strict=True):
        assert axes.get_title() == kind and axes.get_ylim() == (0, 100)
        *lines, chance = axes.lines
        assert [x.get_label() for x in lines] == ["model", "oracle"]
        assert [x.get_ydata().tolist() for x in lines] == list(rows.values())
        assert chance.get_ydata()[0] == guessing[kind]
        labels = [text.get_text() for text in axes.get_xticklabels()]
        assert labels == ["0", "1", "16"]
    assert two[0].get_legend() and not two[1].get_legend()


def test_label_changes_are_bars_with_the_first_on_top(axes):
    found = {"as in the file": 70.0, "shuffled": 50.0}
    assert plots.label_changes(axes, found, guessing=48.0) is axes
    assert [bar.get_width() for bar in axes.patches] == [70, 50]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    assert [text.get_text() for text in axes.get_yticklabels()] == list(found)
    assert axes.lines[0].get_xdata()[0] == 48 and axes.get_xlim() == (0, 100)


def test_agreement_writes_every_cosine_into_its_square(axes):
    cosines = {"a": {"a": 1.0, "b": 0.25}, "b": {"a": 0.25, "b": 1.0}}
    assert plots.agreement(axes, cosines) is axes
    assert [t.get_text() for t in axes.texts] == ["1.00", "0.25", "0.25", "1.00"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["a", "b"]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a", "b"]


def interval(mean, low, high):
    return Interval(mean, low, high, 3, 31)


def test_forest_draws_intervals_from_top_to_bottom(axes):
    found = {"a − b": interval(2, 1, 3), "c − d": interval(-1, -4, 2)}
    assert plots.forest(axes, found) is axes
    bars = [x for x in axes.lines if x.get_marker() == "None"]
    assert bars[0].get_xdata().tolist() == [1, 3]
    assert bars[1].get_xdata().tolist() == [-4, 2]
    assert bars[0].get_ydata().tolist() == [0, 0]
    points = [x.get_xdata()[0] for x in axes.lines if x.get_marker() == "o"]
    assert points == [2, -1]
    full = [x.get_mfc() == x.get_color() for x in axes.lines if x.get_marker() == "o"]
    assert full == [True, False]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    assert to_rgb(bars[0].get_color()) != to_rgb(bars[1].get_color())
    assert [text.get_text() for text in axes.get_yticklabels()] == list(found)


def test_forest_draws_dots_above_their_interval(axes):
    found = {"a": interval(1, 0, 2), "b": interval(0, -1, 1)}
    plots.forest(axes, found, {"b": [-0.5, 0.5]})
    rows = [line for line in axes.lines if line.get_marker() == "."]
    assert [list(row.get_xdata()) for row in rows] == [[], [-0.5, 0.5]]
    assert all(0.5 < y < 1 for y in rows[1].get_ydata())
    with pytest.raises(ValueError, match="differences: expected c, found a, b"):
        plots.forest(axes, found, {"c": [1.0]})
