"""A task: its examples, by what they are for."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

from ..errors import DataError, check_choice, listed, shown
from . import exchange
from .examples import Example
from .settings import KINDS, whole_number


@dataclass(frozen=True)
class Task:
    """A named task.

    ``kind`` decides the metric: "classification", "multi-choice" or "free-form".
    ``demonstrations`` maps a seed to its few-shot examples. Examples come in any
    collection that has an order, and are kept in a tuple; what each of them holds is
    looked at where it is used.

    Raises:
        DataError: a field of another kind, by its name, or an unknown ``kind``.
    """

    name: str
    kind: str
    domain: str | None = None
    instruction: str | None = None
    train: tuple[Example, ...] = ()
    demonstrations: Mapping[int, tuple[Example, ...]] = field(default_factory=dict)
    test: tuple[Example, ...] = ()

    def __post_init__(self):
        if not isinstance(self.name, str):
            raise DataError(f"name: expected that of a task, found {shown(self.name)}")
        where = f"task {shown(self.name)}: kind"
        check_choice(where, self.kind, KINDS, DataError)
        for name in ("domain", "instruction"):
            text = getattr(self, name)
            if not isinstance(text, (str, NoneType)):
                raise DataError(
                    f"task {shown(self.name)}: expected a text as {name}, or None, "
                    f"found {shown(text)}"
                )
        for name in ("train", "test"):
            found = _examples(self.name, name, getattr(self, name))
            object.__setattr__(self, name, found)
        object.__setattr__(self, "demonstrations", self._demonstrations())

    def _demonstrations(self) -> dict[int, tuple[Example, ...]]:
        if not isinstance(self.demonstrations, Mapping):
            raise DataError(
                f"demonstrations: expected examples by seed of task {shown(self.name)},"
                f" found {shown(self.demonstrations)}"
            )
        return {
            seed: _examples(self.name, f"demonstrations[{shown(seed)}]", examples)
            for seed, examples in self.demonstrations.items()
        }

    def few_shot(self, seed: int, demonstrations: int) -> tuple[Example, ...]:
        """The first ``demonstrations`` examples of ``seed``, in file order.

        Raises `DataError` if there are fewer. None at all can be asked of any task.
        """
        count = whole_number("demonstrations", demonstrations)
        seed = whole_number("seed", seed)
        if not count:
            return ()
        if seed not in self.demonstrations:
            has = listed(map(shown, self.demonstrations))
            raise DataError(
                f"seed: task {shown(self.name)} has no demonstrations for seed "
                f"{shown(seed)}; it has {has or 'none: ask for 0, or give it some'}"
            )
        found = self.demonstrations[seed]
        if count > len(found):
            raise DataError(
                f"demonstrations: {count} asked of task {shown(self.name)}, "
                f"seed {seed}, which has {len(found)}; ask for fewer"
            )
        return found[:count]

    def instruction_if(self, wanted: bool) -> str:
        """The instruction, or an empty text where it is not wanted or there is none."""
        return (self.instruction or "") if wanted else ""

    @classmethod
    def from_dataset(cls, dataset: Any, *, input, output, options=None, **about):
        """A task from any data set of the `datasets` library.

            Task.from_dataset(dataset, input="text", output="label")
            Task.from_dataset(splits, input=lambda row: row["q"], output="answer",
                              options="choices", name="my-task", kind="multi-choice")

        Args:
            dataset: a ``Dataset``, or a list of rows (dicts), whose examples become
                those of ``role``; or a ``DatasetDict``, or ``{"train": rows, "test":
                rows}``, with splits "train" and "test" (or "validation"), where
                ``shots`` demonstrations per seed are drawn from "train". Of a pandas
                table ``df.to_dict("records")``.
            input, output: the name of a column, or a function of a row.
            options: the same, or a list of strings that is the same for every row. By
                default the names of the output's ``ClassLabel``, if it is one. A whole
                number in ``output`` is the index of an option, from 0; refused where
                all may as well be options themselves, as 1 of "1", "2", "3".
            about: ``name``, ``kind``, ``domain``, ``instruction``; ``role`` ("train" or
                "test") of a ``Dataset``; ``shots`` (16) and ``seeds`` (whole numbers,
                by default MetaICL's, 100, 13, 21, 42 and 87). The kind is inferred from
                the options by default. A ``Dataset`` alone gives no demonstrations:
                score with k = 0.

        Raises:
            DataError: no such column, a row that is no example, or a bad argument.
        """
        known = exchange.read.__kwdefaults__ or {}
        for name in about:
            check_choice("Task.from_dataset", name, ("options", *known), DataError)
        parts, facts = exchange.read(dataset, input, output, options, **about)
        return cls(**facts, **parts)


def _examples(task: str, part: str, examples) -> tuple[Example, ...]:
    """Examples in a tuple, of any collection that has an order."""
    return in_order(
        examples, f"task {shown(task)}: expected a list of Example as {part}"
    )


def checked_tasks(
    argument: str, tasks, expected: str = "a list of Task"
) -> tuple[Task, ...]:
    """Tasks in a tuple, empty or not, of any collection that has an order."""
    found = in_order(tasks, f"{argument}: expected {expected}")
    for n, task in enumerate(found):
        if not isinstance(task, Task):
            raise DataError(f"{argument}[{n}]: expected a Task, found {shown(task)}")
    return found


def in_order(values, expected: str) -> tuple:
    """What a list, a tuple or a generator holds; `DataError` for anything else."""
    if any(hasattr(values, name) for name in ("columns", "column_names")):
        raise DataError(  # it would be taken for the list of its columns' names
            f"{expected}, found a table ({type(values).__name__}); "
            "Task.from_dataset reads the rows of a data set, of a pandas table those "
            "of df.to_dict('records')"
        )
    without_order = isinstance(values, (str, bytes, Mapping, Set))
    if without_order or not isinstance(values, Iterable):
        raise DataError(f"{expected}, found {shown(values)}")
    return tuple(values)
