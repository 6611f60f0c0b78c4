"""The picture of Adam's moments on their way through one outer step."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from .given import check_count
from .style import COLORS, PALETTE

# `moments`: what an inner step reads, and whether it hands on its own copy
FLOWS = {
    "shared": ("m, v", True),
    "shared-frozen": ("m, v", False),
    "second": ("v", False),
    "fresh": ("", False),
}
_TASKS = 2
_SUPPORT, _META = PALETTE[0], COLORS["maml-en-llm"]


def moments_flow(panels: Sequence[Axes]) -> Sequence[Axes]:
    """What the inner step of each task reads of the moments, and what it hands on.

    Args:
        panels: four axes, one per value of ``moments``, in the order of `FLOWS`
    """
    check_count("panels", panels, len(FLOWS), len(FLOWS))
    for axes, (name, (reads, hands_on)) in zip(panels, FLOWS.items(), strict=True):
        axes.set(xlim=(0, 1.9), ylim=(-0.4, 3.1), title=name)
        axes.set_axis_off()
        _outer(axes)
        for task in range(_TASKS):
            _inner(axes, 0.6 + 0.52 * task, f"$g_{task + 1}$", reads, hands_on)
    return panels


def _outer(axes: Axes) -> None:
    """The line of the outer step: its moments, and the meta-gradient that enters."""
    _arrow(axes, (0.2, 0.0), (1.42, 0.0), color="0.35")
    _word(axes, 0.2, 0.0, "$m, v$")
    _word(axes, 1.65, 0.0, "$m', v'$")
    _word(axes, 1.32, 1.2, "$G$", color=_META, frame=False)
    _arrow(axes, (1.32, 0.95), (1.32, 0.06), color=_META)


def _inner(axes: Axes, x: float, gradient: str, reads: str, hands_on: bool) -> None:
    """One task's inner step above that line."""
    _word(axes, x, 2.85, gradient, color=_SUPPORT, frame=False)
    _arrow(axes, (x, 2.65), (x, 2.1), color=_SUPPORT)
    if reads:
        _arrow(axes, (0.25, 0.3), (x - 0.06, 1.5), color="0.35", style="--")
    _word(axes, x, 1.8, f"${reads or '0, 0'}$")
    if hands_on:
        _arrow(axes, (x, 1.5), (x, 0.06), color=_SUPPORT)


def _word(axes: Axes, x, y, word: str, color: Any = "0.1", frame=True) -> None:
    box = dict(boxstyle="round,pad=0.25", fc="white", ec="0.6") if frame else None
    axes.text(x, y, word, color=color, ha="center", va="center", bbox=box, zorder=3)


def _arrow(axes: Axes, tail, head, *, color, style: str = "-") -> None:
    how = dict(arrowstyle="->", color=color, lw=1.5, ls=style, shrinkA=0, shrinkB=0)
    axes.annotate("", head, tail, arrowprops=how)
