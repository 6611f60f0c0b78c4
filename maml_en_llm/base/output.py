"""The folder of a pre-training run: what may lie there, and how it is completed."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..checkpoint import FILE_NAMES, check_written, read_file
from ..errors import check_path, listed, shown
from ..locks import locked
from ..provenance import check_output, sync
from .recipe import PretrainConfig, is_of

# folders inside the output, until the run is complete
CHECKPOINTS = "checkpoints"
MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json")
FINAL = ".final"  # where model, tokenizer and record are written before they move up


def as_output(output: str | Path) -> Path:
    """``output`` as an absolute path; `ValueError` for what is none."""
    return Path(os.path.abspath(check_path(output)))


def complete_run(output: Path, config: PretrainConfig) -> dict | None:
    """The record of a complete run of ``config``; None where one can begin or go on."""
    if os.path.lexists(output) and not output.is_dir():
        raise ValueError(
            f"output: expected a folder, found a file at {shown(str(output))}"
        )
    check_output(output)
    there = {path.name for path in output.iterdir()} if output.is_dir() else set()
    if "record.json" in there:
        record = _same_run(output, config)
        remove_work(output)
        return record
    foreign = there - {CHECKPOINTS, FINAL}
    if FINAL in there:  # with it, they are files that have moved up
        foreign = set()
    foreign |= {f"{CHECKPOINTS}/{name}" for name in _strangers(output / CHECKPOINTS)}
    if foreign:
        raise ValueError(
            f"output: expected a new folder or a run to go on with, found "
            f"{listed(sorted(foreign))} in {output}; name a new folder"
        )
    return None


@contextmanager
def alone(output: Path) -> Iterator[None]:
    """Within, no other process can pre-train into ``output``."""
    busy = (
        f"output: another process is pre-training into {output}; wait for it, or name "
        "a new folder"
    )
    with locked(output, busy):
        check_output(output / "record.json")
        try:
            yield
        finally:
            with suppress(OSError):
                (output / CHECKPOINTS).rmdir()  # fails where something is in it


def _strangers(folder: Path) -> list[str]:
    """What lies among the checkpoints and is none."""
    if not folder.is_dir():
        return [""] if os.path.lexists(folder) else []
    names = [path.name for path in folder.iterdir()]
    return [name for name in names if not re.fullmatch(FILE_NAMES, name)]


def _same_run(output: Path, config: PretrainConfig) -> dict:
    path = output / "record.json"
    own = False
    record: dict = {}
    try:
        record = json.loads(read_file(path))
        _ = record["parameters"], record["weights"], record["probes"][-1]
        own = is_of(record["config"], config)
    except (ValueError, LookupError, TypeError, RecursionError):
        pass  # it is not a record of pre-training
    if not own:
        raise ValueError(
            f"output: {path} is not of a run of this configuration; name a new folder"
        )
    check_written(output, record, MODEL_FILES)
    return record


def move_up(output: Path) -> None:
    """Each file whole; what makes the folder a model, and a record, comes last."""
    last = ["config.json", "record.json"]
    names = [path.name for path in (output / FINAL).iterdir()]
    names = [name for name in names if name not in last]
    for name in [*sorted(names), *last]:
        path = output / FINAL / name
        with path.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(path, output / name)
    sync(output)


def remove_work(output: Path) -> None:
    """Take away the folders that only a run under way needs."""
    shutil.rmtree(output / FINAL, ignore_errors=True)
    if not _strangers(output / CHECKPOINTS):
        shutil.rmtree(output / CHECKPOINTS, ignore_errors=True)
