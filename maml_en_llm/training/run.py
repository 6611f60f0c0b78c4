"""A whole run: from a configuration to a folder, in as many sittings as it takes."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from ..errors import check_integer, check_path, shown
from ..provenance import weights_hash
from ..signals import Interrupted, Signals, code_of
from ..sittings import computed_by
from .config import TrainConfig
from .edited import warn_if_edited
from .folder import RunFolder
from .loop import Loop, check_progress, tell
from .ranks import Ranks, joined_ranks
from .record import make_record, origin_of
from .rehearsal import rehearse
from .start import benchmark_of, model_of
from .state import TrainState

CHECKPOINT_EVERY = 100  # outer steps


def train(
    config: TrainConfig,
    *,
    output: str | Path | None = None,
    checkpoint_every: int | None = CHECKPOINT_EVERY,
    progress: Callable[[int, dict], None] | None = None,
) -> dict:
    """Load benchmark and model as ``config`` says, meta-train, and return the record.

    Args:
        output: a new folder for the model, its tokenizer and ``record.json``. It
            appears when it is complete. Until then checkpoints lie in the folder
            ``<output>.checkpoint`` beside it, and the same call goes on from the newest
            and ends with the same weights to the bit. Called again after that, it
            returns the record that is there.
        checkpoint_every: outer steps between two checkpoints; None for none but that of
            a run which is told to stop.
        progress: as in `meta_train`; only the first of several processes calls it.

    Under ``torchrun`` the tasks of a meta-batch are split over the processes.

    Raises:
        ValueError: a benchmark, model or output that cannot be used, before any step.
        FileExistsError: the output, or its checkpoints, are not this run's.
        FloatingPointError: a loss or gradient that is not finite; the last weights that
            were good are kept beside the checkpoints.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint is saved.
        RankLost: another process of the run has ended; a checkpoint is saved.
        OSError: a disk that is full; the checkpoints before are as they were.
    """
    if checkpoint_every is not None:
        checkpoint_every = check_integer("checkpoint_every", checkpoint_every, 1)
    check_progress(config, progress)
    signals = Signals()
    folder = None
    if output is not None:
        folder = RunFolder(as_folder(output), config, signals)
    sitting = Sitting(config, folder)
    with signals.caught(), joined_ranks(config.device) as ranks:
        try:
            return sitting.run(ranks, checkpoint_every, progress)
        except KeyboardInterrupt as error:
            raise sitting.interrupted(error) from None


def as_folder(output: str | Path) -> Path:
    """``output`` as an absolute path; `ValueError` for what is none."""
    folder = Path(os.path.abspath(check_path(output)))
    if not folder.name:
        raise ValueError(
            f"output: expected a folder with a name, found {shown(str(folder))}; name "
            "a new one"
        )
    return folder


class Sitting:
    """One call of `train`: the run that it takes up, and how far that has come."""

    def __init__(self, config: TrainConfig, folder: RunFolder | None):
        self.config, self.folder = config, folder
        self.running: Running | None = None

    def run(self, ranks: Ranks, every: int | None, progress) -> dict:
        """The record of the run: that which is there, or its own."""
        progress = progress if ranks.first else None
        if self.folder is None:
            self.running = Running(self.config, None, ranks)
            return self.running.run(every, progress)
        folder = self.folder
        folder.first = ranks.first
        record = folder.finished()
        if record is not None:
            if ranks.first:
                warn_if_edited(folder.config, record, folder.output)
            return record
        with folder.locked():
            record = folder.finished()  # another process may have just ended
            if record is not None:
                return record
            folder.find_checkpoint()
            self.running = Running(self.config, folder, ranks)
            return self.running.run(every, progress)

    def interrupted(self, error: KeyboardInterrupt) -> Interrupted:
        """What says how far the run has come, and how to go on."""
        folder = self.folder
        step = (folder and folder.saved) or 0
        if self.running is not None:
            step = self.running.state.step
        done = f"stopped after {step} of {self.config.steps} outer steps"
        if folder is None:
            how = "nothing is kept, since no output was named"
        elif folder.complete:
            how = f"{folder.output} is complete"
        elif not folder.first:
            how = "the first process says how to go on"
        elif folder.saved is not None:
            how = f"the same command goes on from step {folder.saved}"
        else:
            how = "the same command begins again"
        return Interrupted(f"{done}; {how}", step, code_of(error))


class Running:
    """A run under way: its loop, its state, and where both are kept."""

    def __init__(self, config: TrainConfig, folder: RunFolder | None, ranks):
        self.folder = folder
        self.benchmark = benchmark_of(config)
        model, self.tokenizer = model_of(config, ranks.device(config.device))
        self.loop = Loop.of(model, self.tokenizer, self.benchmark.train, config, ranks)
        self.before = weights_hash(model)
        self.state: TrainState = self.loop.start()
        if folder is not None:
            tasks = self.loop.sampler.tasks
            folder.origin = origin_of(model, self.tokenizer, tasks, self.before)
            # every process of a run has a device of its own number
            folder.here = computed_by(model.device.type) | {"processes": ranks.size}
            self.state = folder.resume(self.state)
        # until all have read what one of them is going to replace
        ranks.wait(model.device)
        self.began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Spent on steps, earlier sittings included."""
        earlier = self.folder.seconds if self.folder is not None else 0.0
        return earlier + time.perf_counter() - self.began

    def run(self, every: int | None, progress: Callable | None) -> dict:
        """Make all steps that are left, write the output, and return the record."""
        if self.folder is None:
            self._steps(every, progress)
            return self._record()
        rehearse(self.folder, self.state, self.loop.model, self.tokenizer)
        try:
            self._steps(every, progress)
            record = self._record()
            self.folder.finish(self.loop.model, self.tokenizer, record)
        except FloatingPointError as error:
            raise self._keep_weights(self.folder, error) from None
        except BaseException as error:
            self._keep_state(self.folder, error)
            raise
        return record

    def _steps(self, every: int | None, progress: Callable | None) -> None:
        for after in self.loop.steps(self.state):
            before, self.state = self.state, after
            good = before.step and after.skipped == before.skipped
            if self.folder is not None and every and good and before.step % every == 0:
                self.folder.save(before, self.seconds)
            del before
            tell(progress, after)
        self.loop.finish(self.state)

    def _record(self) -> dict:
        record = make_record(self.loop, self.state, self.before, self.seconds)
        record["missing_tasks"] = list(self.benchmark.missing)
        record["revision"] = self.benchmark.revision  # of a hub source
        record["checksums"] = dict(self.benchmark.checksums)
        if self.folder is not None:
            record["origin"] = self.folder.origin
        if self.folder is not None and self.folder.made:
            record["earlier_sittings"] = self.folder.made  # by other means
        return record

    def _keep_weights(self, folder: RunFolder, error: Exception) -> FloatingPointError:
        """The model holds the last weights whose loss was finite: keep them."""
        if not self.state.step:
            return FloatingPointError(str(error))
        where = folder.keep_weights(self.loop.model, self.tokenizer)
        return FloatingPointError(f"{error}; the last good weights are in {where}")

    def _keep_state(self, folder: RunFolder, error: BaseException) -> None:
        """Save what there is, whatever has stopped the run."""
        if not self.state.step or folder.complete:
            return
        try:
            folder.save(self.state, self.seconds)
        except (OSError, FloatingPointError) as second:
            error.add_note(f"no checkpoint of step {self.state.step}: {second}")
