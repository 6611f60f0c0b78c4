"""What all figures have in common."""

import ast
import inspect
import re
from base64 import b64decode
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from matplotlib.text import Text
from PIL import Image

from maml_en_llm import plots
from maml_en_llm.plots.style import WIDEST, tint
from maml_en_llm.runs import Interval
from maml_en_llm.runs.alive import Cell

BOOK = Path(__file__).parents[2] / "book"
NO_FIGURES = {"COLORS", "PALETTE", "change_by_step", "prompt_height", "running_mean"}
NO_FIGURES.add("use_style")


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
    for name in set(plots.__all__) - NO_FIGURES:
        first = next(iter(inspect.signature(getattr(plots, name)).parameters))
        assert first in ("axes", "panels"), name


# --- the size of text on a page ---

COLUMN = 752  # CSS pixels of the text's column in a window of 1280
SMALL_PRINT = 13.6  # CSS pixels
INTERVAL = Interval(2.0, 1.0, 3.0, 3, 31)
CELL = Cell(
    "non_qa_to_qa",
    "direct",
    (),
    ("too easy",),
    dict(guess=40, majority=38, rule=85, zero_shot=42, in_context=55, trained=65),
    "MetaICL",
    "MetaICL",
    31,
)
CLAIM = dict(claim="C1", says="words", verdict="reproduced", paper=2.0, unit="points")
CLAIM |= dict(ours=3.0, low=1.0, high=5.0, others=[])
COUNT = CLAIM | dict(claim="C4", ours=5, unit="cells", cells=["x"] * 8)
RUN = dict(losses=[3.0, 2.0, 1.0], inner_losses=[[[3.0, 2.0]]] * 3)
PROBED = ("repeats", "recall", "sections", "related")
PROBES = [{"step": n} | dict.fromkeys(PROBED, 0.1) for n in (0, 9)]
STEPS = dict(supports=[1, 4], rates=[1e-3, 1e-2], moments=["cold"], before=[1.0])
STEPS |= dict(after=[[[[1.0, 0.9]] * 2]])
PEERS = [
    dict(shape=shape, method="reverse", k=k, optimizer=optimizer, seconds=1.0 + k)
    | dict(peak=2**30, model_bytes=2**29)
    for shape in ("parameter", "activation")
    for k, optimizer in ((0, "none"), (1, "Adam"), (2, "Adam"))
]
TOGETHER = dict(family="gpt2", together=0.5, twice=1.0, prompts=1, length=32, width=64)
POINTS = torch.tensor([[0.0, 1.0], [0.5, 0.5]])
BOWLS = (torch.eye(2).repeat(2, 1, 1), torch.eye(2), [POINTS] * 2, POINTS, POINTS)
DRAWS = np.array([[0.2, 0.5], [0.1, 0.9]])
MOMENTS = {"cold": DRAWS, "warm": DRAWS}
TOKENS = [("a", "text", False), ("\n", "within", True), ("yes", "answer", True)]

