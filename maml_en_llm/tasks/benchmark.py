"""Tasks and benchmarks of the MetaICL protocol, from a folder, a hub or a generator.

A *benchmark* folder holds one sub-folder per task, with these files (plain or gzipped):

    {task}/{task}_16384_100_train.jsonl     meta-training examples
    {task}/{task}_16_{seed}_train.jsonl     the demonstrations of one seed
    {task}/{task}_16_100_test.jsonl         test examples, the same for every seed

`protocol.TRAIN_FILES` and `protocol.TEST_FILES` name what may stand for the first and
the last. Source: MetaICL (arXiv 2110.15943), protocol 1.1, 1.2 and 1.5.
"""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import (
    DataError,
    check_choice,
    check_integer,
    check_truth,
    listed,
    shown,
)
from ..protocol import SEEDS
from . import exchange
from .examples import Example, kind_of, read_examples
from .files import Fetched, File, needed
from .settings import Selection, Settings, checked_seeds
from .source import Source, open_source

if TYPE_CHECKING:
    from datasets import DatasetDict


@dataclass(frozen=True)
class Task:
    """A named task.

    ``kind`` decides the metric: "classification", "multi-choice" or "free-form".
    ``demonstrations`` maps a seed to its few-shot examples.
    """

    name: str
    kind: str
    domain: str | None = None
    instruction: str | None = None
    train: tuple[Example, ...] = ()
    demonstrations: Mapping[int, tuple[Example, ...]] = field(default_factory=dict)
    test: tuple[Example, ...] = ()

    def few_shot(self, seed: int, demonstrations: int) -> tuple[Example, ...]:
        """The first ``demonstrations`` examples of ``seed``, in file order.

        Raises `DataError` if there are fewer. None at all can be asked of any task.
        """
        try:
            count = check_integer("demonstrations", demonstrations)
            seed = check_integer("seed", seed)
        except ValueError as error:
            raise DataError(str(error)) from None
        if not count:
            return ()
        if not isinstance(self.demonstrations, Mapping):
            raise DataError(
                f"demonstrations: expected examples by seed of task {shown(self.name)},"
                f" found {shown(self.demonstrations)}"
            )
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

    @classmethod
    def from_dataset(cls, dataset: Any, *, input, output, options=None, **about):
        """A task from any data set of the `datasets` library.

            Task.from_dataset(dataset, input="text", output="label")
            Task.from_dataset(splits, input=lambda row: row["q"], output="answer",
                              options="choices", name="my-task", kind="multi-choice")

        Args:
            dataset: a ``Dataset``, whose examples become those of ``role``, or a
                ``DatasetDict`` with splits "train" and "test" (or "validation"); of the
                latter ``shots`` demonstrations per seed are drawn from "train".
            input, output: the name of a column, or a function of a row.
            options: the same, or a list of strings that is the same for every row. By
                default the names of the output's ``ClassLabel``, if it is one. A whole
                number in ``output`` is the index of an option.
            about: ``name``, ``kind``, ``domain``, ``instruction``; ``role`` ("train" or
                "test") of a ``Dataset``; ``shots`` (16) and ``seeds`` (some of
                MetaICL's, 100, 13, 21, 42 and 87, by default all). The kind is inferred
                from the options by default. A ``Dataset`` alone gives no
                demonstrations: score with k = 0.

        Raises:
            DataError: no such column, a row that is no example, or a bad argument.
        """
        known = exchange.read.__kwdefaults__ or {}
        for name in about:
            check_choice("Task.from_dataset", name, ("options", *known), DataError)
        parts, facts = exchange.read(dataset, input, output, options, **about)
        return cls(**facts, **parts)


@dataclass(frozen=True)
class Benchmark:
    """Meta-training tasks and target tasks of one setting.

    ``unseen`` names the targets whose domain no training task shares; ``missing`` the
    tasks of the setting that the source lacks and that were left out because the caller
    allowed it. Of a benchmark from the hub, ``revision`` is the commit and
    ``checksums`` maps each fetched file, relative to the benchmark's folder, to its
    sha256; both are empty for a local folder.
    """

    train: tuple[Task, ...]
    test: tuple[Task, ...]
    setting: str = ""
    source: str = ""
    unseen: frozenset[str] = frozenset()
    missing: tuple[str, ...] = ()
    revision: str = ""
    checksums: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lacking = ""
        if self.missing:
            lacking = (
                f"; left out because their files are missing: {', '.join(self.missing)}"
            )
        return (
            f"{self.setting}: {len(self.train)} meta-training tasks, "
            f"{len(self.test)} target tasks{lacking}"
        )

    def to_datasets(self) -> "DatasetDict":
        """The examples as a ``DatasetDict`` of the `datasets` library.

        Its splits are "train" (meta-training tasks), "demonstrations" and "test"
        (targets). One row per example: columns "task", "input", "output" and "options"
        (a list of strings); demonstrations also have "seed".
        """
        return exchange.to_datasets(self.train, self.test)


