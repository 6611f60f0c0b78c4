"""Files of a dataset repository on a hub, named one by one (protocol 7.1)."""

import hashlib
import os
import textwrap
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from ..errors import DataError, shown
from .files import Fetched, File

SCHEME = "hf://"
HUB = SCHEME + "datasets/"
TRIES = 3
WAIT = 1.0  # s before the second try, doubled before each further one
TIMEOUT = 30.0  # s
FEW = 4  # files that are fetched without a progress bar
NAMES_PER_QUESTION = 100  # in one question to the hub
TRANSFERS = 8  # at a time


def download(address: str, files: Iterable[File]) -> Fetched:
    """Fetch files of ``hf://datasets/<owner>/<name>[@<revision>]/<folder>``.

    All are of one commit. Of each file's names the first that is there is fetched; a
    file without any is simply absent. No other file travels: loading the whole
    repository would try to merge thousands of them. The hub client keeps the files in
    its cache (``$HF_HUB_CACHE``; the server is ``$HF_ENDPOINT``). Every file, new or
    cached, is compared with the checksum that the hub has for it; one that differs is
    deleted.

    Raises:
        DataError: no such repository, a server out of reach, or a file that did not
            arrive whole in `TRIES` tries.
        ValueError: an address of another form.
    """
    files = list(files)
    repository, revision, folder = parts_of(address)
    hub = _Repository(address, repository, revision)
    chosen = _first_there(files, folder, hub.listing)
    sums = hub.fetch(list(chosen.values()))
    names = {
        file: next((name for name in file.names if name in chosen), None)
        for file in files
    }
    root = hub.root / folder
    return Fetched(
        {file: None if name is None else root / name for file, name in names.items()},
        hub.commit,
        dict(zip(chosen, sums, strict=True)),
    )


class _Repository:
    """A dataset repository at one commit; each question is asked until it succeeds."""

    def __init__(self, address: str, repository: str, revision: str | None):
        from huggingface_hub import HfApi, constants

        self.ask = partial(_insist, address)
        self.name = repository
        endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/")
        self.api = HfApi(endpoint=endpoint or None)
        info = partial(self.api.dataset_info, repository, timeout=TIMEOUT)
        found = self.ask("a dataset repository", lambda: info(revision=revision))
        self.commit: str = found.sha
        cache = os.environ.get("HF_HUB_CACHE", constants.HF_HUB_CACHE)
        self.cache = Path(cache).expanduser()
        stored = self.cache / f"datasets--{repository.replace('/', '--')}"
        self.root = stored / "snapshots" / self.commit

    def listing(self, paths: list[str]) -> list:
        """The hub's entries of those paths that it has."""
        ask = partial(self.api.get_paths_info, self.name, repo_type="dataset")
        return self.ask("a list of files", lambda: ask(paths, revision=self.commit))

    def fetch(self, entries: list) -> list[str]:
        """The sha256 of each file, once it is here and whole."""
        # One bar for all files: one per file is noise where there are hundreds.
        download: Any = self.api.hf_hub_download  # its overloads confuse `partial`
        get = partial(
            download,
            self.name,
            repo_type="dataset",
            revision=self.commit,
            cache_dir=self.cache,
            tqdm_class=partial(tqdm, disable=True),
        )

        def one(entry) -> str:
            return self.ask(
                repr(entry.path), lambda: _checksum(Path(get(entry.path)), entry)
            )

        new = sum(not (self.root / entry.path).exists() for entry in entries)
        title = f"{self.name}: {new} new files"
        with ThreadPoolExecutor(TRANSFERS) as pool:
            arriving = pool.map(one, entries)
            quiet = new <= FEW
            return list(tqdm(arriving, title, len(entries), unit="file", disable=quiet))


def parts_of(address: str) -> tuple[str, str | None, str]:
    """Repository, revision if one is named, and folder."""
    owner, _, rest = address.removeprefix(HUB).partition("/")
    name, _, folder = rest.partition("/")
    name, _, revision = name.partition("@")
    leaves = ".." in folder.split("/")
    if leaves or not (address.startswith(HUB) and owner and name):
        raise ValueError(
            "source: expected hf://datasets/<owner>/<name>/<folder>, found "
            f"{shown(address)}"
        )
    return f"{owner}/{name}", revision or None, folder.strip("/")


def _first_there(
    files: Iterable[File], folder: str, ask: Callable[[list[str]], list]
) -> dict:
    """Of each file the first name that the hub has, with the hub's entry for it."""
    groups = [
        {name: str(PurePosixPath(folder, name)) for name in file.names}
        for file in files
    ]
    paths = list(dict.fromkeys(path for group in groups for path in group.values()))
    found = [
        entry
        for n in range(0, len(paths), NAMES_PER_QUESTION)
        for entry in ask(paths[n : n + NAMES_PER_QUESTION])
    ]
    # a folder has no blob
    there = {entry.path: entry for entry in found if hasattr(entry, "blob_id")}
    have = [
        [(name, there[path]) for name, path in group.items() if path in there]
        for group in groups
    ]
    return dict(group[0] for group in have if group)


def _checksum(path: Path, entry) -> str:
    """The sha256 of a file that is what the hub says.

    Any other is deleted, or it would be taken for good next time.
    """
    found = sha256 = _digest(path, hashlib.sha256)
    if not entry.lfs:  # git knows a small file by another checksum
        found = _digest(path, lambda: hashlib.sha1(b"blob %d\0" % path.stat().st_size))
    expected = entry.lfs.sha256 if entry.lfs else entry.blob_id
    if found != expected:
        for file in (path.resolve(), path):  # the content, and the link to it
            file.unlink(missing_ok=True)
        raise OSError(f"expected checksum {expected}, found {found}")
    return sha256


def _digest(path: Path, algorithm: Callable) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _insist(address: str, what: str, call: Callable):
    """The result of ``call``.

    A failure that may pass is tried again after a growing wait, a lasting one raised.
    """
    from huggingface_hub.errors import HfHubHTTPError

    # The bases: OSError and the errors of the client's HTTP library. Its other
    # transport raises RuntimeError, and an answer that is not the hub's (a login page,
    # a proxy's) ends in ValueError.
    bases: Any = HfHubHTTPError.__bases__
    passing: tuple[type[Exception], ...] = (*bases, RuntimeError, ValueError)
    n = 0
    while True:
        n += 1
        try:
            return call()
        except passing as error:
            if n == TRIES or _lasting(error):
                # the cause names status and URL
                reason = textwrap.shorten(str(error.__cause__ or error), 200)
                raise DataError(
                    f"source: expected {what} from {shown(address)}, found "
                    f"{type(error).__name__} ({reason}) in try {n} of {TRIES}, kept "
                    "nothing of it; check address and connection and try again, or "
                    "name a local folder of that layout"
                ) from error
        time.sleep(WAIT * 2 ** (n - 1))


def _lasting(error: Exception) -> bool:
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    status = getattr(getattr(error, "response", None), "status_code", 0)
    # The client says LocalEntryNotFoundError after several tries of its own.
    return (
        400 <= status < 500
        and status not in (408, 429)
        or isinstance(
            error, (LocalEntryNotFoundError, OfflineModeIsEnabled, ValueError)
        )
    )
