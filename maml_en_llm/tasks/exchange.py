"""Tasks from and to data sets of the `datasets` library."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from types import NoneType
from typing import TYPE_CHECKING, Any

from ..errors import (
    DataError,
    check_choice,
    check_once,
    listed,
    nearest,
    shown,
)
from ..protocol import SEEDS, SHOTS
from .examples import Example, check_example
from .labels import check_labels, checked_kind
from .numbered import Numbered
from .settings import (
    KINDS,
    MOST_SEED,
    ROLES,
    check_name,
    checked_seeds,
    whole_number,
)
from .strict_json import SURROGATE

if TYPE_CHECKING:
    from datasets import DatasetDict

Column = str | Callable[[Mapping], Any]
_TEST_SPLITS = ("test", "validation")


def read(
    dataset: Any,
    input: Column,
    output: Column,
    options,
    *,
    name: str | None = None,
    kind: str | None = None,
    domain: str | None = None,
    instruction: str | None = None,
    role: str | None = None,
    shots: int = SHOTS,
    seeds: Iterable[int] = SEEDS,
) -> tuple[dict, dict]:
    """(examples by part, facts) of a task; the arguments of `Task.from_dataset`."""
    if kind is not None:
        check_choice("kind", kind, KINDS, DataError)
    _check_texts(name, domain, instruction)
    shots, seeds = whole_number("shots", shots), checked_seeds(seeds)
    name = _name_of(dataset) if name is None else name
    reader = _Reader(input, output, options)
    if isinstance(dataset, Mapping):
        if role is not None:
            raise DataError(
                f"role: expected none for a dataset of splits, found {shown(role)}"
            )
        parts = _splits(dataset, reader, shots, seeds, name)
    else:
        role = "train" if role is None else role
        check_choice("role", role, ROLES, DataError)
        parts = {role: reader.examples(dataset, "dataset")}
    kind = checked_kind(kind, parts.get("test") or parts.get("train") or ())
    return parts, dict(name=name, kind=kind, domain=domain, instruction=instruction)


def _check_texts(name, domain, instruction) -> None:
    for argument, text in dict(domain=domain, instruction=instruction).items():
        if text is not None and (not isinstance(text, str) or SURROGATE.search(text)):
            raise DataError(
                f"{argument}: expected a string of whole characters, found "
                f"{shown(text)}"
            )
    if name is not None:
        check_name(name, "name")


def _splits(
    dataset: Mapping, reader: "_Reader", shots: int, seeds: Iterable[int], name: str
) -> dict:
    """The examples of a dataset of splits, by part of a task."""
    test = next((split for split in _TEST_SPLITS if split in dataset), None)
    meant = [split for split in dataset if str(split).startswith(_TEST_SPLITS)]
    if test is None and ("train" not in dataset or meant):
        raise DataError(
            "dataset: expected a split 'train', 'test' or 'validation', found "
            f"{listed(dataset)}; pass one of them, or name the one to test on 'test'"
        )
    parts: dict[str, Any] = {}
    for split in (test, "train"):  # one of them may hold the labels as text
        reader.names = reader.class_names(dataset.get(split)) or reader.names
    if "train" in dataset:
        parts["train"] = reader.examples(dataset["train"], "dataset['train']")
    if test is not None:
        parts["test"] = reader.examples(dataset[test], f"dataset[{test!r}]")
    if len(parts) == 2 and shots:
        parts["demonstrations"] = {
            seed: _drawn(parts["train"], shots, f"{name} {seed}") for seed in seeds
        }
    return parts


def to_datasets(train: Sequence, test: Sequence) -> "DatasetDict":
    """Splits "train", "demonstrations" and "test"; see `Benchmark.to_datasets`."""
    from datasets import Dataset, DatasetDict, Features, List, Value

    text = Value("string")
    features = dict(task=text, input=text, output=text, options=List(text))
    rows: dict[str, list[dict]] = {"train": [], "demonstrations": [], "test": []}
    for argument, tasks in (("train", train), ("test", test)):
        check_once(argument, [task.name for task in tasks], "name")
    for task in train:
        rows["train"] += _as_columns(task.name, task.train)
    for task in test:
        rows["test"] += _as_columns(task.name, task.test)
        for seed, examples in task.demonstrations.items():
            whole_number(f"seed of task {shown(task.name)}", seed, most=MOST_SEED)
            found = _as_columns(task.name, examples)
            rows["demonstrations"] += [row | {"seed": seed} for row in found]
    splits = {}
    for split, part in rows.items():
        columns = dict(features)
        if split == "demonstrations":
            columns["seed"] = Value("int64")
        content = {column: [row[column] for row in part] for column in columns}
        splits[split] = Dataset.from_dict(content, Features(columns))
    return DatasetDict(splits)


def _as_columns(task: str, examples: Iterable) -> list[dict]:
    found = []
    for n, example in enumerate(examples):
        if not isinstance(example, Example):
            raise DataError(
                f"task {shown(task)}: expected examples in a tuple, found "
                f"{shown(example)}"
            )
        row: dict = {"task": task, "input": example.input, "output": example.output}
        options = example.options
        several = isinstance(options, tuple)
        for text in (*row.values(), *(options if several else ())):
            if not several or not isinstance(text, str) or SURROGATE.search(text):
                raise DataError(
                    f"task {shown(task)}, example {n}: expected strings of whole "
                    f"characters, found {shown(text if several else options)}"
                )
        found.append(row | {"options": list(options)})
    return found


class _Reader:
    """Turns rows into examples by the columns, or functions, of its arguments."""

    def __init__(self, input: Column, output: Column, options):
        self.columns = {"input": input, "output": output}
        self.fixed: list | None = None
        self.names: list[str] | None = None
        self.numbered = Numbered()
        if isinstance(options, (list, tuple)):
            self.fixed = list(options)
        elif options is not None:
            self.columns["options"] = options
        for argument, column in self.columns.items():
            if not isinstance(column, str) and not callable(column):
                raise DataError(
                    f"{argument}: expected the name of a column or a function of a "
                    f"row, found {shown(column)}"
                )

    def examples(self, dataset: Any, where: str) -> tuple[Example, ...]:
        if isinstance(dataset, (str, bytes)) or not isinstance(dataset, Iterable):
            raise DataError(
                f"{where}: expected a data set of rows, found {shown(dataset)}"
            )
        self._check_columns(getattr(dataset, "column_names", None), where)
        # a split that holds the labels as text has those of the other
        self.names = self.class_names(dataset) or self.names
        self.numbered, found = Numbered(), []
        for n, row in enumerate(_rows(dataset, where)):
            place = f"{where}[{n}]"
            found.append((place, self._example(row, place, self.names)))
        if not found:
            raise DataError(f"{where}: expected examples, found no row")
        self.numbered.check()
        check_labels(found)
        return tuple(example for _, example in found)

    def _check_columns(self, known: Iterable[str] | None, where: str) -> None:
        if known is None:
            return
        for argument, column in self.columns.items():
            if isinstance(column, str) and column not in known:
                raise DataError(
                    f"{argument}: expected one of {where}'s columns, {listed(known)}; "
                    f"found {shown(column)}{nearest(column, known)}"
                )

    def class_names(self, dataset: Any) -> list[str] | None:
        """The labels' names, where the output's column has them."""
        features = getattr(dataset, "features", None)
        output = self.columns["output"]
        if not isinstance(features, Mapping) or not isinstance(output, str):
            return None
        names = getattr(features.get(output), "names", None)
        return None if names is None else list(names)

    def _example(self, row: Any, where: str, names: list[str] | None) -> Example:
        if not isinstance(row, Mapping):
            raise DataError(
                f"{where}: expected a row, found {shown(row)}; of a pandas table "
                "df.to_dict('records')"
            )
        self._check_columns(list(row), where)
        found = {}
        for argument, column in self.columns.items():
            found[argument] = _value(row, column, f"{where}: {argument}")
        options = self.fixed if self.fixed is not None else found.get("options")
        answer = found["output"]
        if isinstance(answer, Integral) and not isinstance(answer, bool):
            # the names of a column's labels have numbers, whatever they are
            reader = Numbered() if names else self.numbered
            answer = reader.chosen(int(answer), names or options, f"{where}: output")
        if not isinstance(answer, (str, NoneType)):
            raise DataError(
                f"{where}: expected a non-empty string in 'output', found "
                f"{shown(answer)}; pass a function of the row that gives one"
            )
        options = names if options is None else options
        options = list(options) if isinstance(options, (list, tuple)) else options
        options = [] if options is None else options
        check_example(found["input"], answer, options, where)
        return Example(str(found["input"]), str(answer), tuple(map(str, options)))


def _rows(dataset: Iterable, where: str) -> Iterator:
    """The rows; whatever stops a data set from giving one names the row."""
    rows, n = iter(dataset), 0
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except Exception as error:  # of a decoder, a network, a function of the user's
            raise DataError(
                f"{where}[{n}]: expected a row, found {type(error).__name__} "
                f"({shown(str(error))})"
            ) from error
        yield row
        n += 1


def _value(row: Mapping, column: Column, where: str) -> Any:
    if isinstance(column, str):
        return row[column]
    try:
        return column(row)
    except Exception as error:
        raise DataError(
            f"{where}: expected a value from the given function, found "
            f"{type(error).__name__} ({shown(str(error))})"
        ) from error


def _drawn(examples: tuple[Example, ...], shots: int, seed: str) -> tuple[Example, ...]:
    if shots > len(examples):
        most = f"at most {len(examples)}, the rows of split 'train'"
        raise DataError(f"shots: expected {most}, found {shots}")
    return tuple(random.Random(seed).sample(examples, shots))


def _name_of(dataset: Any) -> str:
    if isinstance(dataset, Mapping):
        dataset = next(iter(dataset.values()), None)
    info = getattr(dataset, "info", None)
    return getattr(info, "dataset_name", None) or "dataset"
