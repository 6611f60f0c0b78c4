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
from typing import TYPE_CHECKING

from ..errors import ROOM, DataError, check_truth, listed, nearest, shown
from ..protocol import SEEDS
from . import exchange
from .examples import Example, read_examples
from .files import Fetched, File, needed
from .settings import ROLES, Selection, checked_seeds
from .source import Source, open_source
from .task import Task, checked_tasks

if TYPE_CHECKING:
    from datasets import DatasetDict


@dataclass(frozen=True)
class Benchmark:
    """Meta-training tasks and target tasks of one setting.

    ``unseen`` names the targets whose domain no training task shares; ``missing`` the
    tasks of the setting that the source lacks and that were left out because the caller
    allowed it. Of a benchmark from the hub, ``revision`` is the commit and
    ``checksums`` maps each fetched file, relative to the benchmark's folder, to its
    sha256; both are empty for a local folder. Tasks come in any collection that has an
    order, and are kept in a tuple; names in any collection.

    Without ``source``, as of one's own, a warning names tasks that are both trained on
    and targets: their scores say nothing about new tasks.

    Raises:
        DataError: a field of another kind, by its name; without ``source``, a name in
            ``unseen`` that is near a target's, or none that is one's.
    """

    train: tuple[Task, ...]
    test: tuple[Task, ...]
    setting: str = ""
    source: str = ""
    unseen: frozenset[str] = frozenset()
    missing: tuple[str, ...] = ()
    revision: str = ""
    checksums: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self):
        for role in ROLES:
            tasks = checked_tasks(role, getattr(self, role))
            object.__setattr__(self, role, tasks)
        for name, kind in (("unseen", frozenset), ("missing", tuple)):
            object.__setattr__(self, name, kind(_names(name, getattr(self, name))))
        if self.source:  # its lists were checked; a part of it may name other targets
            return
        targets = [task.name for task in self.test]
        for name in sorted(self.unseen - set(targets)):  # of a part, or misspelt
            near = nearest(name, targets)
            if near or self.unseen.isdisjoint(targets):
                raise DataError(
                    f"unseen: expected names of targets, found {shown(name)}{near}"
                )
        if both := sorted({task.name for task in self.train} & set(targets)):
            warnings.warn(
                f"train: expected tasks that are no targets, found {listed(both)} in "
                "both; leave them out of one",
                stacklevel=3,
            )

    def __str__(self) -> str:
        setting = f"{self.setting}: " if self.setting else ""
        lacking = ""
        if self.missing:
            lacking = (
                f"; left out because their files are missing: {', '.join(self.missing)}"
            )
        return (
            f"{setting}{len(self.train)} meta-training tasks, "
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
        seeds: demonstration seeds to read for every target task, MetaICL's by default.
            Others are whole numbers, too, and their files are named as its own.
        tasks: read only these tasks of the setting (default: all of them).
        allow_missing: go on without the tasks whose files are not there, with a warning
            that lists them.
        faithful: keep the leaks of the published lists, for comparison with published
            numbers: `sick`, a meta-training task and a target of non-NLI→NLI, and
            `unifiedqa:winogrande_xl`, the source of QA→QA's target `wino_grande`. By
            default a meta-training task that leaks, or that stands in both lists of
            the setting, is left out of ``train`` (protocol 0.7).

    Raises:
        DataError: unknown setting or task, a seed that is no whole number, a task
            without its file, a malformed file (with its line), or a hub that does not
            deliver (`hub.download`).
    """
    for argument, value in (("allow_missing", allow_missing), ("faithful", faithful)):
        check_truth(argument, value, DataError)
    opened = open_source(source)
    selection = opened.select(setting, tasks, faithful=faithful)
    return _read(opened, selection, checked_seeds(seeds), allow_missing)


def load_training(
    source: str | Path,
    setting: str,
    *,
    allow_missing: bool = False,
    faithful: bool = False,
) -> Benchmark:
    """The meta-training tasks alone, as of `load_benchmark`: no file of a target."""
    opened = open_source(source)
    train = opened.select(setting, faithful=faithful).train
    if not train:
        raise DataError(
            f"setting: expected tasks to train on in {shown(setting)}, found none"
        )
    selection = Selection(setting, train, test=(), unseen=frozenset())
    return _read(opened, selection, (), allow_missing)


def load_held(
    source: str | Path, setting: str, *, seeds: Iterable[int] = SEEDS[:1]
) -> Benchmark:
    """The meta-training tasks of a setting as targets, by their own test examples.

    No training reads these: what rates and sizes are tuned on. Free-form tasks, which
    have no options to score, are left out.

    Raises `DataError` as `load_benchmark`, and for a task without test examples or
    demonstrations: then hold back some of those it trains on.
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
            f"{message}; use evaluation.hold_back on the tasks instead, "
            f"{_other_seeds(opened, selection, fetched)}or put there "
            f"{_first_lacking(fetched)}"
        )
    return _read_selection(opened, selection, fetched)


