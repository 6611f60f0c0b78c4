"""The figure of one inner step: does it lower the query loss?"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from .given import check_count, check_rows
from .style import COLORS, PALETTE

_LINES = ("-", "--", ":")  # by moments, in their order


def change_by_step(record: Mapping) -> tuple[np.ndarray, np.ndarray]:
    """Mean change of the query loss over tasks, and twice its standard error.

    Args:
        record: of `evaluation.inner_step.inner_steps`

    Returns:
        two arrays (moments, supports, rates), nats per target token
    """
    before = np.asarray(record["before"])  # (tasks,)
    after = np.asarray(record["after"])  # (moments, tasks, supports, rates)
    change = after - before[None, :, None, None]
    spread = change.std(1, ddof=1) if len(before) > 1 else 0 * change.mean(1)
    return change.mean(1), 2 * spread / len(before) ** 0.5


def inner_step_changes(
    panels: Sequence[Axes], records: Mapping[str, Mapping]
) -> Sequence[Axes]:
    """Query loss after one inner step less that before, against the inner rate.

    Below the line at 0 a step helps. Bands: ± 2 standard errors over tasks.

    Args:
        panels: one axes per support size of the records
        records: {name of a model: record of `evaluation.inner_step.inner_steps`}, of
            the same supports, rates and moments
    """
    check_count("records", records, 1, len(PALETTE))
    first = next(iter(records.values()))
    supports = {n: dict.fromkeys(r["supports"]) for n, r in records.items()}
    check_rows("supports of records", supports)
    for name, record in records.items():
        check_count(f"moments of records[{name!r}]", record["moments"], 1, len(_LINES))
    check_count("panels", panels, len(first["supports"]), len(first["supports"]))
    for s, (axes, support) in enumerate(zip(panels, first["supports"], strict=True)):
        for (name, record), color in zip(records.items(), PALETTE, strict=False):
            _lines(axes, record, s, name, color)
        axes.axhline(0, color=COLORS["neutral"], lw=1)
        prompts = "prompt" if support == 1 else "prompts"
        axes.set(xscale="log", xlabel="inner rate α", title=f"{support} {prompts}")
    panels[0].set(ylabel="change of the query loss\n(nats per token)")
    panels[0].legend()
    return panels


def _lines(axes: Axes, record: Mapping, s: int, name: str, color) -> None:
    means, errors = change_by_step(record)
    kinds = record["moments"]
    for w, (moments, line) in enumerate(zip(kinds, _LINES, strict=False)):
        label = name if len(kinds) == 1 else f"{name}, {moments} moments"
        mean, error = means[w, s], errors[w, s]
        rates = record["rates"]
        axes.plot(rates, mean, line, marker="o", color=color, label=label)
        axes.fill_between(rates, mean - error, mean + error, color=color, alpha=0.15)
