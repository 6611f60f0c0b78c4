"""Figures of prompts."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ..errors import check_choice
from .style import PALETTE, tint

Token = tuple[str, str, bool]  # its text, its role, whether it is scored

_FILL = {  # in grey: light, dark and between
    "text": tint(PALETTE[9], 0.3),
    "answer": tint(PALETTE[1], 0.75),
    "within": tint(PALETTE[7]),
    "between": tint(PALETTE[7]),
}

_SCORED: dict[str, Any] = dict(edgecolor="black", linewidth=1.4)
_PLAIN: dict[str, Any] = dict(edgecolor="white", linewidth=0.8)


def prompt_tokens(
    axes: Axes, prompts: Mapping[str, Sequence[Token]], *, columns: int = 88
) -> Axes:
    """Prompts drawn token by token, one below the other.

    Args:
        axes: where to draw; `prompt_height` says how high the figure should be
        prompts: {title: [(token, role, scored)]} with role "text", "answer", "within"
            (the separator inside an example) or "between" (Δ, after which a new line
            starts); scored tokens get a black frame
        columns: characters per line
    """
    rows = _rows(prompts, columns)
    for y, row in enumerate(rows):
        if isinstance(row, str):
            axes.text(0, y, row, fontweight="bold", va="center")
            continue
        for x, width, text, role, scored in row:
            _box(axes, x, y, width, role, scored)
            axes.text(
                x + width / 2,
                y,
                text,
                family="monospace",
                ha="center",
                va="center",
                zorder=4,
            )
    _token_legend(axes, columns)
    axes.set(xlim=(-0.5, columns + 0.5), ylim=(len(rows) - 0.4, -0.6))
    axes.axis("off")
    return axes


def prompt_height(
    prompts: Mapping[str, Sequence[Token]], *, columns: int = 88
) -> float:
    """Inches that a figure for `prompt_tokens` should be high."""
    return 0.3 * len(_rows(prompts, columns)) + 0.7


def prompt_cut(axes: Axes, lengths: Sequence[int], cut: int, limit: int) -> Axes:
    """One prompt as a strip of examples along the token axis, the part cut off hatched.

    Args:
        axes: where to draw
        lengths: tokens of every demonstration, then of the query
        cut: tokens that are lost on the left
        limit: tokens that the model sees
    """
    start = -cut
    for number, length in enumerate(lengths, 1):
        is_query = number == len(lengths)
        fill = tint(PALETTE[1 if is_query else 9])
        axes.barh(0, length, left=start, color=fill, edgecolor="white", linewidth=1.2)
        axes.text(
            start + length / 2,
            0,
            "query" if is_query else str(number),
            ha="center",
            va="center",
            rotation=90 if is_query else 0,
            bbox=None if is_query else {"fc": fill, "ec": "none", "pad": 0.5},
            zorder=4,  # on the line where the prompt is cut
        )
        start += length
    lost = axes.barh(0, cut, left=-cut, color="none", edgecolor="0.35", linewidth=0)
    lost[0].set_hatch("////")
    for x in (0, limit):
        axes.axvline(x, color="black", linewidth=1.2)
    axes.set(yticks=[], xlabel="position in the prompt that the model sees (tokens)")
    axes.spines["left"].set_visible(False)
    return axes


def _box(axes: Axes, x: float, y: float, width: float, role: str, scored: bool):
    frame = _SCORED if scored else _PLAIN
    corner = (x, y - 0.42)
    axes.add_patch(
        Rectangle(
            corner, width, 0.84, facecolor=_FILL[role], zorder=2 + scored, **frame
        )
    )


def _token_legend(axes: Axes, columns: int) -> None:
    patches = [
        Rectangle((0, 0), 1, 1, facecolor=_FILL[role])
        for role in ("text", "answer", "within")
    ]
    patches.append(Rectangle((0, 0), 1, 1, facecolor="white", **_SCORED))
    axes.legend(
        patches,
        ["text", "answer", "separator", "target: the tokens scored"],
        ncols=4 if columns > 60 else 2,
        loc="upper left",
        bbox_to_anchor=(0, 0),
        borderaxespad=0.2,
        handlelength=1.2,
    )


def _rows(prompts, columns: int) -> list:
    """What stands in each row: a title, or the tokens of a line (none: a gap)."""
    rows = []
    for title, tokens in prompts.items():
        if rows:
            rows.append([])
        rows.append(title)
        rows.extend(_token_lines(tokens, columns))
    return rows


def _token_lines(tokens: Sequence[Token], columns: int) -> list[list[tuple]]:
    """Tokens as lines of (x, width, text, role, scored).

    A new line starts after Δ and where a line is full.
    """
    lines: list[list[tuple]] = [[]]
    x, before = 0.0, None
    for text, role, scored in tokens:
        check_choice("prompts: role", role, _FILL)
        shown = text.replace("\n", "↵").replace(" ", "·")
        width = len(shown) + 0.7
        example_ends = before == "between" and role != before
        if example_ends or x + width > columns:
            lines.append([])
            x = 0.0
        lines[-1].append((x, width, shown, role, scored))
        x += width
        before = role
    return lines