def load_benchmark(
    source: str | Path,
    setting: str,
    *,
    seeds: Iterable[int] = SEEDS,
    tasks: Iterable[str] | None = None,
    allow_missing: bool = False,
    faithful: bool = False,
) -> Benchmark:
    """Read the tasks of ``setting`` from a source: select, fetch, read.

    Args:
        source: a folder of MetaICL-format files, a hub address of the form
            ``hf://datasets/<owner>/<name>[@<revision>]/<folder>``, such as
            ``hf://datasets/allenai/metaicl-data/data``, or ``"minicrossfit"``, the
            generated benchmark (also ``"minicrossfit:easy"``, ``"minicrossfit:hard"``).
        setting: e.g. ``"hr_to_lr"``; one of `load_settings(source)`.
        seeds: demonstration seeds to read for every target task.
        tasks: read only these tasks of the setting (default: all of them).
        allow_missing: go on without the tasks whose files are not there, with a warning
            that lists them.
        faithful: keep the leaks of the published lists, for comparison with published
            numbers: `sick`, a meta-training task and a target of non-NLI→NLI, and
            `unifiedqa:winogrande_xl`, the source of QA→QA's target `wino_grande`. By
            default a meta-training task that leaks is left out (protocol 0.7).

    Raises:
        DataError: unknown setting, task or seed, a task without its file, a malformed
            file (with its line), or a hub that does not deliver (`hub.download`).
    """
    for argument, value in (("allow_missing", allow_missing), ("faithful", faithful)):
        check_truth(argument, value, DataError)
    opened = open_source(source)
    selection = opened.select(setting, tasks, faithful=faithful)
    seeds = checked_seeds(seeds)
    fetched = opened.fetch(needed(selection, seeds))
    if fetched.missing:
        message = _missing_message(opened, selection, fetched.missing)
        if not allow_missing:
            raise DataError(
                f"{message}; pass allow_missing=True to go on without, or put there "
                f"{_first_lacking(fetched)}"
            )
        warnings.warn(f"{message}; they are left out", stacklevel=2)
    return _read_selection(opened, selection, fetched)


def load_held(
    source: str | Path, setting: str, *, seeds: Iterable[int] = SEEDS[:1]
) -> Benchmark:
    """The meta-training tasks of a setting as targets, by their own test examples.

    No training reads these, and none of them is of a target: what rates and sizes are
    tuned on. Free-form tasks, which have no options to score, are left out.

    Raises `DataError` as `load_benchmark`, and where a task has no test examples or
    demonstrations of its own: then hold back some of those it trains on.
    """
    opened = open_source(source)
    selection = opened.select(setting)
    facts = opened.settings.facts
    names = tuple(
        name
        for name in selection.train
        if facts.get(name, {}).get("kind") != "free-form"
    )
    selection = Selection(setting, train=(), test=names, unseen=frozenset())
    fetched = opened.fetch(needed(selection, checked_seeds(seeds)))
    if fetched.missing:
        message = _missing_message(opened, selection, fetched.missing)
        raise DataError(
            f"{message}; use evaluation.hold_back on the tasks instead, or put there "
            f"{_first_lacking(fetched)}"
        )
    return _read_selection(opened, selection, fetched)


def _missing_message(
    opened: Source, selection: Selection, missing: tuple[str, ...]
) -> str:
    return (
        f"{opened.name}: {len(missing)} tasks of setting {selection.setting!r} lack "
        f"their files: {listed(missing)}"
    )


def _first_lacking(fetched: Fetched) -> str:
    """The names that the first file that is not there may have."""
    file = next(file for file, path in fetched.paths.items() if path is None)
    names = [name for name in file.names if not name.endswith(".gz")]
    one = "one of " if len(names) > 1 else ""
    return f"{one}{listed(names)} (or .gz)"


def _read_selection(
    opened: Source, selection: Selection, fetched: Fetched
) -> Benchmark:
    known, left_out = opened.settings.names(), set(fetched.missing)
    parts: dict[tuple[str, str], dict] = {}
    for file, path in fetched.paths.items():
        if path is None or file.task in left_out:
            continue
        examples = read_examples(
            path,
            task=file.task,
            others=known,
            demonstrations=isinstance(file.part, int),
        )
        _put(parts, file, examples)
    train, test = (
        tuple(
            _task(name, parts[role, name], opened.settings)
            for name in getattr(selection, role)
            if name not in left_out
        )
        for role in ("train", "test")
    )
    return Benchmark(
        train,
        test,
        selection.setting,
        opened.name,
        selection.unseen - left_out,
        fetched.missing,
        fetched.revision,
        fetched.checksums,
    )


def _put(parts: dict, file: File, examples: tuple[Example, ...]) -> None:
    if file.part == "train":
        parts["train", file.task] = {"train": examples}
    elif file.part == "test":
        parts["test", file.task] = {"test": examples, "demonstrations": {}}
    else:
        parts["test", file.task]["demonstrations"][file.part] = examples


def _task(name: str, parts: dict, settings: Settings) -> Task:
    facts = settings.facts.get(name, {})
    kind = facts.get("kind") or kind_of(parts.get("train") or parts["test"])
    return Task(name, kind, facts.get("domain"), facts.get("instruction"), **parts)
