"""The settings of a source: which tasks are trained on, which are targets, and facts.

``settings.json`` of a benchmark's folder, or of the folder above it, holds

    {"settings": {name: {"train": [...], "test": [...], "unseen_domain_test": [...]}},
     "tasks": {task: {"kind": ..., "domain": ..., "instruction": ...}}}

The last list and the facts are optional. Without such a file MetaICL's lists apply
(protocol 1.5).
"""

import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..errors import DataError, check_choice, check_integer, listed, nearest, shown
from ..protocol import LEAKS, SEEDS
from .strict_json import parse

KINDS = ("classification", "multi-choice", "free-form")
ROLES = ("train", "test")
UNSEEN_TARGETS = "unseen_domain_test"
FILE = "settings.json"
LARGEST_FILE = 2**26  # bytes
MOST_SEED = 2**63 - 1  # the largest int64, as a column of `datasets` holds it
_FACTS = ("kind", "domain", "instruction")
_LONGEST_NAME = 200  # bytes, so that a file name made of it is one


@dataclass(frozen=True)
class Settings:
    """Lists of task names by setting and role, and facts by task.

    ``note`` ends the message for a setting that is none of them.
    """

    lists: Mapping[str, Mapping[str, list[str]]]
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    note: str = ""

    def names(self) -> frozenset[str]:
        """All tasks of all settings."""
        return frozenset(
            name
            for lists in self.lists.values()
            for part in lists.values()
            for name in part
        )


@dataclass(frozen=True)
class Selection:
    """The tasks of a setting that are asked for, by role and in the lists' order."""

    setting: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    unseen: frozenset[str]


def published() -> Settings:
    """MetaICL's own lists and kinds of task."""
    path = files("maml_en_llm.tasks").joinpath("metaicl.json")
    found = checked(parse(path.read_bytes(), "metaicl.json"), "metaicl.json")
    note = f"; these are MetaICL's: a local folder names its own in a {FILE}"
    return replace(found, note=note)


def read_settings(path: Path) -> Settings:
    """The content of a ``settings.json``; `DataError` names the file and the key."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe may never say a word
            raise DataError(f"{path}: expected a file, found a folder, device or pipe")
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise DataError(
            f"{path}: expected a file that can be read, found {error.strerror or error}"
        ) from error
    if len(content) > LARGEST_FILE:
        raise DataError(
            f"{path}: expected at most {LARGEST_FILE:,} bytes, found more of them"
        )
    return checked(parse(content, str(path)), str(path))


def checked(content: Any, where: str) -> Settings:
    """``content`` of a settings file, once every part of it has its type."""
    content = _mapping(content, where)
    if "settings" not in content:
        raise DataError(
            f"{where}: expected {{'settings': {{name: {{'train': […], 'test': […]}}}}}}"
            f", found the keys {listed(content) or 'none'}"
        )
    _refuse_misspelt(content, ("settings", "tasks"), where)
    settings = _mapping(content["settings"], f"{where}: settings")
    if not settings:
        raise DataError(f"{where}: settings: expected at least one, found none")
    lists = {
        name: _lists(part, f"{where}: settings: {shown(name)}")
        for name, part in settings.items()
    }
    tasks = _mapping(content.get("tasks", {}), f"{where}: tasks")
    facts = {
        name: _task_facts(about, f"{where}: tasks: {shown(name)}")
        for name, about in tasks.items()
    }
    found = Settings(lists, facts)
    known = found.names()
    for name in facts.keys() - known:  # of a task that no list names, or misspelt
        without = known - facts.keys()
        near = get_close_matches(name, without, n=1, cutoff=0.85)
        near += [n for n in without if n.casefold() == name.strip().casefold()]
        if near:
            raise DataError(
                f"{where}: tasks: expected {shown(near[0])}, which has no facts, found "
                f"{shown(name)}, which no setting names; rename it"
            )
    return found


def select(
    settings: Settings,
    setting: str,
    tasks: Iterable[str] | None = None,
    *,
    faithful: bool = False,
) -> Selection:
    """The tasks of ``setting``, or those of them that ``tasks`` names.

    Unless ``faithful``, a meta-training task that leaks into a target is left out
    (protocol 0.7).
    """
    if not isinstance(setting, str):
        raise DataError(f"setting: expected a name, found {shown(setting)}")
    check_choice("setting", setting, settings.lists, DataError, settings.note)
    lists = settings.lists[setting]
    lists = lists if faithful else without_leaks(lists)
    wanted = None if tasks is None else _wanted(tasks, lists, setting)
    train, test = (
        tuple(name for name in lists[role] if wanted is None or name in wanted)
        for role in ROLES
    )
    return Selection(setting, train, test, frozenset(lists[UNSEEN_TARGETS]) & set(test))


def without_leaks(lists: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The lists without meta-training tasks that are, or hold, a target's data."""
    targets = set(lists["test"])
    targets |= {LEAKS[name] for name in lists["test"] if name in LEAKS}
    kept = [name for name in lists["train"] if name not in targets]
    return {**lists, "train": kept}


