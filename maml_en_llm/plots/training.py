"""Figures of training."""

import matplotlib.pyplot as plt
import numpy as np

from .style import COLORS, PALETTE


def emergence(records) -> None:
    """Chapter 1: what a base model can do against its pre-training steps, {name: record of `pretrain.pretrain`}.

    Dotted lines: the training sequences become longer.
    """
    panels = {
        "loss (nats a token)": ["loss"],
        "repeated rows: right words": ["repeats"],
        "glossaries: right values": ["recall"],
        "in context: right answers": ["in context, 16", "in context, 8"],
    }
    _, axes = plt.subplots(2, 2, figsize=(9.0, 5.6), sharex=True)
    for ax, (title, keys) in zip(axes.flat, panels.items()):
        for (name, record), color in zip(records.items(), PALETTE):
            for key, style in zip(keys, ("o-", "^:")):
                points = zip(*((row["step"], row[key]) for row in record["probes"]))
                ax.plot(
                    *points,
                    style,
                    color=color,
                    ms=3.5,
                    label=name if ax is axes[0, 0] else f"{key[12:]} demonstrations",
                )
        steps, lengths = (record["config"][key] for key in ("steps", "lengths"))
        for n in (n for n in range(1, len(lengths)) if lengths[n] != lengths[n - 1]):
            ax.axvline(n * steps / len(lengths), color="0.6", ls=":", lw=1)
        ax.set(title=title, ylim=(0, None if keys == ["loss"] else 1.03))
    axes[0, 0].legend()
    plt.legend(
        *(part[:2] for part in axes[1, 1].get_legend_handles_labels()), fontsize=9
    )
    plt.axhline(0.5, color=COLORS["neutral"], lw=1)
    plt.gcf().supxlabel("pre-training step", fontsize=11)


def against_demonstrations(numbers, curves, guessing) -> None:
    """Chapter 1: accuracy against the number of demonstrations, a panel a kind of task. Units: points.

    ``curves``: {kind: {name: [one accuracy a number]}}; ``guessing``: {kind: accuracy of uniform guessing}.
    """
    _, axes = plt.subplots(
        1, len(curves), figsize=(9.0, 3.5), sharey=True, squeeze=False
    )
    for ax, (kind, rows) in zip(axes[0], curves.items()):
        for (name, row), color, style in zip(
            rows.items(), (PALETTE[0], PALETTE[2]), ("o-", "s--")
        ):
            ax.plot(range(len(numbers)), row, style, color=color, label=name)
        ax.axhline(
            guessing[kind], color=COLORS["neutral"], linestyle=":", label="guessing"
        )
        ax.set(
            xticks=range(len(numbers)),
            xticklabels=numbers,
            xlabel="demonstrations",
            title=kind,
            ylim=(0, 100),
        )
    axes[0, 0].set_ylabel("accuracy (points)")
    axes[0, 0].legend(loc="upper left", fontsize=9)


def running_mean(values, window):
    """Means of every ``window`` neighbouring values, one for each step from number ``window`` on."""
    return np.convolve(values, np.ones(window) / window, mode="valid")


def meta_training(records, window, uniform) -> None:
    """Chapter 3: losses of a meta-training over outer steps, smoothed by a running mean over ``window`` steps.

    ``records``: {method: [one record of `meta_train` a seed]}. Left: query losses, each seed thin and their mean bold,
    with the loss ``uniform`` of knowing nothing. Right, for MAML-en-LLM: the support loss at θ, before the first inner
    step, and the query loss after the last. Units: nats a target token.
    """
    maml = records["maml-en-llm"]
    before = [
        [sum(task[0] for task in step) / len(step) for step in r["inner_losses"]]
        for r in maml
    ]
    after = [r["losses"] for r in maml]
    _, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.9), sharey=True)
    for name, label in (
        ("metaicl", "MetaICL, at θ"),
        ("maml-en-llm", "MAML-en-LLM, at the adapted θᵢ"),
    ):
        _seeds_and_mean(
            left, [r["losses"] for r in records[name]], window, COLORS[name], label
        )
    left.axhline(uniform, color=COLORS["neutral"], linestyle=":")
    left.text(
        left.get_xlim()[1],
        uniform,
        "all words alike",
        ha="right",
        va="bottom",
        fontsize=9,
    )
    left.set(
        xlabel="outer step", ylabel="loss (nats a target token)", title="Query loss"
    )
    _seeds_and_mean(
        right, before, window, COLORS["neutral"], "before: support prompt, at θ"
    )
    _seeds_and_mean(
        right,
        after,
        window,
        COLORS["maml-en-llm"],
        "after: query prompt, at the adapted θᵢ",
    )
    right.set(xlabel="outer step", title="MAML-en-LLM, before and after adaptation")
    for ax in (left, right):
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend(fontsize=9, loc="lower left")


def _seeds_and_mean(ax, runs, window, color, label) -> None:
    smooth = np.array(
        [running_mean(run, window) for run in runs]
    )  # (seeds, steps - window + 1)
    steps = np.arange(window, window + smooth.shape[1])
    ax.plot(steps, smooth.T, color=color, linewidth=0.8, alpha=0.45)
    ax.plot(steps, smooth.mean(0), color=color, linewidth=2.6, label=label)
