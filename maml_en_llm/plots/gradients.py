"""Figures of meta-gradients."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from .given import check_count, check_keys
from .style import LINE_STYLES, PALETTE

_METHODS = {  # method of benchmarks/meta_gradient.py: label, colour, mark
    "reverse": ("this package, reverse", PALETTE[1], "o"),
    "unrolled": ("this package, unrolled", PALETTE[3], "s"),
    "finite_difference": ("finite differences", PALETTE[2], "D"),
    "higher": ("higher", PALETTE[0], "^"),
    "torchopt": ("torchopt", PALETTE[4], "v"),
}


_FAMILIES = {
    "gpt2": ("GPT-2", "o", PALETTE[0]),
    "llama": ("Llama", "D", PALETTE[1]),
}


def descent_paths(
    axes: Axes,
    objective: Callable[[torch.Tensor], float],
    paths: Mapping[str, torch.Tensor],
    minimum: torch.Tensor,
) -> Axes:
    """Contours of a function of two parameters, on a log scale, and ways down.

    Args:
        axes: where to draw
        objective: the function, θ (2,) -> number > 0
        paths: {name: θ of every step, (steps + 1, 2)}; all start at one place
        minimum: (2,), drawn as a star
    """
    colors = (PALETTE[0], PALETTE[2], PALETTE[1])
    check_count("paths", paths, 1, len(colors))
    ends = torch.cat(list(paths.values()))
    low = ends.min(0).values - 0.6
    high = ends.max(0).values + 0.4
    x = torch.linspace(low[0], high[0], 60, dtype=torch.float64)
    y = torch.linspace(low[1], high[1], 60, dtype=torch.float64)
    height = [[objective(torch.stack([u, v])) for u in x] for v in y]
    levels = np.geomspace(np.min(height), np.max(height), 25)
    axes.contourf(x, y, height, levels=levels, norm="log", cmap="Greys")
    looks = zip(paths.items(), colors, LINE_STYLES, strict=False)
    for (name, path), color, line in looks:
        axes.plot(path[:, 0], path[:, 1], line, color=color, lw=2.5, label=name)
        axes.plot(*path[-1], "o", color=color, ms=9, mec="white")
    start = next(iter(paths.values()))[0]
    axes.plot(*minimum, "*", color="black", ms=9, zorder=5)
    axes.plot(*start, "s", color="black", ms=6)
    axes.set(xlabel="first weight", ylabel="second weight", aspect="equal")
    axes.legend(loc="lower right")
    return axes


def saved_memory(
    axes: Axes,
    steps: Sequence[int],
    saved: Mapping[str, Sequence[float]],
    trajectory: Sequence[float],
) -> Axes:
    """Memory of one meta-gradient against k.

    Args:
        axes: where to draw
        steps: values of k
        saved: {"unrolled" and "reverse": what autograd holds, MiB, at each k}
        trajectory: what the sweep stores besides, MiB, at each k
    """
    check_keys("saved", saved, ("unrolled", "reverse"))
    unrolled, reverse = saved["unrolled"], saved["reverse"]
    total = [graph + kept for graph, kept in zip(reverse, trajectory, strict=True)]
    label = "unrolled: activations of all steps"
    axes.plot(steps, unrolled, "o-", color=PALETTE[0], label=label)
    label = "reverse sweep: activations of one step"
    axes.plot(steps, reverse, "s-", color=PALETTE[1], label=label)
    band = axes.fill_between(steps, reverse, total, color=PALETTE[1], alpha=0.25, lw=0)
    band.set_label("its trajectory (θ, m, v)")
    axes.set(xlabel="inner steps k", ylabel="memory (MiB)", xticks=steps)
    axes.set_ylim(bottom=0)
    axes.legend()
    return axes


def against_peers(panels: np.ndarray, rows: Sequence[Mapping]) -> np.ndarray:
    """Seconds and peak memory of one meta-gradient against k, by method.

    Dotted, for orientation: 4k gradients; a copy of the parameters more per step.

    Args:
        panels: (2, 2) axes; upper row parameter-bound, lower row activation-bound; left
            seconds, right GiB
        rows: of benchmarks/meta_gradient.py
    """
    for (seconds, memory), shape in zip(
        panels, ("parameter", "activation"), strict=True
    ):
        here = [row for row in rows if row["shape"] == shape and _by_adam(row)]
        for method in _METHODS:
            _method(seconds, here, method, "seconds", 1)
            _method(memory, here, method, "peak", 2**30)
        ks = _orientation(seconds, memory, here)
        seconds.set(title=f"{shape}-bound", ylabel="seconds", xscale="log")
        memory.set(title=f"{shape}-bound", ylabel="peak above the model, GiB")
        for axes in (seconds, memory):
            axes.set(yscale="log", xticks=ks, xticklabels=ks)
            axes.minorticks_off()
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
    for axes in panels[1]:
        axes.set(xlabel="inner steps k")
    above = dict(loc="outside upper center", ncols=3)
    panels[0][0].figure.legend(*panels[0][0].get_legend_handles_labels(), **above)
    return panels


def _by_adam(row: Mapping) -> bool:
    return row["optimizer"] in ("Adam", "none") and "seconds" in row


def _method(axes: Axes, rows: Sequence[Mapping], method: str, what: str, unit: float):
    """A line of one method's values; none where the method was not measured."""
    found = sorted((row["k"], row[what] / unit) for row in rows if _is(row, method))
    if not found:
        return
    label, color, mark = _METHODS[method]
    ks, values = zip(*found, strict=True)
    axes.plot(ks, values, mark + "-", color=color, label=label, ms=5)


def _is(row: Mapping, method: str) -> bool:
    return row["method"] == method and row["optimizer"] == "Adam"


def _orientation(seconds: Axes, memory: Axes, rows: Sequence[Mapping]) -> list[int]:
    """The dotted lines; returns the values of k."""
    ones = [row for row in rows if row["optimizer"] == "none"]
    peaks = {row["k"]: row["peak"] for row in rows if _is(row, "reverse")}
    check_count("rows of a shape, by optimizer 'none'", ones)
    check_count("rows of a shape, by method 'reverse' and Adam", peaks)
    one, ks = ones[0], sorted(peaks)
    gradients = [4 * k * one["seconds"] for k in ks]
    first = peaks[ks[0]]
    copies = [(first + (k - ks[0]) * one["model_bytes"]) / 2**30 for k in ks]
    seconds.plot(ks, gradients, "k:", label="4k gradients")
    memory.plot(ks, copies, "k:")
    return ks


def together(axes: Axes, rows: Sequence[Mapping], bound: float) -> Axes:
    """Time of several tasks together relative to one by one.

    Args:
        axes: where to draw
        rows: of benchmarks/together.py
        bound: tokens × width up to which tasks are run together, a power of two; the
            line is drawn between it and the next
    """
    for family, (label, mark, color) in _FAMILIES.items():
        here = [row for row in rows if row["family"] == family]
        sizes = [row["prompts"] * row["length"] * row["width"] for row in here]
        ratios = [row["together"] / row["twice"] for row in here]
        axes.plot(sizes, ratios, mark, color=color, label=label)
    axes.axhline(1, color="0.6", lw=1)
    axes.axvline(bound * 2**0.5, color="0.3", ls="--", lw=1)
    axes.set_xscale("log", base=2)
    axes.set(xlabel="tokens × width", ylabel="together / one by one", ylim=(0, None))
    axes.legend()
    return axes