def checked_seeds(seeds: Iterable[int]) -> tuple[int, ...]:
    """Demonstration seeds, each named once."""
    if isinstance(seeds, (str, bytes)) or not isinstance(seeds, Iterable):
        raise DataError(
            f"seeds: expected a list of demonstration seeds, found {shown(seeds)}"
        )
    found = [whole_number("seeds", seed, most=MOST_SEED) for seed in seeds]
    if not found:
        raise DataError(f"seeds: expected one or more, such as {SEEDS}, found none")
    _refuse_doubled(found, "seeds")
    return tuple(found)


def whole_number(argument: str, value, most: int | None = None) -> int:
    """``value`` as `check_integer` gives it; `DataError` for anything else."""
    try:
        return check_integer(argument, value, most=most)
    except ValueError as error:
        raise DataError(str(error)) from None


def _wanted(tasks: Iterable[str], lists: Mapping, setting: str) -> frozenset[str]:
    if isinstance(tasks, (str, bytes)) or not isinstance(tasks, Iterable):
        raise DataError(f"tasks: expected a list of names, found {shown(tasks)}")
    names = list(tasks)
    if not names:
        raise DataError(
            "tasks: expected a name or more, found none; None stands for all of them"
        )
    known = [*lists["train"], *lists["test"]]
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise DataError(
                f"tasks: {shown(name)} is not in setting {shown(setting)}"
                f"{nearest(name, known)}"
            )
    _refuse_doubled(names, "tasks")
    return frozenset(names)


def _lists(value: Any, where: str) -> dict[str, list[str]]:
    lists = _mapping(value, where)
    lacking = [role for role in ROLES if role not in lists]
    if lacking:
        raise DataError(
            f"{where}: expected lists 'train' and 'test' in every setting, found no "
            f"{' and no '.join(map(repr, lacking))}"
        )
    _refuse_misspelt(lists, (*ROLES, UNSEEN_TARGETS), where)
    for key, names in lists.items():  # passed over, it would be no list at all
        if "unseen" in key and key != UNSEEN_TARGETS and isinstance(names, list):
            raise DataError(
                f"{where}: expected a key {UNSEEN_TARGETS!r}, found {shown(key)}; "
                "rename it"
            )
    found = {
        role: _checked_names(lists.get(role, []), f"{where}: {role}")
        for role in (*ROLES, UNSEEN_TARGETS)
    }
    for name in found[UNSEEN_TARGETS]:
        if name not in found["test"]:
            raise DataError(
                f"{where}: {UNSEEN_TARGETS}: expected targets of this setting, found "
                f"{shown(name)}{nearest(name, found['test'])}"
            )
    return found


def _checked_names(value: Any, where: str) -> list[str]:
    if not isinstance(value, list):
        raise DataError(f"{where}: expected a list of task names, found {shown(value)}")
    for name in value:
        check_name(name, where)
    _refuse_doubled(value, where)
    return value


def check_name(name: Any, where: str) -> None:
    """A task's name is the name of a folder and must not lead out of the benchmark."""
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"{where}: expected a task's name, found {shown(name)}")
    leaves = name in (".", "..") or any(sign in name for sign in "/\\")
    if leaves or not name.isprintable() or len(name.encode()) > _LONGEST_NAME:
        raise DataError(
            f"{where}: expected a task's name, that of a folder inside the benchmark's "
            f"(at most {_LONGEST_NAME} bytes, no slash), found {shown(name)}"
        )


def _task_facts(value: Any, where: str) -> dict[str, str]:
    about = _mapping(value, where)
    _refuse_misspelt(about, _FACTS, where)
    found = {}
    for key in _FACTS:
        fact = about.get(key)
        if fact is None:
            continue
        if not isinstance(fact, str):
            raise DataError(f"{where}: {key}: expected a string, found {shown(fact)}")
        if key == "kind":
            check_choice(f"{where}: kind", fact, KINDS, DataError)
        found[key] = fact
    return found


def _mapping(value: Any, where: str) -> dict:
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected a JSON object, found {shown(value)}")
    return value


def _refuse_misspelt(content: Mapping, known: tuple[str, ...], where: str) -> None:
    """Other keys are the author's own, unless they are nearly one of ours."""
    for key in content:
        near = get_close_matches(key.strip().casefold(), known, n=1, cutoff=0.75)
        if near and key not in known:
            raise DataError(
                f"{where}: expected a key {near[0]!r}, found {shown(key)}; rename it"
            )


def _refuse_doubled(names: Iterable, where: str) -> None:
    seen = set()
    for name in names:
        if name in seen:
            raise DataError(f"{where}: expected each once, found {shown(name)} twice")
        seen.add(name)
