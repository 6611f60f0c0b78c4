"""Limited data: a share of the meta-training tasks, or of the examples of each."""

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from ..errors import check_integer, check_number
from .task import Task, checked_tasks

T = TypeVar("T")


def limit(
    tasks: Iterable[Task],
    *,
    task_share: float = 1.0,
    record_share: float = 1.0,
    seed: int = 0,
) -> tuple[Task, ...]:
    """⌈share · N⌉ of the tasks, each with ⌈share · N⌉ of its examples.

    Both are drawn by ``seed`` and kept in their order. A smaller share of the same seed
    is a part of a larger one, so that what grows is the data and nothing else.

    Raises:
        DataError: another thing than tasks in an order.
        ValueError: a share outside (0, 1], a seed that is no whole number.
    """
    check_number("task_share", task_share, 0, 1, above=True)
    check_number("record_share", record_share, 0, 1, above=True)
    check_integer("seed", seed)
    tasks = checked_tasks("tasks", tasks)
    chosen = _part(tasks, task_share, f"tasks {seed}")
    return tuple(
        replace(task, train=_part(task.train, record_share, f"{task.name} {seed}"))
        for task in chosen
    )


def _part(items: Sequence[T], share: float, seed: str) -> tuple[T, ...]:
    order = list(range(len(items)))
    random.Random(seed).shuffle(order)
    # rounded first: 0.07 · 100 is a little more than 7 in binary
    count = math.ceil(round(share * len(items), 9))
    return tuple(items[i] for i in sorted(order[:count]))
