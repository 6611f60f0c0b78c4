"""A model as a run's training leaves it, and records of what it is then asked.

Runs that differ in their evaluation alone share one training.
"""

import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from statistics import fmean
from typing import Any

import torch

from ..evaluation import evaluate, evaluate_adapted, held_out, held_set
from ..evaluation.held import overall
from ..models import parameters
from ..provenance import describe, plain
from ..tasks import Benchmark, Task
from ..tensors import joint_norm
from ..training import meta_train
from .adapted import Chosen
from .rows import RULES
from .run import Run

KEPT_OF_A_MODEL = ("mean", "worst", "unseen_mean", "unseen_worst", "ece", "failed")
# of a rule: 0 and 1 are no confidences, and draws no demonstration seeds
KEPT_OF_A_RULE = ("mean", "unseen_mean", "failed")
NOT_LOOKED_AT = dict(tasks={}, unseen=[], failed={})  # where targets are not looked at
LAST_LOSSES = 20  # outer steps whose mean loss is kept
HELD_ASKED = 32  # test examples of a held task
DIGITS_KEPT = 2  # of a point


class Trained:
    """A model that is ready to be asked. ``spent`` is what its training cost.

    ``together``: all the runs that will ask it, so that those after j gradient steps
    take them once.
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
        """The base ``model``, trained in place if the run's row trains."""
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
        how = {n: x for n, x in run.evaluation.items() if n != "adapt"}
        steps = {chosen.steps}
        for other in self.together:
            adapt = other.evaluation.get("adapt")
            same = isinstance(adapt, Chosen) and adapt.optimizer == chosen.optimizer
            if same and adapt.steps:
                asked = {n: x for n, x in other.evaluation.items() if n != "adapt"}
                steps |= {adapt.steps} if asked == how and chosen.steps else set()
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
            given = (self.model, self.tokenizer, self._tasks(run), k, run.format)
            self._known[key] = chosen.losses(*given)
        return self._known[key]

    def _tasks(self, run: Run):
        return _held_tasks(run.config.benchmark, run.config.setting, run.held)

    def _held(self, run: Run) -> dict:
        """Score and NLL on held tasks, before any adaptation."""
        asked = run.evaluation["k"]
        key = ("score", run.held, asked, run.format)
        if key not in self._known:
            found = overall(
                held_out(
                    self.model,
                    self.tokenizer,
                    self._tasks(run),
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


@lru_cache(maxsize=16)
def _held_tasks(benchmark: str, setting: str, per_family: int) -> tuple[Task, ...]:
    return held_set(benchmark, setting, per_family=per_family)


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
    moved = joint_norm(change, torch.float64).item()
    spent = dict(
        budget=found["budget"],
        seconds=found["seconds"],
        loss=fmean(found["losses"][-LAST_LOSSES:]),
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
