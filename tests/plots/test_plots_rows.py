"""Rows of dots, and variances against n: what is drawn."""

import numpy as np
import pytest

from maml_en_llm.plots import dots_in_rows, variance_by_tasks


def test_a_dot_per_value_and_a_bar_at_their_mean(axes):
    assert dots_in_rows(axes, {"one": [1.0, 3.0], "two": [5.0]}) is axes
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    bars = [line for line in axes.lines if line.get_marker() == "|"]
    assert [list(line.get_xdata()) for line in dots] == [[1.0, 3.0], [5.0]]
    assert [list(line.get_ydata()) for line in dots] == [[0, 0], [1]]
    assert [list(line.get_xdata()) for line in bars] == [[2.0], [5.0]]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["one", "two"]
    low, high = axes.get_ylim()
    assert low > high, "the first row is on top"


def test_a_row_without_values_keeps_its_place(axes):
    dots_in_rows(axes, {"none": [], "two": iter([5.0])}, names=False)
    bars = [line for line in axes.lines if line.get_marker() == "|"]
    assert [list(line.get_ydata()) for line in bars] == [[1]]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["", ""]


def test_variances_stand_beside_the_law_of_one_over_n(axes):
    found = {"MetaICL": {1: 8.0, 2: 4.1, 4: 1.9}, "other": {2: 3.0, 4: 1.5}}
    assert variance_by_tasks(axes, found) is axes
    marks = [line for line in axes.lines if line.get_linestyle() == "None"]
    assert [list(line.get_ydata()) for line in marks] == [[8.0, 4.1, 1.9], [3.0, 1.5]]
    laws = [line for line in axes.lines if line.get_linestyle() == "--"][:2]
    assert laws[0].get_ydata() == pytest.approx(np.array([8.0, 4.0, 2.0]))
    assert laws[1].get_ydata() == pytest.approx(np.array([3.0, 1.5]))
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2", "4"]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["MetaICL", "other", "first / n"]
