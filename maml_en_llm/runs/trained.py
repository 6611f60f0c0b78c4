"""A model as a run's training leaves it, and records of what it is then asked.

Runs that differ in their evaluation alone share one training.
"""

import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from statistics import fmean
from typing import Any

import torch

from ..errors import DataError, shown
from ..evaluation import evaluate, evaluate_adapted, held_out, held_set
from ..evaluation.arguments import check_shown
from ..evaluation.held import overall
from ..models import parameters
from ..prompts import PromptEncoder
from ..protocol import SEEDS
from ..provenance import describe, digest, plain
from ..tasks import Benchmark, Task
from ..tensors import joint_norm
from ..training import meta_train
from .adapted import Chosen
from .on_disk import DiskState, state_of_benchmark
from .rows import RULES
from .run import TOLD_APART, Run

KEPT_OF_A_MODEL = ("mean", "worst", "unseen_mean", "unseen_worst", "ece", "failed")
# of a rule: 0 and 1 are no confidences, and draws no demonstration seeds
KEPT_OF_A_RULE = ("mean", "unseen_mean", "failed")
NOT_LOOKED_AT = dict(tasks={}, unseen=[], failed={})  # where targets are not looked at
LAST_LOSSES = 20  # outer steps whose mean loss is kept
HELD_ASKED = 32  # test examples of a held task
DIGITS_KEPT = 2  # of a point


class Trained:
    """A model that is ready to be asked. ``spent`` is what its training cost.

    ``together``: all the runs that will ask it, so that gradient steps that several of
    them need are taken once.
    """

    def __init__(self, bench: Benchmark, model, tokenizer, spent: Mapping, together=()):
        self.bench, self.model, self.tokenizer = bench, model, tokenizer
        self.spent = dict(spent)
        self.together: tuple[Run, ...] = tuple(together)
        self._known: dict[Any, Any] = {}

    @classmethod
    def by(
        cls, run: Run, bench: Benchmark, model, tokenizer, together: Iterable[Run] = ()
    ) -> "Trained":
        """The base ``model``, trained in place if the run's row trains.

        Raises `ValueError` for a run that could not be asked then.
        """
        check_askable(run, bench, tokenizer)
        spent = _train(run, bench, model, tokenizer)
        return cls(bench, model, tokenizer, spent, together or (run,))

    def record(self, run: Run) -> dict:
        """The record of a run of this training."""
        start = time.perf_counter()
        record: dict[str, Any] = dict(
            method=run.name,
            setting=self.bench.setting,
            mode=run.config.mode,
            seed=run.config.seed,
            hash=run.hash,
            run=plain(run),
        )
        if run.name in RULES:
            how = dict(seeds=run.seeds, max_records=run.max_records)
            record |= _kept(RULES[run.name](self.bench, how), KEPT_OF_A_RULE)
        else:
            record |= self._asked(run) | _said(run) | self.spent
            if run.held:
                record["held"] = self._held(run)
        device = "cpu" if run.name in RULES else self.model.device
        seconds = time.perf_counter() - start
        record["asked_seconds"] = round(seconds, 3)
        seconds += self.spent.get("seconds", 0.0)
        record["provenance"] = describe(device, seconds)
        return record

    def _asked(self, run: Run) -> dict:
        """The targets' scores."""
        if not run.targets:
            return dict.fromkeys(KEPT_OF_A_MODEL) | NOT_LOOKED_AT
        how = run.evaluation
        chosen = how.get("adapt")
        if not isinstance(chosen, Chosen):
            key = ("plain", str(how))  # of two budgets, where they are the same
            if key not in self._known:
                found = evaluate(self.model, self.tokenizer, self.bench, **how)
                self._known[key] = _kept(found, KEPT_OF_A_MODEL)
            return self._known[key]
        rate, losses = chosen.rates[0], {}
        if chosen.steps:
            losses = self._losses(run, chosen)
            rate = min(losses, key=losses.__getitem__)
        found = self._after(run, chosen, rate)[chosen.steps]
        judged = {str(rate): round(loss, 4) for rate, loss in losses.items()}
        adapted = dict(steps=chosen.steps, rate=rate if losses else None, held=judged)
        return _kept(found, KEPT_OF_A_MODEL) | dict(adapted=adapted)

    def _after(self, run: Run, chosen: Chosen, rate: float) -> dict[int, dict]:
        """Records after each number of steps that any of the runs asks for."""
        how = _how(run)
        steps = {chosen.steps}
        for other in self.together:
            adapt = other.evaluation.get("adapt")
            if isinstance(adapt, Chosen) and adapt.steps and chosen.steps:
                alike = adapt.optimizer == chosen.optimizer and _how(other) == how
                steps |= {adapt.steps} if alike else set()
        key = ("after", str(how), str(sorted(steps)), chosen.optimizer, rate)
        if key not in self._known:
            given = (self.model, self.tokenizer, self.bench)
            self._known[key] = evaluate_adapted(
                *given, optimizer=chosen.made(rate), steps=steps, **how
            )
        return self._known[key]

    def _losses(self, run: Run, chosen: Chosen) -> dict[float, float]:
        k = run.evaluation["k"]
        judged = (chosen.rates, chosen.judged_at, chosen.optimizer)
        key = ("rate", run.held, k, run.format, *judged)
        if key not in self._known:
            given = (self.model, self.tokenizer, held_tasks(run), k, run.format)
            self._known[key] = chosen.losses(*given)
        return self._known[key]

    def _held(self, run: Run) -> dict:
        """Score and NLL on held tasks, before any adaptation."""
        asked = run.evaluation["k"]
        key = ("score", run.held, asked, run.format)
        if key not in self._known:
            found = overall(
                held_out(
                    self.model,
                    self.tokenizer,
                    held_tasks(run),
                    demonstrations=asked,
                    max_records=HELD_ASKED,
                    **vars(run.format),
                )
            )
            self._known[key] = dict(
                score=round(found.score, DIGITS_KEPT),
                nll=round(found.nll, 4),
                tasks=found.n_tasks,
            )
        return self._known[key]


