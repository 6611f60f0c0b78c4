"""Tasks and benchmarks of the MetaICL protocol, found in a folder or on the hub.

A *benchmark* folder holds one sub-folder a task, with these files (plain or gzipped):

    {task}/{task}_16384_100_train.jsonl     meta-training records   (also {task}_mt_train, {task}_train)
    {task}/{task}_16_{seed}_train.jsonl     the demonstrations of one seed
    {task}/{task}_16_100_test.jsonl         test records, the same for every seed   (also {task}_test)

A folder may carry its own ``settings.json``
(``{"settings": {name: {"train": [...], "test": [...], "unseen_domain_test": [...]}}}``); without one, the
lists of MetaICL apply. Source: MetaICL (arXiv 2110.15943), protocol sections 1.1, 1.2 and 1.5.
"""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DataError
from ..protocol import DEMONSTRATION_FILE, SEEDS, TEST_FILES, TRAIN_FILES
from .examples import Example, read_examples
from .hub import Snapshot, download
from .settings import (
    checked_seeds,
    generated,
    selection,
    setting_lists,
    task_info,
    without_leaks,
)


@dataclass(frozen=True)
class Task:
    """A named task: ``kind`` decides the metric, ``demonstrations`` maps a seed to its few-shot examples."""

    name: str
    kind: str
    domain: str | None = None
    instruction: str | None = None
    train: tuple[Example, ...] = ()
    demonstrations: Mapping[int, tuple[Example, ...]] = field(default_factory=dict)
    test: tuple[Example, ...] = ()

    def few_shot(self, seed: int, k: int) -> tuple[Example, ...]:
        """The first ``k`` demonstrations of ``seed``, in file order. Raises `DataError` if there are fewer."""
        if k < 0:
            raise DataError(
                f"k: expected a number of demonstrations, 0 or more, found {k}"
            )
        if seed not in self.demonstrations:
            known = ", ".join(map(str, self.demonstrations)) or "none"
            raise DataError(
                f"seed: task {self.name!r} has no demonstrations for seed {seed}; it has {known}"
            )
        found = self.demonstrations[seed]
        if k > len(found):
            raise DataError(
                f"k: {k} demonstrations asked of task {self.name!r}, seed {seed}, which has {len(found)}; lower k"
            )
        return found[:k]


@dataclass(frozen=True)
class Benchmark:
    """Meta-training tasks and target tasks of one setting.

    ``unseen`` names the targets whose domain no training task shares; ``missing`` the tasks of the setting that
    the source lacks and that were left out because the caller allowed it. Of a benchmark from the hub, ``revision``
    is the commit and ``checksums`` maps each fetched file, relative to the benchmark's folder, to its sha256; both are
    empty for a local folder.
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
        lacking = (
            f"; left out because their files are missing: {', '.join(self.missing)}"
            if self.missing
            else ""
        )
        return f"{self.setting}: {len(self.train)} meta-training tasks, {len(self.test)} target tasks{lacking}"


def load_benchmark(
    source: str | Path,
    setting: str,
    *,
    seeds: Iterable[int] = SEEDS,
    tasks: Iterable[str] | None = None,
    allow_missing: bool = False,
    faithful: bool = False,
) -> Benchmark:
    """Read the tasks of ``setting`` from a folder or from ``hf://datasets/<owner>/<name>[@<revision>]/<folder>``.

    Args:
        source: folder of MetaICL-format files, a hub address such as ``hf://datasets/allenai/metaicl-data/data``, or
            ``"minicrossfit"``, the generated benchmark (also ``"minicrossfit:easy"`` and ``"minicrossfit:hard"``).
        setting: e.g. ``"hr_to_lr"``; one of `load_settings(source)`.
        seeds: demonstration seeds to read for every target task.
        tasks: read only these tasks of the setting (default: all of them).
        faithful: keep the leaks of the published lists, for comparison with published numbers: `sick`, a meta-training task
            and a target of non-NLI→NLI, and `unifiedqa:winogrande_xl`, the source of QA→QA's target `wino_grande`. By
            default a meta-training task that leaks is left out (protocol 0.7).
        allow_missing: go on without the tasks whose files are not there, with a warning that lists them.

    Raises:
        DataError: unknown setting, task or seed, a task without its file, a malformed file (with its line), or a hub
            that does not deliver (`hub.download`).
    """
    name, source = str(source), generated(source)
    lists = setting_lists(source, setting)
    lists = lists if faithful else without_leaks(lists)
    wanted = selection(lists, tasks, setting)
    seeds = checked_seeds(seeds)
    local = _local_files(source, wanted, seeds)
    root = local.folder
    missing = _missing(root, wanted, seeds)
    if missing and not allow_missing:
        raise DataError(
            _missing_message(source, setting, missing)
            + "; pass allow_missing=True to go on without"
        )
    if missing:
        warnings.warn(
            _missing_message(source, setting, missing) + "; they are left out",
            stacklevel=2,
        )
    info = task_info(source)
    have = {
        role: [t for t in names if t not in missing] for role, names in wanted.items()
    }
    test = tuple(_target_task(root, t, seeds, info) for t in have["test"])
    train = tuple(_training_task(root, t, info) for t in have["train"])
    unseen = frozenset(lists.get("unseen_domain_test", ())) & set(have["test"])
    return Benchmark(
        train,
        test,
        setting,
        name,
        unseen,
        tuple(missing),
        local.revision,
        local.checksums,
    )


def _find(root: Path, task: str, names: Iterable[str]) -> Path | None:
    return next(
        (root / name for name in _file_names(task, names) if (root / name).is_file()),
        None,
    )


def _file_names(task: str, names: Iterable[str]) -> list[str]:
    """Where a file may lie in the benchmark's folder, best first."""
    return [
        f"{task}/{name.format(task=task)}{end}"
        for name in names
        for end in (".jsonl", ".jsonl.gz")
    ]


