"""The picture of a meta-gradient: two bowls, one start, two adapted copies."""

import math
from collections.abc import Sequence

import torch
from matplotlib.axes import Axes

from .given import check_count
from .style import PALETTE

BOWL_COLORS = (PALETTE[0], PALETTE[1])
_UNIT = 0.55  # length of an arrow of norm 1; lengths grow as the root of the norm
_LEVELS = (0.15, 0.6, 1.5, 3.0)


def two_bowls(
    axes: Axes,
    shapes: torch.Tensor,
    centres: torch.Tensor,
    paths: Sequence[torch.Tensor],
    queries: Sequence[torch.Tensor],
    pulled: Sequence[torch.Tensor],
    *,
    words: bool = True,
) -> Axes:
    """Inner steps from one θ into each bowl, and what the query gradients become at θ.

    Gradients are drawn downhill, −∇; an arrow's length is the root of its norm.

    Args:
        axes: where to draw
        shapes: A (tasks, 2, 2) of the bowls ½ (θ − a)ᵀ A (θ − a)
        centres: a (tasks, 2)
        paths: θ_0 … θ_k of each task, (k + 1, 2)
        queries: ∇L_Q(θ_k) of each task, (2,)
        pulled: the same pulled back to θ, the task's meta-gradient, (2,)
        words: with a legend and names
    """
    each = dict(shapes=shapes, centres=centres, paths=paths)
    for argument, given in (each | dict(queries=queries, pulled=pulled)).items():
        check_count(argument, given, 2, 2)
    for shape, centre, color in zip(shapes, centres, BOWL_COLORS, strict=True):
        for level in _LEVELS:
            axes.plot(*_ellipse(shape, centre, level), color=color, lw=0.8, alpha=0.5)
        axes.plot(*centre.tolist(), "+", color=color, ms=10, mew=2)
    for number, path in enumerate(paths):
        color = BOWL_COLORS[number]
        label = f"inner steps of task {number + 1}"
        axes.plot(path[:, 0], path[:, 1], "o-", color=color, ms=5, lw=1.5, label=label)
        _arrow(axes, path[-1], queries[number], color, alpha=0.45)
        _arrow(axes, path[0], pulled[number], color)
    start = paths[0][0]
    mean = torch.stack(list(pulled)).mean(0)
    _arrow(axes, start, mean, "black", width=3)
    axes.plot(*start.tolist(), "s", color="black", ms=7, zorder=5)
    axes.set(aspect="equal", xlim=(-2.6, 3), ylim=(-1.9, 2.4))
    if words:
        _names(axes, paths)
    else:
        axes.set_axis_off()
    return axes


def _ellipse(shape, centre, level) -> tuple[list[float], list[float]]:
    """The points of a bowl at one height."""
    values, vectors = torch.linalg.eigh(shape)
    turn = torch.linspace(0, 2 * math.pi, 90, dtype=shape.dtype)
    circle = torch.stack([turn.cos(), turn.sin()])
    radii = (2 * level / values).sqrt()
    x, y = centre[:, None] + vectors @ (radii[:, None] * circle)
    return x.tolist(), y.tolist()


def _arrow(axes: Axes, at, gradient, color, alpha=1.0, width=1.5) -> None:
    norm = gradient.norm().item()
    if norm < 1e-9:
        return
    step = -gradient * (_UNIT / norm**0.5)
    axes.annotate(
        "",
        xytext=at.tolist(),
        xy=(at + step).tolist(),
        arrowprops=dict(arrowstyle="-|>", color=color, lw=width, alpha=alpha),
    )


def _names(axes: Axes, paths) -> None:
    start = paths[0][0].tolist()
    axes.annotate("θ", start, xytext=(6, 6), textcoords="offset points", size=14)
    for number, path in enumerate(paths):
        axes.annotate(
            f"θ{'₁₂'[number]}",
            path[-1].tolist(),
            xytext=(-16, -14),
            textcoords="offset points",
            color=BOWL_COLORS[number],
            size=14,
        )
    axes.plot([], [], "-", color="black", lw=3, label="mean meta-gradient, downhill")
    axes.legend(loc="upper left")
