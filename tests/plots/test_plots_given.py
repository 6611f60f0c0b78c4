"""What is given to a figure and cannot be drawn is named."""

import math

import numpy as np
import pytest
import torch

from maml_en_llm import plots
from maml_en_llm.runs import Interval

GAP = Interval(1.0, 0.0, 2.0, 3, 5)
NAN = np.full((3, 2), math.nan)
ONE = np.ones((3, 2))
RUN = dict(losses=[3.0, 2.0, 1.0], inner_losses=[[[3.0, 2.0]]] * 3)
SHORT = dict(losses=[3.0, 2.0], inner_losses=[[[3.0, 2.0]]] * 2)
BOTH = {"metaicl": [RUN], "maml-en-llm": [RUN]}
STEP = dict(supports=[1], rates=[0.1], moments=["cold"], before=[1.0], after=[[[[1]]]])
ROW = dict(shape="parameter", method="reverse", k=1, optimizer="Adam", seconds=1)
MANY = {f"name {n}": {0: 1.0} for n in range(11)}
CURVES = {"kind": {"model": [50, 60]}}
ROLE = [("x", "txt", False)]
TWO = torch.eye(2).repeat(2, 1, 1)

NAMED = {  # figure: panels, arguments, message
    "curves_by_group": [
        (1, ({"g": {}},), r"groups\['g'\]: expected 1 or more to draw, found none"),
        (1, ({"g": {"a": {0: 1}, "b": {1: 1}}},), r"groups.*'b'\]: expected 0, as"),
        (1, ({n: {"a": c} for n, c in MANY.items()},), "groups: expected 0 to 10"),
    ],
    "dots_by_group": [(1, ({"g": dict.fromkeys(MANY, [1])},), "expected 0 to 10")],
    "held_curves": [
        (1, (dict.fromkeys(MANY, ([0], [1])), {}), "runs: expected 0 to 10"),
        (1, ({}, {"a": 1, "b": 2, "c": 3}), "levels: expected 0 to 2 to draw, found 3"),
    ],
    "memory_limits": [(1, ([1], dict.fromkeys(MANY, [1]), {}, {}), "curves: expected")],
    "agreement": [
        (1, ({},), "cosines: expected 1 or more to draw, found none"),
        (1, ({"a": {"b": 1}, "c": {"d": 1}},), r"cosines\['c'\]: expected b, as"),
    ],
    "seeds_and_targets": [
        (1, ({}, GAP), "differences: expected 1 or more"),
        (1, ({1: {"x": 1.0}, 2: {"y": 1.0}}, GAP), r"differences\[2\]: expected x, as"),
    ],
    "moments_flow": [(3, (), "panels: expected 4 to draw, found 3")],
    "variance_by_tasks": [(1, ({"m": {}},), r"variances\['m'\]: expected 1 or more")],
    "saved_memory": [(1, ([], {"reverse": []}, []), "saved: .*; add 'unrolled'")],
    "descent_paths": [
        (1, (None, {}, torch.zeros(2)), "paths: expected 1 to 3 to draw, found none"),
        (1, (None, MANY, torch.zeros(2)), "paths: expected 1 to 3 to draw, found 11"),
    ],
    "two_bowls": [
        (1, (TWO, TWO, [TWO], TWO, TWO), "paths: expected 2 to draw, found 1")
    ],
    "prompt_tokens": [(1, ({"a": ROLE},), "role: expected one of text, .*'txt'")],
    "inner_step_changes": [
        (1, ({},), "records: expected 1 to 10 to draw, found none"),
        (2, ({"m": STEP},), "panels: expected 1 to draw, found 2"),
        (
            [1],
            ({"m": STEP, "n": STEP | dict(supports=[4])},),
            r"supports of records\['n'\]: expected 1, as the first has, found 4",
        ),
        ([1], ({"m": STEP | dict(moments=MANY)},), "moments .* 1 to 3 to draw"),
    ],
    "against_demonstrations": [
        ([1], ([0, 1], CURVES, {}), "guessing: expected kind, found nothing"),
        (2, ([0, 1], CURVES, {"kind": 50}), "panels: expected 1 to draw, found 2"),
        (1, ([0, 1], CURVES, {"kind": 50}), "panels: expected 1 to draw, found <Axes"),
        ([1], ([0, 1], {"kind": MANY}, {"kind": 5}), r"curves\['kind'\]: .* 0 to 2"),
        ([], ([], {}, {}), "curves: expected 1 or more"),
    ],
    "alive_cells": [(2, ([],), "cells: expected 1 or more to draw, found none")],
    "against_peers": [
        ([[1, 1], [1, 1]], ([],), "rows of a shape, by optimizer 'none': expected 1"),
        (
            [[1, 1], [1, 1]],
            ([ROW | dict(optimizer="none")],),
            "rows of a shape, by method 'reverse' and Adam: expected 1",
        ),
    ],
    "first_order_misses": [
        (2, ([1, 2], {1: NAN}, {1: ONE}), r"cosines\[1\]: expected finite numbers"),
        (2, ([1, 2], {1: ONE}, {1: [1, 2]}), r"sizes\[1\]: .* in shape \(2,\)"),
        (2, ([1, 2], {1: ONE}, {}), "sizes: expected 1, found nothing; add 1"),
        (2, ([1, 2], {k: ONE for k in range(4)}, {}), "cosines: expected 0 to 3"),
        (3, ([1, 2], {1: ONE}, {1: ONE}), "panels: expected 2 to draw, found 3"),
    ],
    "cold_and_warm": [
        (2, ([1, 2], {"cold": ONE}, {}), "shares: expected cold, warm, .* add 'warm'"),
    ],
    "emergence": [(2, ({}, [], {}), "panels: expected 3 to draw, found 2")],
    "meta_training": [
        (2, ({"reptile": [RUN]}, 2, 3.0), "records: .*found reptile; add 'metaicl'"),
        (2, (BOTH | {"metaicl": []}, 2, 3.0), r"records\['metaicl'\]: expected 1"),
        (2, (BOTH | {"metaicl": [RUN, SHORT]}, 2, 3.0), "3 values, .* found 2 values"),
        (2, (BOTH, 20, 3.0), "window: .* at least 1 and at most 3, found 20"),
        (3, (BOTH, 2, 3.0), "panels: expected 2 to draw, found 3"),
    ],
}
CASES = [(name, *case) for name, cases in NAMED.items() for case in cases]


