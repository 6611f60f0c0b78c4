"""One style for all figures."""

import matplotlib.pyplot as plt
import seaborn as sns

PALETTE = sns.color_palette("colorblind")


COLORS = {
    "metaicl": PALETTE[0],
    "maml-en-llm": PALETTE[1],
    "first_order": PALETTE[2],
    "neutral": PALETTE[7],
}


def use_style() -> None:
    """Set matplotlib's defaults for the book.

    An opaque white background, readable in dark mode; colours that can be told apart by
    colour-blind readers; sharp enough for print.
    """
    sns.set_theme(context="notebook", style="ticks", palette="colorblind")
    plt.rcParams.update(
        {
            "figure.figsize": (7.0, 4.0),
            "figure.dpi": 150,
            "savefig.dpi": 150,
            "figure.facecolor": "white",
            "axes.facecolor": "white",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "svg.hashsalt": "maml-en-llm",
            "figure.constrained_layout.use": True,
        }
    )


def tint(color, strength: float = 0.45) -> tuple[float, float, float]:
    """``color`` (red, green, blue) in white, with the share ``strength`` of its own."""
    red, green, blue = (1 - strength * (1 - channel) for channel in color)
    return red, green, blue
