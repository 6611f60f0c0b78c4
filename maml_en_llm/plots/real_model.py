"""Figures of a real model: what memory allows, and held tasks during meta-training."""

from collections.abc import Mapping, Sequence
from itertools import cycle

from matplotlib.axes import Axes

from .given import check_count
from .style import COLORS, LINE_MARKS, LINE_STYLES, PALETTE


def memory_limits(
    axes: Axes,
    sizes: Sequence[int],
    curves: Mapping[str, Sequence[float]],
    points: Mapping[str, tuple[Sequence[int], Sequence[float]]],
    limits: Mapping[str, float],
) -> Axes:
    """Peak memory against a size of a step: predicted lines, measured points.

    Args:
        sizes: of the step, such as tokens of a prompt or inner steps
        curves: {label: predicted GiB for each of ``sizes``}
        points: {label of a curve: (sizes, measured GiB)}
        limits: {device: GiB}, drawn as horizontal lines
    """
    check_count("curves", curves, 0, len(PALETTE))
    for (label, gib), color, line in zip(
        curves.items(), PALETTE, cycle(LINE_STYLES), strict=False
    ):
        axes.plot(sizes, gib, line, color=color, label=label)
        at, measured = points.get(label, ((), ()))
        axes.plot(at, measured, "o", color=color)
    for name, gib in limits.items():
        axes.axhline(gib, color=COLORS["neutral"], ls="--", lw=1)
        axes.annotate(
            name,
            (1, gib),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set(xscale="log", yscale="log", ylabel="peak (GiB)")
    axes.set_xticks(list(sizes), [str(size) for size in sizes])
    axes.minorticks_off()
    return axes


def held_curves(
    axes: Axes,
    runs: Mapping[str, tuple[Sequence[int], Sequence[float]]],
    levels: Mapping[str, float],
) -> Axes:
    """A mean over held tasks against outer steps, one line per run.

    Args:
        runs: {label: (outer steps, value)}
        levels: {label: value}, such as guessing and the raw model, drawn horizontally
    """
    check_count("runs", runs, 0, len(PALETTE))
    check_count("levels", levels, 0, 2)
    for (label, (steps, values)), color, mark in zip(
        runs.items(), PALETTE, LINE_MARKS, strict=False
    ):
        axes.plot(steps, values, marker=mark, ms=4, color=color, label=label)
    for (label, value), line in zip(levels.items(), ("--", ":"), strict=False):
        axes.axhline(value, color=COLORS["neutral"], ls=line, label=label)
    axes.set(xlabel="outer step")
    return axes
