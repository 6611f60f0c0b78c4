"""Figures of training."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .style import COLORS, PALETTE

_PROBES = {  # title of a panel: probes of `base.pretrain` drawn in it
    "loss (nats per token)": ["loss"],
    "repeated rows: right words": ["repeats"],
    "glossaries: right values": ["recall"],
    "in context: right answers": ["in context, 16", "in context, 8"],
}


def emergence(panels: np.ndarray, records: Mapping[str, Mapping]) -> np.ndarray:
    """What a base model can do, against its pre-training steps.

    Dotted vertical lines: from here on the training sequences are longer.

    Args:
        panels: (2, 2) axes: the loss, repeated rows, glossaries, answers in context
        records: {name: record of `pretrain`}
    """
    flat = [axes for row in panels for axes in row]
    for axes, (title, keys) in zip(flat, _PROBES.items(), strict=True):
        for (name, record), color in zip(records.items(), PALETTE, strict=False):
            steps = [row["step"] for row in record["probes"]]
            for key, style in zip(keys, ("o-", "^:"), strict=False):
                values = [row[key] for row in record["probes"]]
                label = f"{key[12:]} demonstrations" if len(keys) > 1 else name
                axes.plot(steps, values, style, color=color, ms=3.5, label=label)
        _longer_sequences(axes, record["config"])
        axes.set(title=title, ylim=(0, None if keys == ["loss"] else 1.03))
    loss, answers = flat[0], flat[-1]
    loss.legend()
    handles, labels = answers.get_legend_handles_labels()
    answers.legend(handles[:2], labels[:2], fontsize=9)
    answers.axhline(0.5, color=COLORS["neutral"], lw=1)
    for axes in panels[1]:
        axes.set(xlabel="pre-training step")
    return panels


def _longer_sequences(axes: Axes, config: Mapping) -> None:
    steps, lengths = config["steps"], config["lengths"]
    for n in range(1, len(lengths)):
        if lengths[n] != lengths[n - 1]:
            axes.axvline(n * steps / len(lengths), color="0.6", ls=":", lw=1)


def running_mean(values: Sequence[float], window: int) -> np.ndarray:
    """Means of every ``window`` neighbouring values.

    Returns:
        (len(values) − window + 1,): one for each step from number ``window`` on
    """
    return np.convolve(values, np.ones(window) / window, mode="valid")


def meta_training(
    panels: Sequence[Axes],
    records: Mapping[str, Sequence[Mapping]],
    window: int,
    uniform: float,
) -> Sequence[Axes]:
    """Losses of a meta-training over outer steps, smoothed.

    Unit: nats per target token.

    Args:
        panels: two axes. Left: query losses, each training seed thin and their mean
            bold. Right, for MAML-en-LLM: the support loss at θ, before the first inner
            step, and the query loss after the last
        records: {"metaicl" and "maml-en-llm": one record of `meta_train` per seed}
        window: steps of the running mean
        uniform: loss of a model that knows nothing
    """
    left, right = panels
    icl, maml = records["metaicl"], records["maml-en-llm"]
    after = [record["losses"] for record in maml]
    before = [_first_losses(record) for record in maml]
    colors = COLORS["metaicl"], COLORS["maml-en-llm"], COLORS["neutral"]
    at_theta = [record["losses"] for record in icl]
    _seeds_and_mean(left, at_theta, window, colors[0], "MetaICL, at θ")
    _seeds_and_mean(left, after, window, colors[1], "MAML-en-LLM, at the adapted θᵢ")
    left.axhline(uniform, color=COLORS["neutral"], linestyle=":")
    edge = left.get_xlim()[1]
    known = left.text(edge, uniform, "all tokens alike", ha="right", va="bottom")
    known.set_fontsize(9)
    left.set(title="Query loss", ylabel="loss (nats per target token)")
    label = "before: support prompt, at θ"
    _seeds_and_mean(right, before, window, colors[2], label)
    label = "after: query prompt, at the adapted θᵢ"
    _seeds_and_mean(right, after, window, colors[1], label)
    right.set(title="MAML-en-LLM, before and after adaptation")
    for axes in panels:
        axes.set(xlabel="outer step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=9, loc="lower left")
    return panels


def _first_losses(record: Mapping) -> list[float]:
    """Per outer step, the mean over tasks of the loss before the first inner step."""
    steps = record["inner_losses"]
    return [sum(task[0] for task in step) / len(step) for step in steps]


def _seeds_and_mean(axes: Axes, runs, window: int, color, label: str) -> None:
    smooth = np.array([running_mean(run, window) for run in runs])  # (seeds, steps)
    steps = np.arange(window, window + smooth.shape[1])
    axes.plot(steps, smooth.T, color=color, linewidth=0.8, alpha=0.45)
    axes.plot(steps, smooth.mean(0), color=color, linewidth=2.6, label=label)
