"""Figures of scores. Unit of every score: points, 0 to 100."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes

from ..errors import check_choice
from ..runs.words import setting_in_words
from .given import check_count, check_keys, check_rows
from .style import COLORS, PALETTE

if TYPE_CHECKING:
    from ..runs import Interval

_MARKS = {  # method: mark, colour
    "zero-shot": ("o", "0.6"),
    "in-context": ("s", "black"),
    "multi-task zero-shot": ("^", PALETTE[2]),
    "MetaICL": ("D", PALETTE[0]),
    "MetaICT": ("P", PALETTE[9]),
    "FOMAML": ("v", PALETTE[4]),
    "Reptile": ("p", PALETTE[5]),
    "MAML-en-LLM": ("*", PALETTE[1]),
}


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


def bars_with_range(
    axes: Axes, groups: Mapping[str, Mapping[str, Sequence[float]]], guessing: float
) -> Axes:
    """Bars in groups: means of several runs, whiskers from the least to the most.

    Args:
        axes: where to draw
        groups: {group: {bar: scores of several runs}}, the same bars in every group
        guessing: score of uniform guessing, dashed
    """
    check_count("groups", groups)
    check_rows("groups", groups)
    for group, bars in groups.items():
        check_count(f"groups[{group!r}]", bars, 1, len(PALETTE))
        for name, runs in bars.items():
            check_count(f"groups[{group!r}][{name!r}]", runs)
    names = list(dict.fromkeys(name for bars in groups.values() for name in bars))
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        runs = [np.asarray(bars[name]) for bars in groups.values()]
        at = np.arange(len(runs)) + (i - (len(names) - 1) / 2) * width
        means = [values.mean() for values in runs]
        below = [values.mean() - values.min() for values in runs]
        above = [values.max() - values.mean() for values in runs]
        axes.bar(at, means, width, color=PALETTE[i], label=name)
        axes.errorbar(at, means, [below, above], fmt="none", color="black", capsize=4)
    axes.axhline(guessing, ls="--", color="0.5")
    axes.set(xticks=range(len(groups)), xticklabels=groups, ylim=(0, 100))
    axes.legend()
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


def all_settings(
    panels: Sequence[Axes],
    scores: Mapping[str, Mapping[str, Mapping[str, "Interval"]]],
    bands: Mapping[str, Sequence[float]],
) -> Sequence[Axes]:
    """Scores of all methods by setting.

    Args:
        panels: one axes per mode, one below the other
        scores: {mode: {setting: {method: interval}}}
        bands: {setting: (low, high)}, grey: from random guessing to the oracle
    """
    check_count("scores", scores)
    check_count("panels", panels, len(scores), len(scores))
    for mode, by_setting in scores.items():
        check_keys("bands", bands, by_setting)
        for setting, found in by_setting.items():
            for method in found:
                check_choice(f"scores[{mode!r}][{setting!r}]", method, _MARKS)
    for axes, (mode, by_setting) in zip(panels, scores.items(), strict=True):
        for x, (setting, found) in enumerate(by_setting.items()):
            edges = [x - 0.42, x + 0.42]
            low, high = bands[setting]
            axes.fill_between(edges, low, high, color="0.93", lw=0)
            for method, interval in found.items():
                _point(axes, x, method, interval, label=x == 0)
        names = [setting_in_words(x).replace("→", "\n→") for x in by_setting]
        axes.set(title=mode, ylabel="points", ylim=(0, 100))
        axes.set_xticks(range(len(names)), names)
    panels[0].legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.35))
    return panels


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


def _point(axes: Axes, x: int, method: str, interval: "Interval", *, label: bool):
    centre = interval.mean
    error = [[centre - interval.low], [interval.high - centre]]
    order = list(_MARKS).index(method)
    at = x + (order - (len(_MARKS) - 1) / 2) * 0.8 / len(_MARKS)
    mark, color = _MARKS[method]
    axes.errorbar(
        at,
        centre,
        yerr=error,
        fmt=mark,
        color=color,
        ms=5,
        lw=1,
        label=method if label else None,
    )
