"""A control: demonstrations whose answers say nothing about their inputs."""

import random
from dataclasses import replace

from ..errors import DataError, shown
from .examples import Example
from .task import Task


def with_random_labels(task: Task) -> Task:
    """The task, each demonstration's answer drawn from that demonstration's options.

    Every option is as likely, the right one too (Min et al. 2022). The draw is fixed by
    the task's name, the demonstration seed and the place, so that fewer demonstrations
    keep theirs. Test examples stay as they are.

    Raises:
        DataError: a demonstration without options.
    """
    drawn = {
        seed: tuple(
            _drawn(example, f"{task.name} {seed} {place}", task.name)
            for place, example in enumerate(examples)
        )
        for seed, examples in task.demonstrations.items()
    }
    return replace(task, demonstrations=drawn)


def _drawn(example: Example, key: str, name: str) -> Example:
    if not example.options:
        raise DataError(
            f"random_labels: expected demonstrations with options, found one without "
            f"in task {shown(name)}; leave the task out, or random_labels"
        )
    return replace(example, output=random.Random(key).choice(example.options))