def _demonstration_file(root: Path, task: str, seed: int) -> Path | None:
    return _find(root, task, [DEMONSTRATION_FILE.format(task=task, seed=seed)])


def _missing(
    root: Path, wanted: dict[str, list[str]], seeds: tuple[int, ...]
) -> list[str]:
    train = [t for t in wanted["train"] if _find(root, t, TRAIN_FILES) is None]
    test = [
        t
        for t in wanted["test"]
        if _find(root, t, TEST_FILES) is None
        or any(_demonstration_file(root, t, s) is None for s in seeds)
    ]
    return list(dict.fromkeys(train + test))


def _missing_message(source: str | Path, setting: str, missing: list[str]) -> str:
    return f"{source}: {len(missing)} tasks of setting {setting!r} lack their files: {', '.join(missing)}"


def _training_task(root: Path, name: str, info: dict) -> Task:
    train = read_examples(_find(root, name, TRAIN_FILES))
    return _described(name, train, info, train=train)


def _target_task(root: Path, name: str, seeds: tuple[int, ...], info: dict) -> Task:
    test = read_examples(_find(root, name, TEST_FILES))
    demonstrations = {
        seed: read_examples(_demonstration_file(root, name, seed)) for seed in seeds
    }
    return _described(name, test, info, test=test, demonstrations=demonstrations)


def _described(name: str, examples: tuple[Example, ...], info: dict, **parts) -> Task:
    about = info.get(name, {})
    return Task(
        name,
        about.get("kind") or _kind(examples),
        about.get("domain"),
        about.get("instruction"),
        **parts,
    )


def _kind(examples: tuple[Example, ...]) -> str:
    if not any(example.options for example in examples):
        return "free-form"
    # The options of a classification task are one fixed list; a multi-choice question brings its own.
    return (
        "classification"
        if len({example.options for example in examples}) == 1
        else "multi-choice"
    )


def _local_files(
    source: str | Path, wanted: dict[str, list[str]], seeds: tuple[int, ...]
) -> Snapshot:
    if str(source).startswith("hf://"):
        return download(str(source), _needed(wanted, seeds))
    if not Path(source).is_dir():
        raise DataError(
            f"source: expected a folder of MetaICL-format files or hf://…, found {str(source)!r}"
        )
    return Snapshot(Path(source))


def _needed(wanted: dict[str, list[str]], seeds: tuple[int, ...]) -> list[list[str]]:
    """The names that each needed file may have."""
    train = [_file_names(t, TRAIN_FILES) for t in wanted["train"]]
    test = [_file_names(t, TEST_FILES) for t in wanted["test"]]
    shots = [
        _file_names(t, [DEMONSTRATION_FILE.format(task=t, seed=s)])
        for t in wanted["test"]
        for s in seeds
    ]
    return train + test + shots
