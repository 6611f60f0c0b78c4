"""What all figures have in common."""

import ast
import inspect
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest

from maml_en_llm import plots
from maml_en_llm.plots.style import tint


def test_style_is_opaque_white_and_sharp():
    with matplotlib.rc_context():
        plots.use_style()
        assert plt.rcParams["figure.facecolor"] == "white"
        assert plt.rcParams["axes.facecolor"] == "white"
        assert plt.rcParams["figure.dpi"] >= 150


def test_tint_lies_between_white_and_the_colour():
    assert tint((0.2, 0.4, 0.6), 1) == pytest.approx((0.2, 0.4, 0.6))
    assert tint((0.2, 0.4, 0.6), 0) == pytest.approx((1, 1, 1))


def test_no_figure_depends_on_which_axes_are_current():
    """`plt` may set the style; whatever draws is given its axes."""
    folder = Path(inspect.getfile(plots)).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                state = node.value.id == "plt" and node.attr != "rcParams"
                assert not state, f"{path.name}:{node.lineno}: plt.{node.attr}"


def test_figures_take_axes_first():
    others = {"COLORS", "PALETTE", "prompt_height", "running_mean", "use_style"}
    others.add("change_by_step")  # a table
    for name in set(plots.__all__) - others:
        first = next(iter(inspect.signature(getattr(plots, name)).parameters))
        assert first in ("axes", "panels"), name
