"""One style for all figures."""

import matplotlib.pyplot as plt
import seaborn as sns

PALETTE = sns.color_palette("colorblind")
# with the colours, for who sees no colours
LINE_MARKS = "osD^vPX<>*"
LINE_STYLES = ("-", "--", "-.")

# A page shows a figure of WIDEST inches 752 CSS pixels wide: 100 pixels per inch.
WIDEST = 7.5  # inches; a narrower figure takes its share of the page's column
SMALLEST_TEXT = 10.0  # points, 13.7 pixels on the page, whose small print has 13.6

COLORS = {
    "metaicl": PALETTE[0],
    "maml-en-llm": PALETTE[1],
    "neutral": PALETTE[7],
}


def use_style() -> None:
    """Set matplotlib's defaults for the book.

    An opaque white background, readable in dark mode; colours that can be told apart by
    colour-blind readers; sharp enough for print; no text below `SMALLEST_TEXT`.
    """
    sns.set_theme(context="notebook", style="ticks", palette="colorblind")
    plt.rcParams.update(
        {
            "figure.figsize": (7.0, 4.0),
            "figure.dpi": 150,
            "savefig.dpi": 150,
            "font.size": SMALLEST_TEXT,
            "xtick.labelsize": SMALLEST_TEXT,
            "ytick.labelsize": SMALLEST_TEXT,
            "legend.fontsize": SMALLEST_TEXT,
            "legend.title_fontsize": SMALLEST_TEXT,
            "axes.labelsize": SMALLEST_TEXT + 1,
            "axes.titlesize": SMALLEST_TEXT + 1,
            "figure.facecolor": "white",
            "axes.facecolor": "white",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.handlelength": 2.6,  # a dash and a dot
            "legend.edgecolor": "white",  # a frame that is not seen keeps lines out
            "svg.hashsalt": "maml-en-llm",
            "figure.constrained_layout.use": True,
        }
    )


def tint(color, strength: float = 0.45) -> tuple[float, float, float]:
    """``color`` (red, green, blue) in white, with the share ``strength`` of its own."""
    red, green, blue = (1 - strength * (1 - channel) for channel in color)
    return red, green, blue
