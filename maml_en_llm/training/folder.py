"""Where a run is kept: checkpoints beside its output, and at last the output itself.

runs/first.checkpoint/     while the run goes on
runs/first/                the model, its tokenizer and record.json, once complete
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..checkpoint import (
    CARD,
    check_written,
    file_hashes,
    load_checkpoint,
    read_file,
    save_checkpoint,
)
from ..errors import listed, shown
from ..locks import locked
from ..models.adapters import ADAPTER_FILE, ADAPTER_WEIGHTS, save_model
from ..models.folder import LOADED, has_weights
from ..provenance import (
    check_output,
    sync,
    whole_folder,
    write_whole,
)
from ..signals import Signals
from ..sittings import other_sittings
from .card import model_card
from .config import TrainConfig
from .damage import (
    LAST_GOOD,
    OUTPUT,
    check_facts,
    checkpoint_named,
    foreign_names,
)
from .record import as_json, config_changes, wrong_part
from .state import TrainState


class OutputTaken(FileExistsError, ValueError):
    """The output is there already, and is not this run's."""


@dataclass
class RunFolder:
    """One run's place on the disk.

    ``first`` says whether this process is the one that writes. ``origin`` is what the
    run began with, see `origin_of`; ``here`` is what this sitting is made by.
    """

    output: Path
    config: TrainConfig
    signals: Signals
    first: bool = True
    origin: dict = field(default_factory=dict)
    here: dict = field(default_factory=dict)
    saved: int | None = None  # step of the newest checkpoint
    seconds: float = 0.0  # that earlier processes spent
    complete: bool = False  # whether this process has written the output
    made: list[dict] = field(default_factory=list)  # other sittings, by what
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
            record = json.loads(read_file(self.output / "record.json"))
            config = record["config"]
            _ = record["weights"], record["losses"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise OutputTaken(
                f"output: {self.output} is there already; name a new folder"
                f"{self._displaced()}"
            ) from None
        changes = config_changes(config, self.config)
        if changes:
            raise OutputTaken(
                f"output: {self.output} is there already, of another configuration "
                f"({changes}); name a new folder, or give the values that are there"
                f"{self._displaced()}"
            )
        wrong = wrong_part(record, self.config.steps, self._least())
        if wrong is not None:
            raise OutputTaken(
                f"output: expected {wrong[0]} in {self.output}/record.json, found "
                f"{shown(wrong[1])}; remove that folder to train anew"
            )
        self._check_files(record)
        if self.first and not foreign_names(self.checkpoints):
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

    def find_checkpoint(self) -> None:
        """Read the newest checkpoint.

        Raises:
            OutputTaken: it is of another configuration, or files of others are there.
        """
        foreign = foreign_names(self.checkpoints)
        if foreign:
            raise OutputTaken(
                f"output: {self.checkpoints} holds what is no checkpoint "
                f"({listed(foreign[:3])}); name a new folder"
            )
        found = load_checkpoint(self.checkpoints, self._check)
        if found is None:
            return
        changes = self._changes(found[2])
        if changes:
            raise OutputTaken(
                f"output: {self.checkpoints} holds a run of another configuration "
                f"({changes}); name a new folder, or remove that one"
            )
        self._found = found
        self.saved = found[0]

    def _changes(self, facts) -> str:
        old = facts.get("config") if isinstance(facts, dict) else None
        return config_changes(old, self.config)

    def _check(self, step: int, _, facts) -> None:
        """`ValueError` for a checkpoint of this run whose facts are damaged."""
        if not self._changes(facts):
            check_facts(step, facts, self.config.steps)

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
        where = f"the checkpoint of step {step} in {self.checkpoints}"
        self.made = other_sittings(facts.get("made", []), self.here, where)
        with checkpoint_named(self.checkpoints, step):
            return TrainState.load(step, tensors, facts["state"], start)

    def save(self, state: TrainState, seconds: float) -> None:
        """Add a checkpoint, unless the newest is of the same step."""
        if not self.first or self.saved == state.step:
            return
        facts = {
            "config": as_json(self.config),
            "origin": self.origin,
            "seconds": seconds,
            "made": [*self.made, self.here],
            "state": state.facts(),
        }
        with self.signals.held():
            save_checkpoint(self.checkpoints, state.step, state.tensors(), facts)
            self.saved = state.step

    def keep_weights(self, model, tokenizer) -> Path:
        """Write a model beside the checkpoints, which are then all that is good."""
        folder = self.checkpoints / LAST_GOOD
        if self.first:
            with self.signals.held(), whole_folder(folder) as partial:
                save_model(model, tokenizer, partial)
        return folder

    def finish(self, model, tokenizer, record: dict) -> None:
        """Write the output, whole, and take the checkpoints away."""
        if not self.first:
            return
        whole = self.checkpoints / OUTPUT
        with self.signals.held():
            with whole_folder(whole) as partial:
                save_model(model, tokenizer, partial)
                record["files"] = file_hashes(partial)
                # names of folders may be no UTF-8
                card = model_card(record).encode(errors="backslashreplace")
                write_whole(partial / CARD, card)
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
            sync(self.output.parent)
            shutil.rmtree(self.checkpoints, ignore_errors=True)

    def _displaced(self) -> str:
        """The cure where something has come to the place of a run that is complete."""
        whole = self.checkpoints / OUTPUT
        if not (whole.is_dir() and os.path.lexists(self.output)):
            return ""
        return (
            f"; the run's model is in {whole}: move it from there, or remove what took "
            "its place and give the same command again"
        )

    def _least(self) -> list[str]:
        """Names of files that the run has written, whatever else it may have."""
        if self.config.lora:
            return ["tokenizer_config.json", ADAPTER_FILE, ADAPTER_WEIGHTS[0]]
        weights = (name for name in LOADED if (self.output / name).is_file())
        return ["tokenizer_config.json", "config.json", *weights]

    def _check_files(self, record: dict) -> None:
        """Raise `OutputTaken` unless model and tokenizer are as the run wrote them."""
        try:
            found = bool(self.config.lora) or has_weights(self.output)
            if found:
                check_written(self.output, record, self._least())
        except ValueError as error:
            raise OutputTaken(_as_output(error)) from None
        if not found:
            raise OutputTaken(
                f"output: expected the weights of the run beside {self.output}/"
                "record.json, found none; remove that folder to train anew"
            )


def _as_output(error: ValueError) -> str:
    """The message of an error, which may name another argument, or none."""
    text = str(error).removeprefix("output: ").removeprefix("model: ")
    cure = (
        ""
        if re.search("remove th(e|at) folder", text)
        else "; or remove it to train anew"
    )
    return f"output: {text}{cure}"