def check_askable(run: Run, bench: Benchmark, tokenizer) -> None:
    """Raise `ValueError` for what would be refused only when the training is done."""
    if run.name in RULES:
        return
    if run.format.bos:
        PromptEncoder(tokenizer, run.format)  # a tokenizer may have none
    how = run.evaluation
    k, adapt = how["k"], how.get("adapt")
    if run.targets:
        told = bool(how.get("instructions"))
        adapts = adapt is not None
        check_shown(bench, k, run.seeds, instructions=told, adapts=adapts)
    if run.held:
        held = Benchmark((), held_tasks(run))
        if not held.test:
            raise DataError(
                "held: expected meta-training tasks with options, found none in the "
                f"setting {shown(run.config.setting)}; set held=0"
            )
        check_shown(held, k, SEEDS[:1], adapts=isinstance(adapt, Chosen))


def held_tasks(run: Run) -> tuple[Task, ...]:
    """The meta-training tasks that a run is asked on beside the targets."""
    return _held_of(run)[0]


def held_hash(run: Run) -> str:
    """A hash of these tasks."""
    return _held_of(run)[1]


def _held_of(run: Run) -> tuple[tuple[Task, ...], str]:
    where = run.config.benchmark, run.config.setting
    return _held_tasks(*where, run.held, state_of_benchmark(run.config.benchmark))


@lru_cache(maxsize=16)
def _held_tasks(
    benchmark: str, setting: str, per_family: int, _: DiskState
) -> tuple[tuple[Task, ...], str]:
    tasks = held_set(benchmark, setting, per_family=per_family)
    return tasks, digest(repr(tasks))


def _how(run: Run) -> dict[str, Any]:
    """The arguments of `evaluate_adapted` besides the steps."""
    apart = ("adapt", *TOLD_APART)
    return {name: x for name, x in run.evaluation.items() if name not in apart}


def _said(run: Run) -> dict:
    """What a table of records is sorted by."""
    config = run.training
    if config is None:
        return {}
    return dict(
        n=config.tasks_per_step,
        steps=config.steps,
        lr=config.lr,
        inner_lr=config.inner_lr,
        budget_kind=run.budget,
    )


def _train(run: Run, bench: Benchmark, model, tokenizer) -> dict:
    config = run.training
    if config is None:
        return {}
    start = {name: p.clone() for name, p in parameters(model).items()}
    found = meta_train(model, tokenizer, bench.train, config)
    change = {n: p - start[n] for n, p in parameters(model).items()}
    losses = [loss for loss in found["losses"] if loss is not None]  # None: skipped
    moved = joint_norm(change, torch.float64).item()
    spent = dict(
        budget=found["budget"],
        seconds=found["seconds"],
        loss=fmean(losses[-LAST_LOSSES:]) if losses else None,
        moved=moved,
        moved_share=moved / joint_norm(start, torch.float64).item(),
    )
    looks = found.get("inner_loop")
    return spent | (dict(inner_loop=looks) if looks else {})


def _kept(record: dict, keys: tuple[str, ...]) -> dict:
    found = {}
    for key in keys:
        value = record[key]
        found[key] = round(value, DIGITS_KEPT) if isinstance(value, float) else value
    tasks = record["tasks"]
    found["tasks"] = {n: round(row["mean"], DIGITS_KEPT) for n, row in tasks.items()}
    found["unseen"] = [name for name, row in tasks.items() if row["unseen"]]
    return found
