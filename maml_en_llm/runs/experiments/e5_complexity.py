"""E5, type and complexity: kinds of tasks, n, k, support size, demonstrations."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from ..adapted import Chosen
from ..claim_rules import JUDGED_AFTER
from ..presets import Preset
from ..rows import CONTROL
from ..run import Run
from .grid import Experiment, check_choices, check_list
from .table import THREE, Table, check_trained, lists_of

COMPLEXITY_ROWS = ("MetaICL", "MAML-en-LLM", CONTROL)
WITH_INNER_STEPS = ("MAML-en-LLM", "FOMAML", CONTROL)
PARTS = (
    *("kind", "n", "n adapted", "k", "k adapted", "support"),
    *("demonstrations", "labels"),
)
KINDS_OF_TASKS = (
    "class_to_class:direct",
    "non_class_to_class:direct",
)  # the same targets
N = (1, 2, 4, 8, 16)
K = (1, 2, 4, 8)
SUPPORT = (1, 2, 4, 8)  # prompts per support or query batch
SHOWN_AT_TEST = (0, 1, 2, 4, 8, 16)  # demonstrations at test


def _complexity(
    preset: Preset,
    *,
    parts: Sequence[str] = PARTS,
    cell: str = "hr_to_lr:direct",
    names: Sequence[str] = COMPLEXITY_ROWS,
    n: Sequence[int] = N,
    k: Sequence[int] = K,
    k_names: Sequence[str] = WITH_INNER_STEPS,
    prompts: Sequence[int] = SUPPORT,
    times: float = 1.0,
    seeds: Sequence[int] = THREE,
    steps: int = 320,
    draws: int | None = None,
    max_records: int | None = None,
    rates: str | None = None,
) -> list[Run]:
    """Seed by seed, part by part. The number of labels and of distractors is a property
    of a target: those parts of the question are in the records by target.

    ``names``: rows of the parts "kind", "n" and "labels"; ``n``: tasks per outer step
    of "n"; ``k`` and ``k_names``: inner steps and rows of "k". In "n adapted" and "k
    adapted" the same models are asked after adaptation; in "labels" they and the base
    are shown right and random labels. ``prompts``: per batch, of "support";
    ``times``: of each row's tuned outer rate; ``rates``: another base model, whose
    tuned rates are taken.
    """
    check_choices("parts", check_list("parts", parts), PARTS)
    table = Table(preset, draws, max_records, rates)
    names, k_names = check_trained("names", names), check_trained("k_names", k_names)
    varied = {
        "n": list(product(check_list("n", n), names)),
        "k": list(product(check_list("k", k), k_names)),
        "support": list(product(check_list("prompts", prompts), COMPLEXITY_ROWS)),
    }
    found = []
    for seed, part in product(check_list("seeds", seeds), parts):
        for where, name, change, how in _part(part, cell, names, varied, preset):
            trained_so: dict[str, Any] = dict(steps=steps, times=times, train=change)
            found += [
                table.run(name, where, seed, **trained_so, evaluate=options)
                for options in how
            ]
    return found


def _part(
    part: str,
    cell: str,
    names: list[str],
    varied: Mapping[str, list[tuple[int, str]]],
    preset: Preset,
):
    """(cell, row, change of training, changes of evaluation) of a part's runs;
    ``varied``: values and rows of the parts that vary a number."""
    once_each: Sequence[Mapping[str, Any]] = ({},)
    after = [dict(adapt=Chosen(steps=JUDGED_AFTER))]
    if part == "kind":
        shares = _equal_counts(preset)
        for where, name in product(KINDS_OF_TASKS, names):
            yield where, name, dict(task_share=shares[where]), once_each
    elif part == "n":
        for count, name in varied["n"]:
            yield cell, name, dict(tasks_per_step=count), once_each
    elif part == "n adapted":
        for count, name in varied["n"]:
            yield cell, name, dict(tasks_per_step=count), after
    elif part == "k":
        yield cell, "MetaICL", {}, once_each
        for steps, name in varied["k"]:
            yield cell, name, dict(inner_steps=steps), once_each
    elif part == "k adapted":
        for steps, name in varied["k"]:
            yield cell, name, dict(inner_steps=steps), after
    elif part == "support":
        for prompts, name in varied["support"]:
            yield cell, name, dict(prompts=prompts), once_each
    elif part == "demonstrations":
        for name in COMPLEXITY_ROWS:
            yield cell, name, {}, [dict(k=shown) for shown in SHOWN_AT_TEST]
    else:
        right = dict(k=SHOWN_AT_TEST[-1])
        for name in ("in-context", *names):
            yield cell, name, {}, [right, right | dict(random_labels=True)]


def _equal_counts(preset: Preset) -> dict[str, float]:
    """The share of each kind's tasks that leaves as many as the smaller kind has."""
    lists = lists_of(preset.benchmark)
    sizes = {
        cell: len(lists[cell.partition(":")[0]]["train"]) for cell in KINDS_OF_TASKS
    }
    least = min(sizes.values())
    return {cell: round(least / size, 9) for cell, size in sizes.items()}


COMPLEX = Experiment(
    about="C5, C7: kinds of meta-training tasks at equal counts; n for MAML-en-LLM and "
    "for MetaICL, and k, both also adapted; prompts per batch; demonstrations at test, "
    "and with random labels.",
    make=_complexity,
    preset="mini",
)
