"""Scores after 0, 1, 2, … gradient steps, all from one way through the steps."""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from itertools import chain
from typing import Any

from ..errors import check_integer
from ..optimizers.base import Optimizer
from ..prompts import Format, PromptEncoder
from ..protocol import SEEDS, SHOTS
from ..tasks import Benchmark, Example, Task
from .adaptation import adaptations, after_steps, leave_one_out, steps_on
from .arguments import (
    adapted_to,
    check_model,
    check_shown,
    check_sizes,
    format_of,
    warn_of_shown,
)
from .benchmark import evaluate_by
from .cut import told_cuts
from .scoring import ScoresNotFinite, score_options


def evaluate_adapted(
    model,
    tokenizer,
    benchmark: Benchmark,
    *,
    optimizer: Optimizer,
    steps: Iterable[int],
    k: int = SHOTS,
    seeds: Iterable[int] = SEEDS,
    max_records: int | None = None,
    **format_options,
) -> dict[int, dict]:
    """Records of `evaluate_by` by number of steps j, with the scores of `evaluate` with
    ``adapt=Adaptation(steps=j, optimizer=optimizer)``, in less time.

    A copy of the model takes the most steps once per target and demonstration seed, and
    answers on its way. ``protocol`` lacks what only `evaluate` offers; "adapt" differs.

    ``k`` demonstrations stand in the prompt; with 0 each of up to 16 is adapted to
    alone. ``format_options`` are the fields of `Format`. Raises `ValueError` for what
    `Adaptation`, `Format` or `evaluate` would refuse.
    """
    asked = sorted(adapt.steps for adapt in adaptations(steps, optimizer))
    fmt = format_of(format_options)
    k = check_integer("k", k)
    seeds, max_records = check_sizes(benchmark, seeds, max_records)
    check_shown(benchmark, k, seeds, adapts=True)
    check_model(model, asked[-1], tokenizer)
    warn_of_shown(benchmark, k, seeds, max_records, adapts=True)
    how: Any = dict(seeds=seeds, max_records=max_records)
    cut = told_cuts(tokenizer, benchmark, fmt, k, **how)
    tables: dict[tuple[str, int], dict[int, list | ScoresNotFinite]] = {}

    def at(j: int):
        def scorer(task: Task, seed: int, queries: Sequence[Example]):
            place = (task.name, seed)
            if place not in tables:
                tables[place] = _on_the_way(
                    model, tokenizer, task, seed, queries, k, fmt, optimizer, asked
                )
            return _numbers(tables[place][j])

        return scorer

    found = {}
    for j in asked:
        found[j] = evaluate_by(at(j), benchmark, **how) | dict(cut=cut)
        adapt = f"{j} steps of {optimizer}"
        found[j]["protocol"] |= vars(fmt) | dict(k=k, adapt=adapt)
    return found


def _numbers(table: list | ScoresNotFinite) -> list:
    if isinstance(table, ScoresNotFinite):
        raise table
    return table


def _on_the_way(
    model, tokenizer, task: Task, seed: int, queries, k: int, fmt: Format, rule, asked
) -> dict[int, list | ScoresNotFinite]:
    """Scores of ``queries`` after each number of steps asked for, or why none are."""
    adapted = deepcopy(model)
    steps: Iterable[int] = ()
    if asked[-1]:
        shots = adapted_to(task, seed, k)
        batch = leave_one_out(PromptEncoder(tokenizer, fmt), shots, alone=k == 0)
        steps = steps_on(adapted, batch, rule, asked[-1])
    demonstrations = task.few_shot(seed, k)
    found: dict[int, list | ScoresNotFinite] = {}
    for j in chain([0], steps):
        if j not in asked:
            continue
        try:
            with after_steps(j, rule):
                found[j] = score_options(
                    adapted, tokenizer, demonstrations, queries, **vars(fmt)
                )
        except ScoresNotFinite as error:  # of these steps alone
            found[j] = error
    return found