@pytest.mark.parametrize(("name", "panels", "given", "message"), CASES)
def test_what_cannot_be_drawn_is_named(axes, name, panels, given, message):
    """``panels``: 1 for one axes, 2 or 3 for a list of so many, or the places."""
    if isinstance(panels, int):
        panels = axes if panels == 1 else [axes] * panels
    elif panels == [1]:
        panels = [axes]
    elif panels:
        panels = [[axes, axes], [axes, axes]]
    with pytest.raises(ValueError, match=message) as caught:
        getattr(plots, name)(panels, *given)
    assert len(str(caught.value)) < 400
    assert not axes.lines and not axes.patches


@pytest.mark.parametrize("window", [5, 0, -1, 1.5, "2", True])
def test_a_window_is_no_longer_than_the_values(window):
    with pytest.raises(ValueError, match="window: .* at least 1 and at most 2, found"):
        plots.running_mean([1.0, 2.0], window)
    with pytest.raises(ValueError, match="values: expected 1 or more"):
        plots.running_mean([], window)


def test_a_skipped_step_is_a_gap(two):
    skipped = [None, 2.0, 1.0, 1.0], [[], *[[[3.0, 2.0]]] * 3]
    run = dict(zip(("losses", "inner_losses"), skipped, strict=True))
    plots.meta_training(two, {"metaicl": [run], "maml-en-llm": [run]}, 2, 3.0)
    for start in ("MetaICL", "before", "after"):
        lines = [
            x for axes in two for x in axes.lines if x.get_label().startswith(start)
        ]
        wanted = [math.nan, 3, 3] if start == "before" else [math.nan, 1.5, 1]
        np.testing.assert_array_equal(lines[0].get_ydata(), wanted)


def test_rows_in_another_order_keep_their_columns(axes):
    plots.agreement(axes, {"a": {"a": 1.0, "b": 0.25}, "b": {"b": 0.75, "a": 0.5}})
    assert [text.get_text() for text in axes.texts] == ["1.00", "0.25", "0.50", "0.75"]


def test_steps_in_another_order_keep_their_values(axes):
    plots.curves_by_group(axes, {"g": {"a": {0: 1, 4: 2}}, "h": {"a": {4: 3, 0: 5}}})
    means = [list(x.get_ydata()) for x in axes.lines if x.get_lw() > 2]
    assert means == [[1, 2], [5, 3]]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "4"]


def test_groups_of_other_steps_lie_at_their_own_places(axes):
    """A group that lacks a step in between is joined over it."""
    whole, ends, late = {1: 1, 2: 4, 8: 2}, {8: 3, 1: 5}, {4: 7}
    plots.curves_by_group(axes, {"g": {"a": whole}, "h": {"a": ends}, "i": {"a": late}})
    drawn = [(*x.get_xdata(), *x.get_ydata()) for x in axes.lines if x.get_lw() > 2]
    assert drawn == [(0, 1, 3, 1, 4, 2), (0, 3, 5, 3), (2, 7)]
    assert [x.get_text() for x in axes.get_xticklabels()] == ["1", "2", "4", "8"]


def test_an_infinite_interval_has_no_band(axes):
    """All warnings are errors."""
    nothing = Interval(1.0, -math.inf, math.inf, 1, 1)
    plots.seeds_and_targets(axes, {1: {"x": 1.0}}, nothing)
    axes.figure.canvas.draw()
    assert not axes.patches and axes.lines[0].get_xdata()[0] == 1