DRAWN = {  # figure: its axes, and what it is given besides
    "against_demonstrations": ("two", ([0, 1], {n: {"x": [5, 6]} for n in "ab"})),
    "against_peers": ("four", (PEERS,)),
    "agreement": ("axes", ({"a": {"a": 1.0, "b": 0.5}, "b": {"a": 0.5, "b": 1.0}},)),
    "alive_cells": ("two", ([CELL, replace(CELL, mode="channel", missing=("x",))],)),
    "claims_at_a_glance": ("axes", ([CLAIM, COUNT],)),
    "cold_and_warm": ("two", ([1e-12, 1e-8], MOMENTS, MOMENTS)),
    "curves_by_group": ("axes", ({"seen": {"a": {0: 1.0, 1: 3.0}}},)),
    "descent_paths": ("axes", (lambda x: (x @ x).item() + 0.1, {"exact": POINTS})),
    "dots_by_group": ("axes", ({"base": {"before": [50.0]}},)),
    "dots_in_rows": ("axes", ({"shared": [1.0, 2.0]},)),
    "emergence": ("three", ({"one word": [PROBES]}, [PROBES], {"related": 0.5})),
    "first_order_misses": ("two", ([0.01, 0.1], {1: DRAWS}, {1: DRAWS})),
    "forest": ("axes", ({"a − b": INTERVAL},)),
    "held_curves": ("axes", ({"1e-4": ([0, 25], [1.1, 0.9])}, {"guessing": 1.0})),
    "inner_step_changes": ("two", ({"base": STEPS},)),
    "label_changes": ("axes", ({"shuffled": 50.0}, 48.0)),
    "memory_limits": ("axes", ([128], {"all": [2.0]}, {}, {"T4": 16.0})),
    "meta_training": ("two", ({"metaicl": [RUN], "maml-en-llm": [RUN]}, 2, 3.5)),
    "moments_flow": ("row", ()),
    "prompt_cut": ("axes", ([10, 20, 5], 12, 23)),
    "prompt_tokens": ("axes", ({"direct": TOKENS},)),
    "saved_memory": ("axes", ([1, 2], {"unrolled": [1, 2], "reverse": [1, 1]}, [0, 1])),
    "seeds_and_targets": ("axes", ({1: {"a": -1.0, "b": 4.0}}, INTERVAL)),
    "seeds_needed": ("axes", ({2: (5.0, 4.0, 6.0), 3: (3.0, 2.0, 4.0)}, 2.0)),
    "together": ("axes", ([TOGETHER], 4096)),
    "two_bowls": ("axes", BOWLS),
    "variance_by_tasks": ("axes", ({"MetaICL": {1: 4.0, 2: 2.0}},)),
}
MORE = {  # the last argument of those above that would not fit their line
    "against_demonstrations": {"a": 50, "b": 30},
    "descent_paths": torch.zeros(2),
}


def smallest_text(figure) -> tuple[float, str]:
    """The smallest text that is seen, in points, and its words."""
    figure.canvas.draw()
    texts = [x for x in figure.findobj(Text) if x.get_visible() and x.get_text()]
    return min((x.get_fontsize(), x.get_text()) for x in texts)


def test_every_figure_is_looked_at():
    assert set(DRAWN) == set(plots.__all__) - NO_FIGURES


@pytest.mark.parametrize("name", DRAWN)
def test_text_is_no_smaller_than_the_small_print_of_a_page(request, name):
    panels, given = DRAWN[name]
    axes = request.getfixturevalue(panels)
    more = [MORE[name]] if name in MORE else []
    getattr(plots, name)(axes, *given, *more)
    figure = np.ravel(axes)[0].figure
    points, words = smallest_text(figure)
    assert points * COLUMN / (WIDEST * 72) >= SMALL_PRINT, words


def stored_figures():
    """Chapter, name, inches of width, and share of the column of every stored figure.

    The share is what the page gives it; outside the book every figure has it all.
    """
    for path in sorted(BOOK.glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            shown = cell.metadata.get("mystnb", {})
            share = float(shown.get("image", {}).get("width", "100%").strip("%")) / 100
            name = shown.get("figure", {}).get("name", "a figure without a name")
            for output in cell.get("outputs", []):
                if picture := output.get("data", {}).get("image/png"):
                    image = Image.open(BytesIO(b64decode(picture)))
                    inches = image.width / image.info["dpi"][0]
                    yield pytest.param(inches, share, id=f"{path.stem}-{name}")


@pytest.mark.parametrize(("inches", "share"), list(stored_figures()))
def test_stored_figures_are_no_wider_than_their_place_on_the_page(inches, share):
    """What stands beside the axes may add some tenths of an inch."""
    assert inches / share <= WIDEST + 0.15


def test_chapters_leave_the_size_of_text_to_the_style():
    for path in BOOK.glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                assert not re.search(r"fontsize|labelsize|titlesize", cell.source), path