def _read(
    opened: Source, selection: Selection, seeds: tuple[int, ...], allow_missing: bool
) -> Benchmark:
    fetched = opened.fetch(needed(selection, seeds))
    if fetched.missing:
        message = _missing_message(opened, selection, fetched.missing)
        if not allow_missing:
            raise DataError(
                f"{message}; pass allow_missing=True to go on without, "
                f"{_other_seeds(opened, selection, fetched)}or put there "
                f"{_first_lacking(fetched)}"
            )
        warnings.warn(f"{message}; they are left out", stacklevel=3)
    return _read_selection(opened, selection, fetched)


def _names(argument: str, names) -> list[str]:
    several = isinstance(names, Iterable) and not isinstance(names, (str, bytes))
    found: list = list(names) if several else [None]
    if not all(isinstance(name, str) for name in found):
        raise DataError(
            f"{argument}: expected names of tasks in a list or a set, found "
            f"{shown(names)}"
        )
    return found


def _missing_message(
    opened: Source, selection: Selection, missing: tuple[str, ...]
) -> str:
    return (
        f"{opened.name}: {len(missing)} tasks of setting {shown(selection.setting)} "
        f"lack their files: {listed(missing)}"
    )


def _first_lacking(fetched: Fetched) -> str:
    """The names that the first file that is not there may have."""
    names = [name for name in fetched.lacking[0].names if not name.endswith(".gz")]
    one = "one of " if len(names) > 1 else ""
    return f"{one}{listed(names, ROOM // 2)} (or .gz)"


def _other_seeds(opened: Source, selection: Selection, fetched: Fetched) -> str:
    """Where only demonstrations are missing, the seeds that all targets have."""
    lacking = {file.part for file in fetched.lacking}
    if not all(isinstance(part, int) for part in lacking):
        return ""
    seeds = opened.seeds(selection, fetched)
    if not seeds:
        return ""
    return f"read the demonstration seeds that all targets have, seeds={shown(seeds)}, "


def _read_selection(
    opened: Source, selection: Selection, fetched: Fetched
) -> Benchmark:
    known = opened.settings.names()
    left_out = {role: fetched.lack(role) for role in ROLES}
    parts: dict[tuple[str, str], dict] = {}
    for file, path in fetched.paths.items():
        if path is None or file.task in left_out[file.role]:
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
            _task(name, parts[role, name], opened)
            for name in getattr(selection, role)
            if name not in left_out[role]
        )
        for role in ROLES
    )
    return Benchmark(
        train,
        test,
        selection.setting,
        opened.name,
        selection.unseen - left_out["test"],
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


def _task(name: str, parts: dict, opened: Source) -> Task:
    scored = "test" in parts
    facts = opened.facts_of(name, parts["test" if scored else "train"], scored)
    return Task(name, **facts, **parts)
