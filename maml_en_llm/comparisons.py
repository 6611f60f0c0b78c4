"""Figures that set methods or libraries side by side; as in `plots`, numbers come in and a matplotlib axis comes out."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.ticker import LogLocator

from .plots import PALETTE


def agreement(cosines) -> None:
    """Chapter 4: a matrix of cosines, {row: {column: value}}."""
    values = [list(row.values()) for row in cosines.values()]
    axes = sns.heatmap(values, annot=True, fmt=".2f", vmin=0, vmax=1, cmap="Blues", square=True, cbar=False,
                       xticklabels=list(cosines), yticklabels=list(cosines))
    axes.tick_params(length=0)
    axes.set_yticklabels(axes.get_yticklabels(), rotation=0)


_MARKS = {"zero-shot": ("o", "0.6"), "in-context": ("s", "black"), "multi-task zero-shot": ("^", PALETTE[2]),
          "MetaICL": ("D", PALETTE[0]), "MetaICT": ("P", PALETTE[9]), "FOMAML": ("v", PALETTE[4]), "Reptile": ("p", PALETTE[5]),
          "MAML-en-LLM": ("*", PALETTE[1])}


def baselines(rows, methods=tuple(_MARKS)) -> None:
    """Chapter 4: mean score by setting, a panel a mode and a point a method, from records of `runs.Run`.

    Bars are two standard errors over target tasks; the grey band is from random guessing to the oracle.
    """
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    _, panels = plt.subplots(2, 1, figsize=(10, 7.5), sharex=True, sharey=True)
    for axes, mode in zip(panels, ("direct", "channel")):
        for x, setting in enumerate(settings):
            low, high = (_over_tasks(rows, name, setting)[0] for name in ("random guess", "oracle"))
            axes.fill_between([x - 0.42, x + 0.42], low, high, color="0.93", lw=0)
            for i, name in enumerate(methods):
                found = _over_tasks([row for row in rows if row["mode"] == mode], name, setting)
                if found:
                    at = x + (i - (len(methods) - 1) / 2) * 0.8 / len(methods)
                    mark, color = _MARKS[name]
                    axes.errorbar(at, *found, fmt=mark, color=color, ms=5, lw=1, label=name if x == 0 else None)
        axes.set(title=mode, ylabel="points", xticks=range(len(settings)))
    panels[1].set_xticklabels([name.replace("_to_", "\n→ ").replace("_", " ").replace("non ", "non-") for name in settings])
    panels[0].legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.35))


def _over_tasks(rows, method: str, setting: str) -> tuple[float, float] | None:
    """Mean over tasks, each a mean over seeds, and two standard errors."""
    several = [row["tasks"] for row in rows if row["method"] == method and row["setting"] == setting]
    if not several:
        return None
    means = np.array([np.mean([tasks[name] for tasks in several]) for name in several[0]])
    return means.mean(), 2 * means.std(ddof=1) / np.sqrt(len(means))


def against_peers(rows) -> None:
    """Chapter 2: seconds and peak memory of one meta-gradient against k, by method, from the rows of benchmarks/meta_gradient.py.

    Dotted, for orientation: 4k gradients, and a copy of the parameters more a step.
    """
    _, panels = plt.subplots(2, 2, figsize=(9.5, 6.8), sharex=True)
    shown = {"reverse": "this package, reverse", "unrolled": "this package, unrolled", "finite_difference": "finite differences",
             "higher": "higher", "torchopt": "torchopt"}
    for (seconds, memory), shape in zip(panels, ("parameter", "activation")):
        here = [row for row in rows if row["shape"] == shape and row["optimizer"] in ("Adam", "none") and "seconds" in row]
        for (method, label), color, mark in zip(shown.items(), (1, 3, 2, 0, 4), "osD^v"):
            found = sorted((row["k"], row["seconds"], row["peak"] / 2**30) for row in here if row["method"] == method)
            if not found:
                continue
            for axes, value in ((seconds, 1), (memory, 2)):
                axes.plot([r[0] for r in found], [r[value] for r in found], mark + "-", color=PALETTE[color], label=label, ms=5)
        one = next(row for row in here if row["optimizer"] == "none")
        sweep = {row["k"]: row for row in here if row["method"] == "reverse"}
        ks = sorted(sweep)
        seconds.plot(ks, [4 * k * one["seconds"] for k in ks], "k:", label="4k gradients")
        memory.plot(ks, [(sweep[ks[0]]["peak"] + (k - ks[0]) * one["model_bytes"]) / 2**30 for k in ks], "k:")
        seconds.set(title=f"{shape}-bound", ylabel="seconds", xscale="log", yscale="log")
        memory.set(title=f"{shape}-bound", ylabel="peak above the model, GiB", yscale="log", xticks=ks, xticklabels=ks)
        for axes in (seconds, memory):
            axes.minorticks_off()
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
    for axes in panels[1]:
        axes.set(xlabel="inner steps k")
    panels[0][0].legend(fontsize="small")


def together(rows, bound: int) -> None:
    """Chapter 2: time of several tasks together relative to one by one, from the rows of benchmarks/together.py.

    Against the numbers in one layer's hidden states of a batch; ``bound`` is where `methods` stops running them together.
    """
    axes = plt.figure(figsize=(6.5, 3.6)).gca()
    for family, mark, color in (("gpt2", "o", PALETTE[0]), ("llama", "D", PALETTE[1])):
        here = [row for row in rows if row["family"] == family]
        axes.plot([row["prompts"] * row["length"] * row["width"] for row in here], [row["together"] / row["twice"] for row in here],
                  mark, color=color, label=dict(gpt2="GPT-2", llama="Llama")[family])
    axes.axhline(1, color="0.6", lw=1)
    axes.axvline(bound * 2**0.5, color="0.3", ls="--", lw=1)  # between the grid's powers of two
    axes.set_xscale("log", base=2)
    axes.set(xlabel="tokens × width", ylabel="together / one by one", ylim=(0, None))
    axes.legend()
