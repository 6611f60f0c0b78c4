"""Files of a dataset repository on the Hugging Face hub, named one by one (protocol section 7.1)."""

from pathlib import Path

from .errors import DataError


def download(address: str, patterns: list[str]) -> Path:
    """Fetch the files matching ``patterns`` of ``hf://datasets/<owner>/<name>/<folder>`` and return the local folder.

    Only the named files travel: loading the whole repository would try to merge thousands of them. The hub client
    keeps its cache, resumes and verifies each file; a file that is not there is simply absent from the folder.
    """
    from huggingface_hub import snapshot_download

    prefix = "hf://datasets/"
    parts = address.removeprefix(prefix).split("/")
    if not address.startswith(prefix) or len(parts) < 2:
        raise ValueError(f"source: expected hf://datasets/<owner>/<name>/<folder>, found {address!r}")
    repository, folder = "/".join(parts[:2]), "/".join(parts[2:])
    try:
        local = snapshot_download(repository, repo_type="dataset", allow_patterns=patterns)
    except OSError as error:  # no network, no such repository, an interrupted transfer
        raise DataError(
            f"source: expected to fetch {len(patterns)} kinds of files of {address!r}, found {type(error).__name__} "
            f"({str(error).splitlines()[0]}); check the connection, or name a local folder of the same layout"
        ) from error
    return Path(local) / folder
