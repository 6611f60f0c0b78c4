"""Figures of training."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..errors import check_integer
from .given import check_count, check_keys, check_rows
from .style import COLORS, LINE_MARKS, PALETTE

_LATER = {  # what a longer run is probed for: a name in words
    "recall": "glossaries",
    "sections": "sections",
    "related": "related rows",
}


def emergence(
    panels: Sequence[Axes],
    starts: Mapping[str, Sequence[Sequence[Mapping]]],
    longer: Sequence[Sequence[Mapping]],
    guesses: Mapping[str, float],
) -> Sequence[Axes]:
    """Shares of right words against pre-training steps, one line per training seed.

    Args:
        panels: three axes: repeated rows and glossaries, over ``starts``; then what
            longer runs learn late, with guessing dotted
        starts: {what heads do at the start: probes of `base.pretrain`, per seed}
        longer: probes of each longer run; all but the first are dashed
        guesses: {probe: share that is right by guessing}
    """
    check_count("panels", panels, 3, 3)
    check_count("starts", starts, 0, len(PALETTE))
    rows, pairs, late = panels
    for axes, probe in ((rows, "repeats"), (pairs, "recall")):
        looks = zip(starts.items(), PALETTE, LINE_MARKS, strict=False)
        for (name, seeds), color, mark in looks:
            for number, probes in enumerate(seeds):
                label = name if number == 0 else None
                _probe(axes, probes, probe, color=color, marker=mark, label=label)
    looks = zip(_LATER.items(), PALETTE[3:], LINE_MARKS, strict=False)
    for (probe, name), color, mark in looks:
        for number, probes in enumerate(longer):
            style = dict(label=name, marker=mark)
            if number:
                style = dict(ls="--", marker="")
            _probe(late, probes, probe, color=color, **style)
        if probe in guesses:
            late.axhline(guesses[probe], color=color, ls=":", lw=1)
    rows.set(title="repeated rows", ylabel="share of right words")
    pairs.set(title="glossaries")
    late.set(title="longer runs")
    for axes in panels:
        axes.set(xlabel="pre-training step", ylim=(0, 1.03))
    pairs.legend(loc=(0.22, 0.4), title="heads look back")
    late.legend(loc="lower right")
    return panels


def _probe(axes: Axes, probes: Sequence[Mapping], probe: str, **style) -> None:
    steps = [row["step"] for row in probes]
    how: dict[str, Any] = dict(marker="o", ms=3, ls="-", lw=1.4) | style
    axes.plot(steps, [row[probe] for row in probes], **how)


def running_mean(values: Sequence[float], window: int) -> np.ndarray:
    """Means of every ``window`` neighbouring values; NaN where one is NaN or None.

    Returns:
        (len(values) − window + 1,): one for each step from number ``window`` on

    Raises `ValueError` for no values, or a window that is longer than they are.
    """
    check_count("values", values)
    window = check_integer("window", window, 1, len(values))
    numbers = np.asarray(values, dtype=float)  # a skipped step's None is NaN
    return np.convolve(numbers, np.ones(window) / window, mode="valid")


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

    Raises `ValueError` for runs without steps, of unequal length, or shorter than the
    window.
    """
    check_count("panels", panels, 2, 2)
    _check_runs(records, window)
    left, right = panels
    icl, maml = records["metaicl"], records["maml-en-llm"]
    after = [record["losses"] for record in maml]
    before = [_first_losses(record) for record in maml]
    colors = COLORS["metaicl"], COLORS["maml-en-llm"], COLORS["neutral"]
    at_theta = [record["losses"] for record in icl]
    _seeds_and_mean(left, at_theta, window, colors[0], "MetaICL, at θ")
    _seeds_and_mean(left, after, window, colors[1], "MAML-en-LLM, adapted")
    left.axhline(uniform, color=COLORS["neutral"], linestyle=":")
    edge = left.get_xlim()[1]
    left.text(edge, uniform, "all tokens alike", ha="right", va="bottom")
    left.set(title="Query loss", ylabel="loss (nats per target token)")
    label = "before: support prompt, at θ"
    _seeds_and_mean(right, before, window, colors[2], label, "--")
    label = "after: query prompt, adapted"
    _seeds_and_mean(right, after, window, colors[1], label)
    right.set(title="MAML-en-LLM: support before, query after")
    for axes in panels:
        axes.set(xlabel="outer step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="upper right", bbox_to_anchor=(1, 0.93))
    return panels


def _check_runs(records: Mapping[str, Sequence[Mapping]], window: int) -> None:
    methods = ("metaicl", "maml-en-llm")
    check_keys("records", records, methods)
    for method in methods:
        losses = {n: record["losses"] for n, record in enumerate(records[method])}
        check_count(f"records[{method!r}]", losses)
        check_rows(f"records[{method!r}]", losses)
        check_integer("window", window, 1, len(losses[0]))


def _first_losses(record: Mapping) -> list[float]:
    """Per outer step, the mean over tasks of the loss before the first inner step.

    NaN for a step that was skipped.
    """
    return [
        sum(task[0] for task in step) / len(step) if step else math.nan
        for step in record["inner_losses"]
    ]


def _seeds_and_mean(axes: Axes, runs, window, color, label, line="-") -> None:
    smooth = np.array([running_mean(run, window) for run in runs])  # (seeds, steps)
    steps = np.arange(window, window + smooth.shape[1])
    axes.plot(steps, smooth.T, color=color, linewidth=0.8, alpha=0.45)
    axes.plot(steps, smooth.mean(0), line, color=color, linewidth=2.6, label=label)
