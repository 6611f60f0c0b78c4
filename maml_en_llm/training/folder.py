"""Where a run is kept: checkpoints beside its output, and at last the output itself.

runs/first.checkpoint/     while the run goes on
runs/first/                the model, its tokenizer and record.json, once complete
"""

import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..checkpoint import (
    CARD,
    FILE_NAMES,
    check_room,
    check_written,
    file_hashes,
    load_checkpoint,
    save_checkpoint,
)
from ..errors import listed, shown
from ..locks import locked
from ..models.adapters import ADAPTER_FILE, save_model
from ..models.folder import has_weights
from ..provenance import (
    check_output,
    check_path,
    code_hash,
    sync_folder,
    versions,
    whole_folder,
    write_whole,
)
from ..signals import Signals
from .card import model_card
from .config import TrainConfig
from .record import are_losses, as_json
from .state import TrainState

# what a run may leave beside its output
OWN_FILES = re.compile(rf"{FILE_NAMES}|\.?(last-good|output).*")


class OutputTaken(FileExistsError, ValueError):
    """The output is there already, and is not this run's."""


def as_folder(output: str | Path) -> Path:
    """``output`` as a whole path; `ValueError` for what is none."""
    return Path(os.path.abspath(check_path(output)))


@dataclass
class RunFolder:
    """One run's place on the disk.

    ``first`` says whether this process is the one that writes. ``origin`` is what the
    run began with, see `origin_of`.
    """

    output: Path
    config: TrainConfig
    signals: Signals
    first: bool = True
    origin: dict = field(default_factory=dict)
    saved: int | None = None  # step of the newest checkpoint
    seconds: float = 0.0  # that earlier processes spent
    complete: bool = False  # whether this process has written the output
    made: list[dict] = field(default_factory=list)  # code and torch of all sittings
    _found: tuple | None = None

    @property
    def checkpoints(self) -> Path:
        """The folder beside the output."""
        return self.output.with_name(f"{self.output.name}.checkpoint")

    def finished(self) -> dict | None:
        """The record of this run, if it is complete.

        Raises:
            OutputTaken: something else is there, or the weights are not.
        """
        if not os.path.lexists(self.output):
            return None
        try:
            record = json.loads((self.output / "record.json").read_bytes())
            config = record["config"]
            _ = record["weights"]
            whole = are_losses(record["losses"], config["steps"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise OutputTaken(
                f"output: {self.output} is there already; name a new folder"
                f"{self._displaced()}"
            ) from None
        changes = _differences(config, self.config)
        if changes:
            raise OutputTaken(
                f"output: {self.output} is there already, of another configuration "
                f"({changes}); name a new folder{self._displaced()}"
            )
        if not whole:
            raise OutputTaken(
                f"output: expected losses of {self.config.steps} steps in "
                f"{self.output}/record.json, found {shown(record['losses'])}; remove "
                "that folder to train anew"
            )
        self._check_files(record)
        if self.first and not self._foreign():
            shutil.rmtree(self.checkpoints, ignore_errors=True)
        return record

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Within, no other process can train into the same output.

        Raises:
            ValueError: one does already, or the output cannot be written.
        """
        if not self.first:
            yield
            return
        check_output(self.checkpoints)
        if os.path.lexists(self.checkpoints) and not self.checkpoints.is_dir():
            raise OutputTaken(
                f"output: {self.checkpoints} is there already, and is no folder of "
                "checkpoints; name a new output"
            )
        busy = (
            f"output: another process is training into {self.output}; wait for it, or "
            "name a new folder"
        )
        with locked(self.checkpoints, busy):
            yield

    def look(self) -> None:
        """Read the newest checkpoint.

        Raises:
            OutputTaken: it is of another configuration, or files of others are there.
        """
        foreign = self._foreign()
        if foreign:
            raise OutputTaken(
                f"output: {self.checkpoints} holds what is no checkpoint "
                f"({listed(foreign[:3])}); name a new folder"
            )
        found = load_checkpoint(self.checkpoints)
        if found is None:
            return
        changes = _differences(found[2].get("config"), self.config)
        if changes:
            raise OutputTaken(
                f"output: {self.checkpoints} holds a run of another configuration "
                f"({changes}); name a new folder, or remove that one"
            )
        self._found = found
        self.saved = found[0]

    def resume(self, start: TrainState) -> TrainState:
        """The state of the newest checkpoint, or ``start`` where there is none.

        Raises:
            ValueError: the run began with other examples, weights or tokens.
        """
        if self._found is None:
            return start
        step, tensors, facts = self._found
        self._found = None
        for name, value in self.origin.items():
            if facts["origin"].get(name, value) != value:  # older ones lack some
                raise OutputTaken(
                    f"output: {self.checkpoints} holds a run that began with other "
                    f"{name}; name a new folder, or remove that one"
                )
        self.seconds = facts["seconds"]
        self.made = [made for made in facts.get("made", []) if made != _here()]
        if self.made:
            warnings.warn(
                f"output: the checkpoint of step {step} in {self.checkpoints} was made "
                f"by other code or another torch ({shown(self.made[-1])}); the run "
                "goes on from it, and its record says so",
                stacklevel=2,
            )
        return TrainState.load(step, tensors, facts["state"], start)

    def save(self, state: TrainState, seconds: float) -> None:
        """Add a checkpoint, unless the newest is of the same step."""
        if not self.first or self.saved == state.step:
            return
        facts = {
            "config": as_json(self.config),
            "origin": self.origin,
            "seconds": seconds,
            "made": [*self.made, _here()],
            "state": state.facts(),
        }
        with self.signals.held():
            save_checkpoint(self.checkpoints, state.step, state.tensors(), facts)
            self.saved = state.step

    def keep_weights(self, model, tokenizer) -> Path:
        """Write a model beside the checkpoints, which are then all that is good."""
        folder = self.checkpoints / "last-good"
        if self.first:
            with self.signals.held(), whole_folder(folder) as partial:
                save_model(model, tokenizer, partial)
        return folder

    def finish(self, model, tokenizer, record: dict) -> None:
        """Write the output, whole, and take the checkpoints away."""
        if not self.first:
            return
        whole = self.checkpoints / "output"
        with self.signals.held():
            with whole_folder(whole) as partial:
                save_model(model, tokenizer, partial)
                record["files"] = file_hashes(partial)
                write_whole(partial / CARD, model_card(record))
                text = json.dumps(record, indent=1)
                (partial / "record.json").write_text(text, encoding="utf-8")
            try:
                os.replace(whole, self.output)
            except OSError as error:
                if not self._displaced():
                    raise
                raise OutputTaken(
                    f"output: {self.output} is there already, since the run began"
                    f"{self._displaced()}"
                ) from error
            self.complete = True
            sync_folder(self.output.parent)
            shutil.rmtree(self.checkpoints, ignore_errors=True)

    def _displaced(self) -> str:
        """The cure where something has come to the place of a run that is complete."""
        whole = self.checkpoints / "output"
        if not (whole.is_dir() and os.path.lexists(self.output)):
            return ""
        return (
            f"; the run's model is in {whole}: move it from there, or remove what took "
            "its place and give the same command again"
        )

    def check_room(self, state: TrainState) -> None:
        """`ValueError` where the checkpoints of a run do not fit the disk."""
        if self.first:
            check_room(self.checkpoints, state.tensors())

    def _check_files(self, record: dict) -> None:
        """Raise `OutputTaken` unless model and tokenizer are as the run wrote them."""
        least = ("tokenizer_config.json", "config.json")
        if self.config.lora:
            least = (least[0], ADAPTER_FILE, "adapter_model.safetensors")
        try:
            found = bool(self.config.lora) or has_weights(self.output)
            if found:
                check_written(self.output, record, least)
        except ValueError as error:
            raise OutputTaken(_as_output(error)) from None
        if not found:
            raise OutputTaken(
                f"output: expected the weights of the run beside {self.output}/"
                "record.json, found none; remove that folder to train anew"
            )

    def _foreign(self) -> list[str]:
        """What lies among the checkpoints and is none of a run's files."""
        if not self.checkpoints.is_dir():
            return []
        names = sorted(path.name for path in self.checkpoints.iterdir())
        return [name for name in names if not OWN_FILES.fullmatch(name)]


def _as_output(error: ValueError) -> str:
    """The message of an error, which may name another argument, or none."""
    text = str(error).removeprefix("output: ").removeprefix("model: ")
    cure = "" if "remove the folder" in text else "; or remove it to train anew"
    return f"output: {text}{cure}"


def _here() -> dict:
    return {"code": code_hash(), "torch": versions()["torch"]}


def _differences(old, config: TrainConfig) -> str:
    """Fields whose values differ, as a message has them; empty where none does."""
    new: dict = as_json(config)
    if not isinstance(old, dict):
        return "not known"
    old = as_json(TrainConfig()) | old  # a field that is newer than the record
    return listed(
        f"{name}: {shown(old.get(name))} there, {shown(new.get(name))} here"
        for name in {**new, **old}
        if old.get(name) != new.get(name)
    )
