"""Figures of groups: of curves over steps, and of values side by side."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from matplotlib.axes import Axes

from .given import check_count, check_rows
from .style import LINE_MARKS, PALETTE

WIDTH = 0.7  # of a group, in distances between two groups


def curves_by_group(
    axes: Axes, groups: Mapping[str, Mapping[str, Mapping[int, float]]]
) -> Axes:
    """A thin line per curve and a thick one for the mean of each group.

    Args:
        axes: where to draw
        groups: {group: {curve: {step: value}}}, the same steps within a group; steps
            are drawn at equal distances, smallest first
    """
    check_count("groups", groups, 0, len(PALETTE))
    for group, curves in groups.items():
        check_count(f"groups[{group!r}]", curves)
        check_rows(f"groups[{group!r}]", curves)
    found = {step for of in groups.values() for c in of.values() for step in c}
    place = {step: x for x, step in enumerate(sorted(found))}
    for (group, curves), color, mark in zip(
        groups.items(), PALETTE, LINE_MARKS, strict=False
    ):
        own = [step for step in place if step in next(iter(curves.values()))]
        at = [place[step] for step in own]
        for curve in curves.values():
            axes.plot(at, [curve[j] for j in own], color=color, lw=0.8, alpha=0.5)
        mean = [fmean(curve[j] for curve in curves.values()) for j in own]
        axes.plot(at, mean, mark + "-", color=color, lw=2.5, label=group)
    axes.set_xticks(range(len(place)), [str(step) for step in place])
    axes.legend()
    return axes


def dots_by_group(
    axes: Axes, groups: Mapping[str, Mapping[str, Sequence[float]]]
) -> Axes:
    """Values in groups: a small dot each, a wide dash at their mean.

    Args:
        axes: where to draw
        groups: {group: {name: values}}; a name has one colour in all groups, and may be
            lacking in some
    """
    names = list(dict.fromkeys(name for found in groups.values() for name in found))
    check_count("names in groups", names, 0, len(PALETTE))
    looks = zip(names, PALETTE, LINE_MARKS, strict=False)
    for i, (name, color, mark) in enumerate(looks):
        shift = (i - (len(names) - 1) / 2) * WIDTH / len(names)
        label: str | None = name
        for x, found in enumerate(groups.values()):
            values = list(found.get(name, ()))
            if not values:
                continue
            at = [x + shift] * len(values)
            axes.plot(at, values, mark, color=color, ms=4, alpha=0.6)
            axes.plot(at[:1], [fmean(values)], "_", color=color, ms=16, mew=3)
            axes.plot([], [], mark, color=color, label=label)
            label = None
    axes.set_xticks(range(len(groups)), list(groups))
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.legend()
    return axes
