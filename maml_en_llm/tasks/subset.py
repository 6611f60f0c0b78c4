"""Limited data: a share of the meta-training tasks, or of the records of each."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace

from .benchmark import Task


def limit(
    tasks: Sequence[Task],
    *,
    task_share: float = 1.0,
    record_share: float = 1.0,
    seed: int = 0,
) -> tuple[Task, ...]:
    """⌈share · N⌉ of the tasks, each with ⌈share · N⌉ of its records, drawn by ``seed`` and kept in their order.

    A smaller share of the same seed is a part of a larger one, so that what grows is the data and nothing else.

    Raises:
        ValueError: a share outside (0, 1].
    """
    for name, share in (("task_share", task_share), ("record_share", record_share)):
        if not 0 < share <= 1:
            raise ValueError(
                f"{name}: expected more than 0 and at most 1, found {share}"
            )
    chosen = _part(tasks, task_share, f"tasks {seed}")
    return tuple(
        replace(task, train=_part(task.train, record_share, f"{task.name} {seed}"))
        for task in chosen
    )


def _part(items: Sequence, share: float, seed: str) -> tuple:
    order = list(range(len(items)))
    random.Random(seed).shuffle(order)
    # rounded first: 0.07 · 100 is a little more than 7 in binary
    return tuple(
        items[i] for i in sorted(order[: math.ceil(round(share * len(items), 9))])
    )
