"""Figures of scores. Unit of every score: points, 0 to 100."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import seaborn as sns
from matplotlib.axes import Axes

from .given import check_count, check_keys, check_rows
from .style import COLORS, PALETTE

if TYPE_CHECKING:
    from ..runs import Interval


def against_demonstrations(
    panels: Sequence[Axes],
    numbers: Sequence[int],
    curves: Mapping[str, Mapping[str, Sequence[float]]],
    guessing: Mapping[str, float],
) -> Sequence[Axes]:
    """Accuracy against the number of demonstrations.

    Args:
        panels: one axes per kind of task
        numbers: of demonstrations, drawn at equal distances
        curves: {kind: {name: accuracy at each of ``numbers``}}
        guessing: {kind: accuracy of uniform guessing}
    """
    check_count("curves", curves)
    check_count("panels", panels, len(curves), len(curves))
    check_keys("guessing", guessing, curves)
    for kind, rows in curves.items():
        check_count(f"curves[{kind!r}]", rows, 0, 2)
    for axes, (kind, rows) in zip(panels, curves.items(), strict=True):
        colors, styles = (PALETTE[0], PALETTE[2]), ("o-", "s--")
        for (name, row), color, style in zip(
            rows.items(), colors, styles, strict=False
        ):
            look: dict[str, Any] = dict(color=color, label=name)
            look |= dict(clip_on=False)  # marks at 0 and 100 are whole
            axes.plot(range(len(numbers)), row, style, **look)
        chance = guessing[kind]
        axes.axhline(chance, color=COLORS["neutral"], linestyle=":", label="guessing")
        axes.set(xticks=range(len(numbers)), xticklabels=numbers, ylim=(0, 100))
        axes.set(xlabel="demonstrations", title=kind)
    panels[0].set_ylabel("accuracy (points)")
    panels[0].legend()
    return panels


def label_changes(axes: Axes, accuracies: Mapping[str, float], guessing: float) -> Axes:
    """A horizontal bar per change that was made to the labels, the first on top.

    Args:
        axes: where to draw
        accuracies: {change: accuracy}
        guessing: accuracy of uniform guessing, dotted
    """
    axes.barh(list(accuracies), list(accuracies.values()), color=PALETTE[0])
    axes.invert_yaxis()
    axes.axvline(guessing, color=COLORS["neutral"], linestyle=":")
    axes.set(xlabel="accuracy (points)", xlim=(0, 100))
    return axes


def agreement(axes: Axes, cosines: Mapping[str, Mapping[str, float]]) -> Axes:
    """A matrix of cosines, {row: {column: value}}, the same columns in every row."""
    check_count("cosines", cosines)
    check_rows("cosines", cosines)
    columns = list(next(iter(cosines.values())))
    values = [[row[column] for column in columns] for row in cosines.values()]
    look: dict[str, Any] = dict(vmin=0, vmax=1, cmap="Blues", square=True, cbar=False)
    labels: dict[str, Any] = dict(xticklabels=columns, yticklabels=list(cosines))
    sns.heatmap(values, annot=True, fmt=".2f", ax=axes, **look, **labels)
    axes.tick_params(length=0)
    axes.set_yticklabels(axes.get_yticklabels(), rotation=0)
    return axes


def forest(
    axes: Axes,
    differences: Mapping[str, "Interval"],
    dots: Mapping[str, Sequence[float]] | None = None,
) -> Axes:
    """Differences with their intervals, one below the other, the first on top.

    Args:
        axes: where to draw
        differences: {what: interval}; those that exclude 0 are blue with a full dot,
            the others grey with an empty one
        dots: {what: differences}, such as of each training seed, beside an interval
    """
    dots = dots or {}
    check_keys("differences", differences, dots)
    for y, (what, gap) in enumerate(differences.items()):
        color = PALETTE[0] if gap.decided else COLORS["neutral"]
        inside = color if gap.decided else "white"
        axes.plot([gap.low, gap.high], [y, y], "-", color=color, lw=2)
        axes.plot([gap.mean], [y], "o", color=color, mfc=inside, ms=6)
        own = dots.get(what, ())
        axes.plot(own, [y - 0.25] * len(own), ".", color="0.3", ms=4)
    axes.axvline(0, color="black", lw=0.8)
    axes.set_yticks(range(len(differences)), list(differences))
    axes.set_ylim(len(differences) - 0.5, -0.5)
    axes.set_xlabel("points")
    return axes
