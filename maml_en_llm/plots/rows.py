"""Figures of rows: one name per row, and a dot per draw, per seed, or per run."""

from collections.abc import Iterable, Mapping
from statistics import fmean

from matplotlib.axes import Axes

from .style import PALETTE


def dots_in_rows(
    axes: Axes, rows: Mapping[str, Iterable[float]], *, names: bool = True
) -> Axes:
    """A row per name, the first on top: a dot per value, a bar at their mean.

    Several axes drawn from the same names, or beside `forest`, stand row by row.

    Args:
        axes: where to draw
        rows: {name: values}; a row without values stays empty
        names: whether the rows' names are written
    """
    for y, values in enumerate(map(list, rows.values())):
        axes.plot(values, [y] * len(values), "o", color=PALETTE[0], ms=4, alpha=0.6)
        if values:
            axes.plot([fmean(values)], [y], "|", color="black", ms=12)
    axes.set_yticks(range(len(rows)), list(rows) if names else [""] * len(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=4)  # panels are narrow
    return axes
