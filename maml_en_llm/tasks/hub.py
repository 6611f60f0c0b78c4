"""Files of a dataset repository on the Hugging Face hub, named one by one (protocol section 7.1)."""

import hashlib
import os
import textwrap
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from ..errors import DataError

TRIES = 3


WAIT = 1.0  # s before the second try, doubled before each further one


TIMEOUT = 30.0  # s


FEW = 4  # files that are fetched without a progress bar


NAMES_PER_QUESTION = 100  # in one question to the hub


TRANSFERS = 8  # at a time


@dataclass(frozen=True)
class Snapshot:
    """A benchmark's folder and, of a hub source, its commit and the sha256 of each file by its name in the folder."""

    folder: Path
    revision: str = ""
    checksums: Mapping[str, str] = field(default_factory=dict)


def download(address: str, wanted: Iterable[Sequence[str]]) -> Snapshot:
    """Fetch files of ``hf://datasets/<owner>/<name>[@<revision>]/<folder>``, all of one commit.

    Of each group in ``wanted`` (file names relative to the folder) the first that is there is fetched; a group without
    any is simply absent. No other file travels: loading the whole repository would try to merge thousands of them.
    The hub client keeps the files in its cache (``$HF_HUB_CACHE``; the server is ``$HF_ENDPOINT``). Every file, new or
    cached, is compared with the checksum that the hub has for it; one that differs is deleted.

    Raises:
        DataError: no such repository, a server out of reach, or a file that did not arrive whole in `TRIES` tries.
        ValueError: an address of another form.
    """
    from huggingface_hub import HfApi, constants

    repository, revision, folder = _parts(address)
    api, ask = HfApi(endpoint=os.environ.get("HF_ENDPOINT")), partial(_insist, address)
    commit = ask(
        "a dataset repository",
        lambda: api.dataset_info(repository, revision=revision, timeout=TIMEOUT),
    ).sha
    listing = partial(
        api.get_paths_info, repository, repo_type="dataset", revision=commit
    )
    entries = _choose(
        wanted, folder, lambda paths: ask("a list of files", lambda: listing(paths))
    )

    cache = Path(os.environ.get("HF_HUB_CACHE", constants.HF_HUB_CACHE)).expanduser()
    root = cache / f"datasets--{repository.replace('/', '--')}" / "snapshots" / commit
    # One bar for all files: one a file is noise where there are hundreds.
    get = partial(
        api.hf_hub_download,
        repository,
        repo_type="dataset",
        revision=commit,
        cache_dir=cache,
        tqdm_class=partial(tqdm, disable=True),
    )

    def fetch(entry) -> str:
        return ask(repr(entry.path), lambda: _checksum(Path(get(entry.path)), entry))

    new = sum(not (root / entry.path).exists() for entry in entries.values())
    with ThreadPoolExecutor(TRANSFERS) as pool:
        title = f"{repository}: {new} new files"
        sums = list(
            tqdm(
                pool.map(fetch, entries.values()),
                title,
                len(entries),
                unit="file",
                disable=new <= FEW,
            )
        )
    return Snapshot(root / folder, commit, dict(zip(entries, sums, strict=True)))


def _parts(address: str) -> tuple[str, str | None, str]:
    """Repository, revision if one is named, and folder."""
    prefix = "hf://datasets/"
    owner, _, rest = address.removeprefix(prefix).partition("/")
    name, _, folder = rest.partition("/")
    name, _, revision = name.partition("@")
    if not (address.startswith(prefix) and owner and name):
        raise ValueError(
            f"source: expected hf://datasets/<owner>/<name>/<folder>, found {address!r}"
        )
    return f"{owner}/{name}", revision or None, folder.strip("/")


def _choose(
    wanted: Iterable[Sequence[str]], folder: str, ask: Callable[[list[str]], list]
) -> dict:
    """Of each group the first name that the hub has, with the hub's entry for it."""
    groups = [
        {name: str(PurePosixPath(folder, name)) for name in group} for group in wanted
    ]
    paths = list(dict.fromkeys(path for group in groups for path in group.values()))
    found = [
        entry
        for n in range(0, len(paths), NAMES_PER_QUESTION)
        for entry in ask(paths[n : n + NAMES_PER_QUESTION])
    ]
    there = {
        entry.path: entry for entry in found if hasattr(entry, "blob_id")
    }  # a folder has none
    have = [
        [(name, there[path]) for name, path in group.items() if path in there]
        for group in groups
    ]
    return dict(group[0] for group in have if group)


def _checksum(path: Path, entry) -> str:
    """The sha256 of a file that is what the hub says; any other is deleted, or it would be taken for good next time."""
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
    """The result of ``call``; a failure that may pass is tried again after a growing wait, a lasting one raised."""
    from huggingface_hub.errors import HfHubHTTPError

    for n in range(1, TRIES + 1):
        try:
            return call()
        # The bases: OSError and the errors of the client's HTTP library. Its other transport raises RuntimeError, and
        # an answer that is not the hub's (a login page, a proxy's) ends in ValueError.
        except (*HfHubHTTPError.__bases__, RuntimeError, ValueError) as error:
            if n == TRIES or _lasting(error):
                reason = textwrap.shorten(
                    str(error.__cause__ or error), 300
                )  # the cause names status and URL
                raise DataError(
                    f"source: expected {what} from {address!r}, found {type(error).__name__} ({reason}) in try {n} of {TRIES}, "
                    "kept nothing of it; check address and connection and try again, or name a local folder of that layout"
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
