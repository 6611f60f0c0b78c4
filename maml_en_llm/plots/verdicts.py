"""Figures of verdicts: alive cells, the scorecard, a difference by seed and target."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes

from ..runs.rows import CONTROL
from ..runs.words import setting_in_words
from .given import check_count, check_rows
from .style import COLORS, PALETTE

if TYPE_CHECKING:
    from ..runs import Interval
    from ..runs.alive import Cell

GREY = "0.6"
SEEN_AS = {  # verdict of a claim: colour
    "reproduced": PALETTE[2],
    "not reproduced": PALETTE[3],
    "not testable here": GREY,
}
_REASON = 66  # characters in a line of it
_FIGURES = {  # figure of a cell: mark, colour, label
    "majority": ("|", "black", "majority"),
    "zero_shot": ("o", PALETTE[7], "base, zero-shot"),
    "in_context": ("s", "black", "base, in context"),
    "trained": ("D", PALETTE[0], "best trained model"),
}


def alive_cells(panels: Sequence[Axes], cells: Sequence["Cell"]) -> Sequence[Axes]:
    """What each cell can tell: from guessing to the rule, and where models are between.

    Args:
        panels: one axes per mode, side by side
        cells: verdicts; those that are not alive are grey, with the first reason
    """
    modes = list(dict.fromkeys(cell.mode for cell in cells))
    settings = list(dict.fromkeys(cell.setting for cell in cells))
    check_count("cells", cells)
    check_count("panels", panels, len(modes), len(modes))
    for axes, mode in zip(panels, modes, strict=True):
        for cell in cells:
            if cell.mode == mode:
                _cell(axes, settings.index(cell.setting), cell)
        axes.set(title=mode, xlabel="points", xlim=(0, 100))
        axes.set_yticks(range(len(settings)), list(map(setting_in_words, settings)))
        axes.set_ylim(len(settings) - 0.4, -0.6)
    for mark, color, label in _FIGURES.values():
        panels[0].plot([], [], mark, color=color, label=label)
    _legend_above(panels[0])
    return panels


def claims_at_a_glance(axes: Axes, rows: Sequence[Mapping]) -> Axes:
    """The claims at a glance: the paper's size, ours with its interval, the verdict.

    ``rows`` are those of `runs.scorecard`. A claim that is counted in cells, or cannot
    be tested, has its verdict alone. In grey below: MAML-en-LLM − its control, whose
    inner steps move nothing, in the same cells.
    """
    for y, row in enumerate(rows):
        color = SEEN_AS[row["verdict"]]
        if row["unit"] == "points" and row["ours"] is not None:
            if row["low"] is not None:
                axes.plot([row["low"], row["high"]], [y, y], "-", color=color, lw=2)
            axes.plot([row["ours"]], [y], "o", color=color, ms=7)
        if row["paper"] is not None:
            axes.plot([row["paper"]], [y], "D", mfc="white", mec="black", ms=6)
        for other in row["others"]:
            alike = f"− {CONTROL}" in other["what"] and other["cells"] == row["cells"]
            if alike and other["low"] is not None:
                line = [other["low"], other["high"]]
                axes.plot(line, [y + 0.3] * 2, "-", color=GREY, lw=2)
                axes.plot([other["ours"]], [y + 0.3], "s", color=GREY, ms=5)
        across = axes.get_yaxis_transform()  # x in shares of the axes, y in claims
        look: dict[str, Any] = dict(transform=across, va="center")
        axes.text(1.02, y, row["verdict"], color=color, **look)
        if row["unit"] == "cells" and row["ours"] is not None:
            words = f"ahead in {row['ours']} of {len(row['cells'])} cells"
            axes.text(0.98, y, words, ha="right", **look)
    axes.axvline(0, color="black", lw=0.8)
    axes.plot([], [], "D", mfc="white", mec="black", label="the paper")
    axes.plot(
        [], [], "o-", color="black", label="ours, 95% interval (color: the verdict)"
    )
    axes.plot([], [], "s-", color=GREY, label="ours − control")
    _legend_above(axes)
    names = [f"{row['claim']}  {row['says']}" for row in rows]
    axes.set_yticks(range(len(rows)), [textwrap.fill(name, 36) for name in names])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("points")
    return axes


def seeds_and_targets(
    axes: Axes,
    differences: Mapping[int, Mapping[str, float]],
    interval: "Interval",
) -> Axes:
    """A difference by target, one dot per training seed, and its interval as a band.

    Args:
        axes: where to draw
        differences: training seed → target → points; targets are drawn from the largest
            mean to the smallest, the first on top
        interval: of the mean over seeds and targets; one that is infinite has no band
    """
    check_count("differences", differences)
    check_rows("differences", differences)
    targets = list(next(iter(differences.values())))
    means = {t: fmean(row[t] for row in differences.values()) for t in targets}
    targets.sort(key=lambda target: -means[target])
    if math.isfinite(interval.half):
        axes.axvspan(interval.low, interval.high, color=PALETTE[0], alpha=0.2, lw=0)
    axes.axvline(interval.mean, color=PALETTE[0], lw=1.5)
    axes.axvline(0, color="black", lw=0.8)
    for y, target in enumerate(targets):
        found = [row[target] for row in differences.values()]
        axes.plot(found, [y] * len(found), "o", color=COLORS["neutral"], ms=4)
        axes.plot([means[target]], [y], "|", color="black", ms=10)
    axes.set_yticks(range(len(targets)), targets)
    axes.set_ylim(len(targets) - 0.5, -0.5)
    axes.set_xlabel("points")
    return axes


def seeds_needed(
    axes: Axes, half: Mapping[int, tuple[float, float, float]], effect: float
) -> Axes:
    """The smallest effect that so many training seeds decide.

    Args:
        axes: where to draw
        half: number of seeds → mean, smallest and largest half-width of the interval
            over all choices of so many seeds, in points
        effect: a line at this many points, which is what is asked about
    """
    counts = sorted(half)
    mean, least, most = ([half[n][i] for n in counts] for i in range(3))
    axes.fill_between(counts, least, most, color=PALETTE[0], alpha=0.2, lw=0)
    axes.plot(counts, mean, "o-", color=PALETTE[0], label="half-width of the interval")
    axes.axhline(effect, color="black", ls="--", lw=1, label="the paper's effect")
    axes.set_ylim(0, None)
    axes.set_xticks(counts)
    axes.set_xlabel("training seeds")
    axes.set_ylabel("points")
    axes.legend()
    return axes


def _legend_above(axes: Axes) -> None:
    """Over the whole figure, as it may be wider than the axes."""
    found = axes.get_legend_handles_labels()
    axes.figure.legend(*found, ncols=3, loc="outside upper center")


def _cell(axes: Axes, y: int, cell: "Cell") -> None:
    known = {name: x for name, x in cell.figures.items() if x is not None}
    band = [known["guess"], known["rule"]]
    color = "0.75" if cell.alive else "0.9"
    axes.plot(band, [y, y], "-", color=color, lw=8, solid_capstyle="butt", zorder=1)
    for name, (mark, own, _) in _FIGURES.items():
        shade = own if cell.alive else GREY
        axes.plot([known[name]], [y], mark, color=shade, ms=6)
    words = [] if cell.final else ["preliminary"]
    words += cell.reasons[:1]
    lines = textwrap.fill("; ".join(words), _REASON)
    axes.text(1, y + 0.2, lines, color="0.3", va="top", linespacing=1.05)
