"""The folder of a pre-training run: what may lie there, and how it is completed."""

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

from ..errors import listed, shown
from ..provenance import check_output, plain, sync_folder
from .recipe import PretrainConfig

# folders inside the output, until the run is complete
CHECKPOINTS = "checkpoints"
FINAL = ".final"  # where model, tokenizer and record are written before they move up


def complete_run(output: Path, config: PretrainConfig) -> dict | None:
    """The record of a complete run of ``config``; None where one can begin or go on."""
    if os.path.lexists(output) and not output.is_dir():
        raise ValueError(
            f"output: expected a folder, found a file at {shown(str(output))}"
        )
    check_output(output / "record.json")
    there = {path.name for path in output.iterdir()}
    if "record.json" in there:
        record = _same_run(output / "record.json", config)
        remove_work(output)
        return record
    foreign = there - {CHECKPOINTS, FINAL}
    if foreign and FINAL not in there:  # with it, they are files that have moved up
        raise ValueError(
            f"output: expected a new folder or a run to go on with, found "
            f"{listed(sorted(foreign))} in {output}; name a new folder"
        )
    return None


def _same_run(path: Path, config: PretrainConfig) -> dict:
    try:
        record = json.loads(path.read_bytes())
        if record["config"] == plain(asdict(config)):
            return record
    except (ValueError, KeyError, TypeError):
        pass  # not a record of pre-training
    raise ValueError(
        f"output: {path} is not of a run of this configuration; name a new folder"
    )


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
    sync_folder(output)


def remove_work(output: Path) -> None:
    """Take away the folders that only a run under way needs."""
    for name in (CHECKPOINTS, FINAL):
        shutil.rmtree(output / name, ignore_errors=True)
