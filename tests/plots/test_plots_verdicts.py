"""Figures of verdicts: what is drawn."""

from dataclasses import replace

from matplotlib.colors import to_rgb

from maml_en_llm import plots
from maml_en_llm.plots.verdicts import GREY, SEEN_AS
from maml_en_llm.runs import Interval
from maml_en_llm.runs.alive import Cell
from maml_en_llm.runs.rows import CONTROL

FIGURES = dict(guess=40, majority=38, rule=85, zero_shot=42, in_context=55, trained=65)
CELL = Cell("hr_to_lr", "direct", (), (), FIGURES, "MetaICL", "MetaICL", 31)


def marks(axes, mark: str) -> list:
    return [x for x in axes.lines if x.get_marker() == mark and len(x.get_xdata())]


def test_cells_that_are_not_alive_are_grey(two):
    grey = replace(CELL, setting="non_qa_to_qa", reasons=("too easy", "too hard"))
    less = replace(CELL, mode="channel", missing=("seeds",))
    assert plots.alive_cells(two, [CELL, grey, less]) is two
    direct, channel = two
    assert [axes.get_title() for axes in two] == ["direct", "channel"]
    bands = [x for x in direct.lines if x.get_linestyle() == "-"]
    assert [list(x.get_xdata()) for x in bands] == [[40, 85]] * 2
    trained = marks(direct, "D")
    assert [x.get_xdata()[0] for x in trained] == [65, 65]
    assert [x.get_ydata()[0] for x in trained] == [0, 1]
    alive, dead = (to_rgb(x.get_color()) for x in trained)
    assert dead == to_rgb(GREY) and alive != dead
    assert [x.get_xdata()[0] for x in marks(direct, "s")] == [55, 55]
    assert [x.get_xdata()[0] for x in marks(direct, "|")][:2] == [38, 38]
    assert [text.get_text() for text in direct.texts] == ["", "too easy"]
    assert [text.get_text() for text in channel.texts] == ["preliminary"]
    names = [text.get_text() for text in direct.get_yticklabels()]
    assert names == ["HR→LR", "non-QA→QA"]
    assert direct.get_ylim()[0] > direct.get_ylim()[1]


def claim(
    name, verdict, ours=None, low=None, high=None, paper=None, unit="points", others=()
):
    return dict(
        others=list(others),
        claim=name,
        says="words",
        verdict=verdict,
        ours=ours,
        low=low,
        high=high,
        paper=paper,
        unit=unit,
    )


def test_the_scorecard_shows_paper_ours_and_verdict(axes):
    rows = [
        claim("C1", "reproduced", 3.0, 1.0, 5.0, 2.0),
        claim("C2", "not testable here", paper=4.0),
        claim("C4", "not reproduced", 5, 2, 7, unit="cells") | dict(cells=["x"] * 8),
        claim("C5", "not reproduced", 1.0),  # an interval of which nothing is known
    ]
    assert plots.claims_at_a_glance(axes, rows) is axes
    (bar,) = [x for x in axes.lines if list(x.get_ydata()) == [0, 0]]
    assert list(bar.get_xdata()) == [1, 5]
    assert to_rgb(bar.get_color()) == to_rgb(SEEN_AS["reproduced"])
    ours = [x for x in marks(axes, "o") if x.get_label().startswith("_")]
    assert [(x.get_xdata()[0], x.get_ydata()[0]) for x in ours] == [(3, 0), (1, 3)]
    paper = marks(axes, "D")
    assert [(x.get_xdata()[0], x.get_ydata()[0]) for x in paper] == [(2, 0), (4, 1)]
    words = [text.get_text() for text in axes.texts]
    assert words == [
        "reproduced",
        "not testable here",
        "not reproduced",
        "ahead in 5 of 8 cells",
        "not reproduced",
    ]
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names[0] == "C1  words" and len(names) == 4
    assert axes.get_ylim()[0] > axes.get_ylim()[1]


def test_the_control_stands_below_its_claim(axes):
    control = dict(what=f"MAML-en-LLM − {CONTROL}, all", ours=0.5, low=-1.0, high=2.0)
    control["cells"] = ["hr_to_lr direct"]
    rival = control | dict(what="MAML-en-LLM − FOMAML", ours=9.0, low=8.0, high=10.0)
    elsewhere = control | dict(low=-5.0, cells=["hr_to_lr direct", "qa_to_qa direct"])
    unknown = control | dict(low=None, high=None)
    rows = [
        claim("C1", "reproduced", 3.0, 1.0, 5.0, others=[rival, control, elsewhere]),
        claim("C2", "reproduced", 3.0, 1.0, 5.0, others=[unknown]),
    ]
    rows = [row | dict(cells=control["cells"]) for row in rows]
    plots.claims_at_a_glance(axes, rows)
    (below,) = [x for x in marks(axes, "s") if x.get_label().startswith("_")]
    assert below.get_xdata()[0] == 0.5 and 0 < below.get_ydata()[0] < 0.5
    ends = [list(x.get_xdata()) for x in axes.lines]
    assert [-1, 2] in ends and [8, 10] not in ends and [-5, 2] not in ends


def test_a_difference_by_seed_and_target(axes):
    found = {1: {"a": -1.0, "b": 4.0}, 2: {"a": 0.0, "b": 6.0}}
    gap = Interval(2.25, -1.0, 5.5, 2, 2)
    assert plots.seeds_and_targets(axes, found, gap) is axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["b", "a"]
    dots = marks(axes, "o")
    assert [list(x.get_xdata()) for x in dots] == [[4, 6], [-1, 0]]
    assert [x.get_xdata()[0] for x in marks(axes, "|")] == [5, -0.5]
    (band,) = axes.patches
    assert band.get_x() == -1 and band.get_width() == 6.5
    lines = [x.get_xdata()[0] for x in axes.lines if x.get_marker() == "None"]
    assert lines == [2.25, 0]


def test_the_smallest_effect_that_so_many_seeds_decide(axes):
    half = {3: (3.0, 2.0, 4.0), 2: (5.0, 4.0, 6.0)}
    assert plots.seeds_needed(axes, half, 2.0) is axes
    mean, effect = axes.lines
    assert list(mean.get_xdata()) == [2, 3] and list(mean.get_ydata()) == [5, 3]
    assert list(effect.get_ydata()) == [2, 2]
    (band,) = axes.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (2, 6)
