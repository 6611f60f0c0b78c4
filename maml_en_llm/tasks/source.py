"""A source of tasks, opened once: its lists, its facts and its place together.

opened = open_source("minicrossfit")
selection = opened.select("hr_to_lr")
fetched = opened.fetch(needed(selection, seeds))
"""

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import minicrossfit
from ..errors import DataError, shown
from .examples import Example
from .files import Fetched, File, find, seeds_in
from .hub import SCHEME, download, parts_of
from .labels import checked_kind
from .settings import FILE, Selection, Settings, published, read_settings, select


@dataclass(frozen=True)
class Source:
    """Where the files of a benchmark are.

    ``name`` is what the caller wrote. ``kind`` is "folder", "hub" or "generated", and
    ``place`` the folder or the hub's address.
    """

    name: str
    kind: str
    place: str
    settings: Settings

    def select(
        self,
        setting: str,
        tasks: Iterable[str] | None = None,
        *,
        faithful: bool = False,
    ) -> Selection:
        """The tasks of a setting; see `settings.select`."""
        return select(self.settings, setting, tasks, faithful=faithful)

    def facts_of(
        self, task: str, examples: Iterable[Example], scored: bool
    ) -> dict[str, Any]:
        """Kind, domain and instruction of a task; a kind that is unsaid by its options.

        Raises `DataError` where a task is ``scored`` and its options do not allow the
        kind that is said, which decides the metric.
        """
        facts = self.settings.facts.get(task, {})
        kind = facts.get("kind")
        if scored or kind is None:
            where = f"{self.name}: kind of task {shown(task)} in {FILE}"
            kind = checked_kind(kind, examples, where)
        others = {name: facts.get(name) for name in ("domain", "instruction")}
        return dict(kind=kind, **others)

    def fetch(self, files: Iterable[File]) -> Fetched:
        """Look for each file once, and bring those of a hub to this machine."""
        if self.kind == "hub":
            return download(self.place, files)
        return find(Path(self.place), files)

    def seeds(self, selection: Selection, fetched: Fetched) -> tuple[int, ...]:
        """Demonstration seeds of all targets; of a hub those that were fetched."""
        if self.kind == "hub":
            return fetched.seeds
        each = [seeds_in(Path(self.place), task) for task in selection.test]
        return tuple(sorted(set.intersection(*each)))


def open_source(source: str | Path) -> Source:
    """Open a folder, a hub address, or a generated benchmark by its name.

    The name comes first: a folder called so is ``./minicrossfit``.

    Raises:
        DataError: no such folder, or a ``settings.json`` that is not one.
        ValueError: an address of another form, an unknown difficulty.
    """
    if not isinstance(source, (str, Path)) or not str(source):
        raise DataError(
            f"source: expected a folder or an address, found {shown(source)}"
        )
    name = str(source)
    if name.startswith(SCHEME):
        parts_of(name)  # said now, not when the files are wanted
        return Source(name, "hub", name, published())
    if name.partition(":")[0] == minicrossfit.NAME:
        if os.path.isdir(name):
            warnings.warn(
                f"source: {name!r} is the generated benchmark; the folder of that name "
                f"here is {os.path.join(os.curdir, name)!r}",
                stacklevel=2,
            )
        made = minicrossfit.cached(name)
        return Source(name, "generated", str(made), _settings_of(made))
    if os.path.isdir(name):
        return Source(name, "folder", name, _settings_of(Path(name)))
    raise DataError(
        "source: expected a folder of MetaICL-format files, hf://… or "
        f"{minicrossfit.NAME!r}, found {shown(name)}"
    )


def load_settings(source: str | Path | None = None) -> dict[str, dict[str, list[str]]]:
    """The settings of a source, MetaICL's own by default.

    Name → ``{"train", "test", "unseen_domain_test"}``, lists of task names.
    """
    settings = published() if source is None else open_source(source).settings
    return {
        name: {role: list(names) for role, names in lists.items()}
        for name, lists in settings.lists.items()
    }


def _settings_of(folder: Path) -> Settings:
    # A home-made benchmark brings its own lists, in its folder or beside it.
    for place in (folder, folder.parent):
        if os.path.lexists(place / FILE):  # whatever it is: it is not passed over
            return read_settings(place / FILE)
    return published()
