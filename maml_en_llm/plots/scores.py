"""Figures that set methods side by side."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from .style import PALETTE


def agreement(cosines) -> None:
    """Chapter 4: a matrix of cosines, {row: {column: value}}."""
    values = [list(row.values()) for row in cosines.values()]
    axes = sns.heatmap(
        values,
        annot=True,
        fmt=".2f",
        vmin=0,
        vmax=1,
        cmap="Blues",
        square=True,
        cbar=False,
        xticklabels=list(cosines),
        yticklabels=list(cosines),
    )
    axes.tick_params(length=0)
    axes.set_yticklabels(axes.get_yticklabels(), rotation=0)


_MARKS = {
    "zero-shot": ("o", "0.6"),
    "in-context": ("s", "black"),
    "multi-task zero-shot": ("^", PALETTE[2]),
    "MetaICL": ("D", PALETTE[0]),
    "MetaICT": ("P", PALETTE[9]),
    "FOMAML": ("v", PALETTE[4]),
    "Reptile": ("p", PALETTE[5]),
    "MAML-en-LLM": ("*", PALETTE[1]),
}


def baselines(rows, methods=tuple(_MARKS)) -> None:
    """Chapter 4: mean score by setting, a panel a mode and a point a method, from records of `runs.Run`.

    Bars are two standard errors over target tasks; the grey band is from random guessing to the oracle.
    """
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    _, panels = plt.subplots(2, 1, figsize=(10, 7.5), sharex=True, sharey=True)
    for axes, mode in zip(panels, ("direct", "channel")):
        for x, setting in enumerate(settings):
            low, high = (
                _over_tasks(rows, name, setting)[0]
                for name in ("random guess", "oracle")
            )
            axes.fill_between([x - 0.42, x + 0.42], low, high, color="0.93", lw=0)
            for i, name in enumerate(methods):
                found = _over_tasks(
                    [row for row in rows if row["mode"] == mode], name, setting
                )
                if found:
                    at = x + (i - (len(methods) - 1) / 2) * 0.8 / len(methods)
                    mark, color = _MARKS[name]
                    axes.errorbar(
                        at,
                        *found,
                        fmt=mark,
                        color=color,
                        ms=5,
                        lw=1,
                        label=name if x == 0 else None,
                    )
        axes.set(title=mode, ylabel="points", xticks=range(len(settings)))
    panels[1].set_xticklabels(
        [
            name.replace("_to_", "\n→ ").replace("_", " ").replace("non ", "non-")
            for name in settings
        ]
    )
    panels[0].legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.35))


def _over_tasks(rows, method: str, setting: str) -> tuple[float, float] | None:
    """Mean over tasks, each a mean over seeds, and two standard errors."""
    several = [
        row["tasks"]
        for row in rows
        if row["method"] == method and row["setting"] == setting
    ]
    if not several:
        return None
    means = np.array(
        [np.mean([tasks[name] for tasks in several]) for name in several[0]]
    )
    return means.mean(), 2 * means.std(ddof=1) / np.sqrt(len(means))
