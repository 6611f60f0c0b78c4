"""The settings of a source: which tasks are trained on, which are targets."""

import json
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from ..errors import DataError, check_choice, nearest
from ..protocol import LEAKS, SEEDS


def load_settings(source: str | Path | None = None) -> dict[str, dict]:
    """The settings of a source: name → ``{"train", "test", "unseen_domain_test"}``, lists of task names."""
    return _settings_file(generated(source))["settings"]


def generated(source):
    """The folder of a generated benchmark that is named, anything else as it is."""
    if str(source).partition(":")[0] != "minicrossfit" or Path(source).is_dir():
        return source
    from ..minicrossfit import cached

    return cached(str(source))


def _settings_file(source: str | Path | None) -> dict:
    # A generated or home-made benchmark brings its own lists, in its folder or beside it.
    if source is not None and not str(source).startswith("hf://"):
        for folder in (Path(source), Path(source).parent):
            if (folder / "settings.json").is_file():
                return _own_settings(folder / "settings.json")
    return json.loads(
        files(__package__).joinpath("metaicl.json").read_text(encoding="utf-8")
    )


def _own_settings(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        complete = all(
            {"train", "test"} <= set(lists) for lists in content["settings"].values()
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: expected {{'settings': {{name: {{'train': […], 'test': […]}}}}}}, found {error!r}"
        ) from error
    if not complete:
        raise DataError(f"{path}: expected lists 'train' and 'test' in every setting")
    return content


def task_info(source: str | Path) -> dict[str, dict]:
    return _settings_file(source).get("tasks", {})


def setting_lists(source: str | Path, setting: str) -> dict:
    known = load_settings(source)
    check_choice("setting", setting, known, DataError)
    return known[setting]


def without_leaks(lists: dict) -> dict:
    targets = {
        *lists["test"],
        *(LEAKS[name] for name in lists["test"] if name in LEAKS),
    }
    return lists | {"train": [name for name in lists["train"] if name not in targets]}


def selection(
    lists: dict, tasks: Iterable[str] | None, setting: str
) -> dict[str, list[str]]:
    if tasks is None:
        return {role: list(lists[role]) for role in ("train", "test")}
    tasks, known = list(tasks), [*lists["train"], *lists["test"]]
    for name in tasks:
        if name not in known:
            raise DataError(
                f"tasks: {name!r} is not in setting {setting!r}{nearest(name, known)}"
            )
    return {role: [t for t in lists[role] if t in tasks] for role in ("train", "test")}


def checked_seeds(seeds: Iterable[int]) -> tuple[int, ...]:
    seeds = tuple(seeds)
    for seed in seeds:
        if seed not in SEEDS:
            raise DataError(
                f"seeds: expected demonstration seeds among {SEEDS}, found {seed!r}"
            )
    return seeds
