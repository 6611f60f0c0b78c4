"""Examples that stand in a task more than once: a query may be shown its own answer."""

import warnings
from collections.abc import Iterable

from ..errors import listed
from .task import Task

# published test files have up to 28.5% (`lama-trex`); a file that is written twice, 50%
DOUBLED = 1 / 3


def warn_of_doubled(argument: str, tasks: Iterable[Task]) -> None:
    """Warn of tasks a third of whose examples, or more, have stood there before."""
    found = []
    for task in tasks:
        pairs = {(example.input, example.output) for example in task.train}
        again = len(task.train) - len(pairs)
        if task.train and again >= DOUBLED * len(task.train):
            found.append(f"{task.name} ({again} of {len(task.train)})")
    if found:
        warnings.warn(
            f"{argument}: expected examples that stand there once, found doubled ones "
            f"in {listed(found)}; a query may be shown with its answer, or be held out "
            "and trained on: leave the second ones out",
            stacklevel=4,
        )
