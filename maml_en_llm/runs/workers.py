"""Runs in several processes, within a time; each record is in the log as it is made."""

import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from ..errors import check_integer, check_number
from .costs import Pace, units_of_group
from .failed import REASON, check_failures
from .log import RunsFailed, missing, records, reproduce
from .run import Run
from .run_locks import clear_locks
from .store import Store

LOOK_EVERY = 0.5  # seconds between two looks at the clock
THREADS_OF = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # read when a process starts
SLOWER = 1.1  # times as long may a run take as those before it


@dataclass(frozen=True, kw_only=True)
class How:
    """How an experiment is computed.

    ``jobs``: processes. ``minutes``: no run is begun that would not end within them,
    and one that still goes on then is given up. ``store`` and ``old`` as in
    `reproduce`. ``pace``: what is known of this machine; it is learned further.
    """

    jobs: int = 1
    minutes: float | None = None
    store: Store | None = None
    old: bool = True
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self):
        check_integer("jobs", self.jobs, 1)
        if self.minutes is not None:
            check_number("minutes", self.minutes, above=True)


@dataclass
class Outcome:
    """Records in the order of the runs, messages of those that failed, and how many
    are left: not begun, or ``given_up`` as their time was over."""

    rows: list[dict]
    failed: list[str] = field(default_factory=list)
    left: int = 0
    given_up: int = 0


Progress = Callable[[dict, float, float], None]
"""Called with a record, and the seconds of work that are done and in all."""


def compute(
    runs: Iterable[Run], log: str | Path, how: How, progress: Progress | None = None
) -> Outcome:
    """The records of ``runs``: those of the log, and all that can be computed now."""
    return compute_stages([list(runs)], log, how, progress)


def compute_stages(
    stages: Sequence[Sequence[Run]],
    log: str | Path,
    how: How,
    progress: Progress | None = None,
) -> Outcome:
    """The same of several lists, one after the other, by the same processes.

    Runs that share a training are computed together within a list; where a later list
    needs the training again, it is in the store. Raises `ValueError` before anything is
    computed where the log, or the file of failures beside it, is none.
    """
    log = Path(log)
    check_failures(log)
    runs = list({run.hash: run for stage in stages for run in stage}.values())
    groups = [group for stage in stages for group in missing(stage, log, how.old)]
    work = Work(groups, how, log, progress)
    work.finish()
    rows = records(runs, log, how.old)
    there = {row["hash"] for row in rows}
    left = max(len(runs) - len(there) - len(work.failed), 0)
    begun = [run for run in work.given_up if run.hash not in there]
    return Outcome(rows, work.failed, left, min(len(begun), left))


class Work:
    """What is left to do, and who does it."""

    def __init__(self, groups, how: How, log: Path, progress):
        self.waiting: list[list[Run]] = list(groups)
        self.processes = min(how.jobs, len(groups))
        self.pace, self.how, self.log = how.pace, how, log
        self.progress = progress
        self.failed: list[str] = []
        self.given_up: list[Run] = []  # groups that were begun, and not ended
        self.done = 0.0  # units
        self.all = sum(map(units_of_group, groups))
        self.began = time.monotonic()
        self.end = float("inf")
        if how.minutes is not None:
            self.end = self.began + 60 * how.minutes

    def finish(self) -> None:
        """Compute all that can be computed."""
        if not self.waiting:
            return
        busy: dict[Connection, Worker] = {}
        try:
            for _ in range(self.processes):
                self._begin(busy)
            while busy:
                for connection in wait(list(busy), LOOK_EVERY):
                    self._hear(connection, busy)
                if time.monotonic() > self.end:
                    self.given_up = [r for each in busy.values() for r in each.group]
                    break
        finally:
            for worker in busy.values():
                worker.stop()
            clear_locks(self.log)

    def _begin(self, busy: dict, worker: "Worker | None" = None) -> None:
        """Give the next group that ends in time to a worker, by default a new one; let
        it go where there is no such group."""
        group = self._next()
        if group is None:
            if worker is not None:
                worker.stop()
            return
        if worker is None:
            worker = Worker(self.log, self.how, self.processes)
        worker.start(group)
        busy[worker.connection] = worker

    def _next(self) -> list[Run] | None:
        left = self.end - time.monotonic()
        for place, group in enumerate(self.waiting):
            if self.pace.seconds(group) * SLOWER <= left:
                return self.waiting.pop(place)
        return None

    def _hear(self, connection, busy: dict) -> None:
        worker = busy[connection]
        try:
            kind, said = connection.recv()
        except (EOFError, OSError):  # it was killed, or ran out of memory
            del busy[connection]
            worker.stop()
            self.failed += self._lost_with(worker, "its process has ended")
            self._begin(busy)
            return
        if kind == "row":
            if self.progress is not None:
                self.progress(said, self.done, self.all)
        elif kind == "failed":
            self.failed += said
        elif kind == "broken":
            self.failed += self._lost_with(worker, said)
        else:
            del busy[connection]
            units = units_of_group(worker.group)
            self.done += units
            self.pace.note(worker.group[0].name, said, units)
            self._begin(busy, worker)

    def _lost_with(self, worker: "Worker", why: str) -> list[str]:
        """What there is to say of each run of a group that was not recorded."""
        there = set()
        with suppress(OSError, ValueError):  # of a damaged log all are named
            rows = records(worker.group, self.log, self.how.old)
            there = {row["hash"] for row in rows}
        return [f"{run.name}: {why}" for run in worker.group if run.hash not in there]


class Worker:
    """A process that computes groups of runs, one after the other."""

    def __init__(self, log: Path, how: How, jobs: int):
        spawn = multiprocessing.get_context("spawn")
        self.connection, theirs = spawn.Pipe()
        threads = max(_cores() // jobs, 1)
        given: tuple[Any, ...] = (theirs, log, how.store, how.old, threads)
        self.process = spawn.Process(target=_serve, args=given, daemon=True)
        self.group: Sequence[Run] = ()
        with _threads(threads):
            self.process.start()
        theirs.close()

    def start(self, group: Sequence[Run]) -> None:
        """Begin with a group."""
        self.group = group
        with suppress(OSError):  # it has died: heard of at the next look
            self.connection.send(list(group))

    def stop(self) -> None:
        """End the process; the run at hand is lost, and no other."""
        self.connection.close()
        self.process.terminate()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _cores() -> int:
    """Processors that this process may use, which on a shared node are not all."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Within, processes that are started read how many threads they have."""
    before = {name: os.environ.pop(name, None) for name in THREADS_OF}
    os.environ.update(dict.fromkeys(THREADS_OF, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


def _serve(connection, log: Path, store, old: bool, threads: int) -> None:
    """What a worker does, until its connection is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process stops it
    torch.set_num_threads(threads)
    logging.disable_progress_bar()
    warnings.simplefilter("ignore")

    def tell(row: dict) -> None:
        connection.send(("row", _short(row)))

    with suppress(EOFError, OSError):
        while True:
            group = connection.recv()
            began = time.monotonic()
            try:
                reproduce(group, log, tell, store=store, old=old)
            except RunsFailed as error:
                connection.send(("failed", error.reasons))
            except Exception as error:  # the log itself: said, and the next goes on
                why = f"{type(error).__name__}: {error}"[:REASON]
                connection.send(("broken", why))
            connection.send(("done", time.monotonic() - began))


def _short(row: dict) -> dict:
    """What a bar shows of a record."""
    names = ("method", "setting", "mode", "seed", "mean", "held")
    return {name: row.get(name) for name in names}
