"""Figures of prompts."""

import matplotlib.pyplot as plt

from .style import PALETTE, tint


def prompt_tokens(prompts, *, columns=88) -> None:
    """Chapter 1: prompts drawn token by token, one below the other.

    ``prompts``: {title: [(token, role, scored)]} with role "text", "answer", "within" (separator inside an example) or
    "between" (Δ, after which a new line starts); ``scored`` tokens get a frame. Lines hold ``columns`` characters.
    """
    colors = {"text": tint(PALETTE[9]), "answer": tint(PALETTE[1])} | dict.fromkeys(
        ("between", "within"), tint(PALETTE[7])
    )
    rows = [
        row
        for title, tokens in prompts.items()
        for row in (title, *_token_lines(tokens, columns), None)
    ][:-1]
    _, ax = plt.subplots(figsize=(9.0, 0.27 * len(rows) + 0.5))
    for y, row in enumerate(rows):
        if isinstance(row, str):
            ax.text(0, y, row, fontsize=10, fontweight="bold", va="center")
            continue
        for x, width, text, role, scored in row or ():
            frame = (
                dict(edgecolor="black", linewidth=1.4, zorder=3)
                if scored
                else dict(edgecolor="white", linewidth=0.8)
            )
            ax.add_patch(
                plt.Rectangle(
                    (x, y - 0.42), width, 0.84, facecolor=colors[role], **frame
                )
            )
            ax.text(
                x + width / 2,
                y,
                text,
                fontsize=7.5,
                family="monospace",
                ha="center",
                va="center",
                zorder=4,
            )
    patches = [
        plt.Rectangle((0, 0), 1, 1, facecolor=colors[role])
        for role in ("text", "answer", "within")
    ]
    patches.append(
        plt.Rectangle((0, 0), 1, 1, facecolor="white", edgecolor="black", linewidth=1.4)
    )
    ax.legend(
        patches,
        ["text", "answer", "separator", "target: the tokens scored"],
        ncols=4,
        loc="upper left",
        bbox_to_anchor=(0, 0),
        fontsize=9,
        borderaxespad=0.2,
        handlelength=1.2,
    )
    ax.set(xlim=(-0.5, columns + 0.5), ylim=(len(rows) - 0.4, -0.6))
    ax.axis("off")


def prompt_cut(lengths, cut, limit) -> None:
    """Chapter 1: one prompt as a strip of examples along the token axis, with the ``cut`` tokens on its left struck out.

    ``lengths``: tokens of every demonstration, then of the query; ``limit`` is the sequence limit. Units: tokens.
    """
    _, ax = plt.subplots(figsize=(7.0, 1.5))
    start = -cut
    for n, length in enumerate(lengths):
        query = n == len(lengths) - 1
        ax.barh(
            0,
            length,
            left=start,
            color=tint(PALETTE[1 if query else 9]),
            edgecolor="white",
            linewidth=1.2,
        )
        ax.text(
            start + length / 2,
            0,
            "query" if query else n + 1,
            ha="center",
            va="center",
            fontsize=8,
            rotation=90 if query else 0,
        )
        start += length
    ax.barh(
        0, cut, left=-cut, color="none", edgecolor="0.35", hatch="////", linewidth=0
    )
    for x in (0, limit):
        ax.axvline(x, color="black", linewidth=1.2)
    ax.set(yticks=[], xlabel="position in the prompt that the model sees (tokens)")
    ax.spines["left"].set_visible(False)


def _token_lines(tokens, columns):
    """Tokens laid out as lines of (x, width, text, role, scored); a new line after Δ and where a line is full."""
    lines, x, before = [[]], 0.0, None
    for text, role, scored in tokens:
        shown = text.replace("\n", "↵").replace(" ", "·")
        width = len(shown) + 0.7
        if (before == "between" and role != before) or x + width > columns:
            lines, x = [*lines, []], 0.0
        lines[-1].append((x, width, shown, role, scored))
        x, before = x + width, role
    return lines
