"""The held set: meta-training tasks asked as targets are, on examples never trained on.

What rates, steps and sizes are tuned on, so that no target is looked at before the end.

    held = held_set("minicrossfit", "hr_to_lr")
    held_loss(model, tokenizer, held, max_length=512)    # smaller is better
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from ..errors import DataError, check_callable, check_integer, shown
from ..protocol import SHOTS
from ..tasks import Example, Task, load_held
from ..tasks.doubled import warn_of_doubled
from ..tasks.labels import alike_among
from ..tasks.task import checked_tasks
from .arguments import check_model, checked_queries
from .benchmark import score_predictions
from .metrics import joint
from .scoring import ScoresNotFinite, score_options

HELD_EXAMPLES = 40  # of a meta-training task that is treated as a target
PER_FAMILY = 3  # tasks: variants of one family tell much the same


@dataclass(frozen=True)
class Held:
    """Means over the tasks of a family, or over families (`overall`).

    The score in points, the NLL of right answers, and the number of tasks behind them.

    NLL in nats per query, among its options: −log softmax(−scores) of the right one.
    Guessing among c options has log c. It tells two models apart where the scores of as
    many queries do not.
    """

    score: float
    nll: float
    n_tasks: int


def family_of(task: str) -> str:
    """The family of a task of MiniCrossFit: its name up to the first hyphen."""
    if not isinstance(task, str):
        raise ValueError(f"task: expected a task's name, found {shown(task)}")
    return task.partition("-")[0]


def held_set(
    source: str, setting: str, *, per_family: int | None = PER_FAMILY
) -> tuple[Task, ...]:
    """Meta-training tasks of a setting with test examples of their own (`load_held`).

    ``per_family``: so many tasks of each family, at equal distances in the list; None:
    all. Raises `DataError` for a source whose meta-training tasks have no test
    examples: there use `hold_back`.
    """
    return few_per_family(load_held(source, setting).test, per_family)


def few_per_family(tasks: Sequence[Task], count: int | None) -> tuple[Task, ...]:
    """``count`` tasks of each family, at equal distances, in their order."""
    tasks = checked_tasks("tasks", tasks)
    if count is None:
        return tasks
    check_integer("per_family", count, 1)
    families: dict[str, list[Task]] = {}
    for task in tasks:
        families.setdefault(family_of(task.name), []).append(task)
    chosen = set()
    for found in families.values():
        n = min(count, len(found))
        chosen |= {found[i * len(found) // n].name for i in range(n)}
    return tuple(task for task in tasks if task.name in chosen)


def hold_back(
    tasks: Sequence[Task], examples: int = SHOTS + HELD_EXAMPLES
) -> tuple[tuple[Task, ...], tuple[Task, ...]]:
    """The tasks without their last ``examples``, and those examples as targets.

    Train on the first, tune on the second: under demonstration seed 0 the first 16 are
    demonstrations, all others test examples. Tasks that are free-form, or would keep no
    example for training, stay whole and are not among the second.
    """
    check_integer("examples", examples, SHOTS + 1)
    tasks = checked_tasks("tasks", tasks)
    warn_of_doubled("tasks", tasks)
    rest, held = [], []
    for task in tasks:
        if task.kind == "free-form" or len(task.train) <= examples:
            rest.append(task)
            continue
        rest.append(replace(task, train=task.train[:-examples]))
        held.append(_as_target(task, task.train[-examples:]))
    return tuple(rest), tuple(held)


def as_targets(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """Meta-training tasks as targets, under demonstration seed 0.

    The first 16 of a task's examples are its demonstrations, the next `HELD_EXAMPLES`
    its test examples.
    """
    last = SHOTS + HELD_EXAMPLES
    return tuple(
        replace(_as_target(task, task.train[:last]), train=task.train)
        for task in checked_tasks("tasks", tasks)
    )


def _as_target(task: Task, examples: tuple[Example, ...]) -> Task:
    """The first 16 of the examples are demonstrations, all others test examples."""
    shots = {0: examples[:SHOTS]}
    return replace(task, train=examples, demonstrations=shots, test=examples[SHOTS:])


def held_out(
    model,
    tokenizer,
    held: Sequence[Task],
    *,
    demonstrations: int = SHOTS,
    family: Callable[[str], str] = family_of,
    max_records: int | None = None,
    **format_options,
) -> dict[str, Held]:
    """Held score and held NLL by family, each a mean over the family's tasks.

    Args:
        held: tasks with test examples and, unless 0 are asked for, demonstrations
            (`hold_back`, `as_targets`); their first demonstration seed is used.
        family: the family of a task's name.
        max_records: only the first test examples of each task.
        format_options: mode, separator, max_length, max_example_length.

    Raises `ValueError` for no task, or one that cannot be scored: before any is.
    """
    demonstrations = check_integer("demonstrations", demonstrations)
    check_callable("family", family, "a function of a task's name")
    if max_records is not None:
        max_records = check_integer("max_records", max_records, 1)
    asked = _with_queries(held, max_records, demonstrations)
    check_model(model, tokenizer=tokenizer)
    rows: dict[str, list[tuple[float, float]]] = {}
    for task, queries in asked:
        shots = task.few_shot(next(iter(task.demonstrations), 0), demonstrations)
        table = score_options(model, tokenizer, shots, queries, **format_options)
        score = score_predictions(task.kind, queries, table)
        rows.setdefault(family(task.name), []).append((score, _nll(queries, table)))
    return {name: _mean(found) for name, found in sorted(rows.items())}


def _with_queries(
    held, max_records: int | None, demonstrations: int
) -> list[tuple[Task, Sequence]]:
    """The tasks, each with the test examples it is asked on, all looked at."""
    found = []
    for task in checked_tasks("held", held):
        where = f"held: task {shown(task.name)}"
        if demonstrations and not task.demonstrations:
            raise DataError(
                f"{where}: expected demonstrations of one seed or more, found none; "
                "make targets of training tasks by hold_back or as_targets"
            )
        try:
            found.append((task, checked_queries(task, max_records)))
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
    if not found:
        raise ValueError("held: expected at least one task, found none")
    return found


def overall(held: Mapping[str, Held]) -> Held:
    """The mean over families, each counting once; `ValueError` where there is none."""
    if not isinstance(held, Mapping) or not all(
        isinstance(row, Held) for row in held.values()
    ):
        raise ValueError(
            f"held: expected a Held by family, as of held_out, found {shown(held)}"
        )
    if not held:
        raise ValueError("held: expected at least one family, found none")
    rows = [(row.score, row.nll) for row in held.values()]
    return replace(_mean(rows), n_tasks=sum(row.n_tasks for row in held.values()))


def held_loss(
    model,
    tokenizer,
    held: Sequence[Task],
    *,
    max_records: int | None = HELD_EXAMPLES,
    **how,
) -> float:
    """Held NLL, each family counting once: what tuning makes small.

    ``how`` goes to `held_out`. Infinite for a model whose scores are no numbers, so
    that a rate that breaks it loses.
    """
    try:
        found = held_out(model, tokenizer, held, max_records=max_records, **how)
    except ScoresNotFinite:
        return math.inf
    return overall(found).nll


def _nll(queries, table) -> float:
    """The answer's mean NLL; where its option is doubled, that of all of them."""
    found = []
    for query, row in zip(queries, table, strict=True):
        right = [row[n] for n in alike_among(query.output, query.options)]
        found.append(joint(right) - joint(row))
    return fmean(found)


def _mean(rows: Sequence[tuple[float, float]]) -> Held:
    scores, losses = zip(*rows, strict=True)
    return Held(fmean(scores), fmean(losses), len(rows))
