"""Meta-gradients over several draws: medians, and bands from least to most."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from .given import check_count, check_keys, number_table
from .style import PALETTE


def band(axes: Axes, x: Sequence[float], values: np.ndarray, **style) -> None:
    """The median over draws as a line, all draws as a band.

    Args:
        axes: where to draw
        x: (points,)
        values: (draws, points)
        style: of the line: color, label, marker, ls
    """
    (line,) = axes.plot(x, np.median(values, axis=0), **style)
    low, high = values.min(axis=0), values.max(axis=0)
    axes.fill_between(x, low, high, color=line.get_color(), alpha=0.2, lw=0)


def first_order_misses(
    panels: Sequence[Axes],
    rates: Sequence[float],
    cosines: Mapping[int, np.ndarray],
    sizes: Mapping[int, np.ndarray],
) -> Sequence[Axes]:
    """What first order misses, against the inner rate.

    Args:
        panels: two axes
        rates: inner rates
        cosines: {k: cosine of exact and first-order meta-gradient, (draws, rates)}
        sizes: {k: second-order part relative to the first-order one, (draws, rates)}
    """
    check_count("panels", panels, 2, 2)
    check_count("cosines", cosines, 0, 3)
    check_keys("sizes", sizes, cosines)
    cosines = {k: number_table(f"cosines[{k!r}]", cosines[k]) for k in cosines}
    sizes = {k: number_table(f"sizes[{k!r}]", sizes[k]) for k in cosines}
    left, right = panels
    for k, color, mark in zip(cosines, PALETTE, "os^", strict=False):
        style = dict(color=color, marker=mark, label=f"k = {k}")
        band(left, rates, cosines[k], **style)
        band(right, rates, sizes[k], **style)
    left.set(xscale="log", ylabel="cosine(exact, first order)")
    right.set(xscale="log", yscale="log", ylabel="second-order part / first order")
    for axes in panels:
        axes.set(xlabel="inner rate α")
    left.axhline(0, color="0.6", lw=1)
    left.legend()
    return panels


def cold_and_warm(
    panels: Sequence[Axes],
    roots: Sequence[float],
    shares: Mapping[str, np.ndarray],
    directions: Mapping[str, np.ndarray],
) -> Sequence[Axes]:
    """Adam's second-order term from cold and from warm moments, against eps_root.

    Args:
        panels: two axes: the size of the term relative to the query gradient; the
            cosine of the term with the one at the middle value of eps_root
        roots: values of eps_root, r
        shares: {"cold" and "warm": (draws, roots)}
        directions: the same
    """
    check_count("panels", panels, 2, 2)
    left, right = panels
    looks = {"cold": (PALETTE[0], "o"), "warm": (PALETTE[1], "s")}
    check_keys("shares", shares, looks)
    check_keys("directions", directions, looks)
    shares = {m: number_table(f"shares[{m!r}]", shares[m]) for m in looks}
    directions = {m: number_table(f"directions[{m!r}]", directions[m]) for m in looks}
    for moments, (color, mark) in looks.items():
        style = dict(color=color, marker=mark, label=f"{moments} moments")
        band(left, roots, shares[moments], **style)
        band(right, roots, directions[moments], **style)
    left.set(yscale="log", ylabel="second-order term / query gradient")
    right.set(ylabel="cosine with the term at r = $10^{-8}$", ylim=(-0.1, 1.05))
    for axes in panels:
        axes.set(xscale="log", xlabel="safety constant r (eps_root)")
    left.legend()
    return panels
