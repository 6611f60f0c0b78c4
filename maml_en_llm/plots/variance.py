"""The variance of a mean gradient against the number of tasks that it is a mean of."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter, LogLocator

from .given import check_count
from .style import PALETTE


def variance_by_tasks(axes: Axes, variances: Mapping[str, Mapping[int, float]]) -> Axes:
    """Measured variances as marks, and what the law of 1/n makes of the first as lines.

    Args:
        axes: where to draw; both scales become logarithmic
        variances: {method: {n: variance of the mean over n tasks}}, n ascending
    """
    check_count("variances", variances, 0, 5)
    for name, found in variances.items():
        check_count(f"variances[{name!r}]", found)
    for (name, found), color, mark in zip(
        variances.items(), PALETTE, "oDs^v", strict=False
    ):
        counts = list(found)
        first = found[counts[0]] * counts[0]
        law = [first / n for n in counts]
        axes.plot(counts, law, "--", color=color, lw=1)
        axes.plot(counts, list(found.values()), mark, color=color, label=name)
    counts = sorted({n for found in variances.values() for n in found})
    axes.set(xscale="log", yscale="log", xlabel="tasks per meta-batch, n")
    axes.set(ylabel="variance of the mean gradient")
    axes.set_xticks(counts, [str(n) for n in counts])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.minorticks_off()
    axes.plot([], [], "--", color="0.4", lw=1, label="first / n")
    axes.legend()
    return axes
