"""A run: any training, any evaluation → one record."""

import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from statistics import fmean
from typing import Any

import torch

from ..errors import check_choice, check_integer, listed, shown
from ..evaluation import Adaptation, evaluate
from ..models import parameters
from ..prompts import Format
from ..protocol import SEEDS, SHOTS
from ..provenance import configuration_hash, describe, plain
from ..tasks import Benchmark
from ..training import TrainConfig, meta_train
from .rows import METHODS, RULES

# Of one prompt each, per outer step: what all methods get under the budgets named so
GRADIENTS_PER_STEP = 16
PROMPTS_PER_STEP = 16

KEPT_OF_A_MODEL = ("mean", "worst", "unseen_mean", "unseen_worst", "ece", "failed")
# of a rule: 0 and 1 are no confidences, and draws no demonstration seeds
KEPT_OF_A_RULE = ("mean", "unseen_mean", "failed")
LAST_LOSSES = 20  # outer steps whose mean loss is kept
DIGITS_KEPT = 2  # of a point

# what `Run.evaluate` may hold; the rest are fields of `Run` and of its configuration
_OWN = {"model", "tokenizer", "benchmark", "seeds", "max_records", "progress"}
OPTIONS = tuple(
    name for name in inspect.signature(evaluate).parameters if name not in _OWN
)

# what `Run.train` may not change: a record is named by it, or its evaluation has it too
FIXED = {
    *("benchmark", "setting", "allow_missing", "faithful", "model", "tokenizer"),
    *("method", "seed", "dtype", "device"),
}


def _by_gradients(config: TrainConfig) -> int:
    """n at `GRADIENTS_PER_STEP`: a method with inner steps sees fewer tasks."""
    method = config.make_method()
    k = method.inner_steps
    if config.inner_batch == "all":
        k = min(k, 1)
    cost = sum(gradients for _, _, gradients in method.passes(k))
    return _share(GRADIENTS_PER_STEP, cost, "gradients", method.inner_steps)


def _by_prompts(config: TrainConfig) -> int:
    """n at `PROMPTS_PER_STEP` drawn for support and query together."""
    k = config.make_method().inner_steps
    return _share(PROMPTS_PER_STEP, (k + 1) * config.prompts, "prompts", k)


def _share(whole: int, cost: int, unit: str, k: int) -> int:
    if whole % cost:
        raise ValueError(
            f"inner_steps: expected a cost that divides {whole} {unit}, found {cost} "
            f"per task at {k} steps"
        )
    return whole // cost


# budget: the configuration of a method → n, its tasks per outer step
BUDGETS: Mapping[str, Callable[[TrainConfig], int]] = {
    "gradients": _by_gradients,
    "prompts": _by_prompts,
    "steps": lambda config: config.tasks_per_step,
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything that decides a record.

    Args:
        name: a row of `METHODS` or `RULES`.
        config: the training, before what the row changes in it.
        seeds: demonstration seeds.
        max_records: only the first test examples of each target; None: all.
        train: further changes to the row's training.
        evaluate: further options of its evaluation (`OPTIONS`).
        budget: what is equal per outer step: "gradients", "prompts" or "steps" (the n
            of ``config``).

    Raises `ValueError` for anything that could not be computed later.
    """

    name: str
    config: TrainConfig
    seeds: tuple[int, ...]
    max_records: int | None = None
    train: Mapping[str, Any] = field(default_factory=dict)
    evaluate: Mapping[str, Any] = field(default_factory=dict)
    budget: str = "gradients"

    def __post_init__(self):
        check_choice("name", self.name, [*METHODS, *RULES])
        if not isinstance(self.config, TrainConfig):
            raise ValueError(
                f"config: expected a TrainConfig, found {shown(self.config)}"
            )
        object.__setattr__(self, "seeds", _demonstration_seeds(self.seeds))
        if self.max_records is not None:
            most = check_integer("max_records", self.max_records, 1)
            object.__setattr__(self, "max_records", most)
        known = [each.name for each in fields(TrainConfig) if each.name not in FIXED]
        _check_changes("train", self.train, known)
        _check_changes("evaluate", self.evaluate, OPTIONS)
        check_choice("budget", self.budget, BUDGETS)
        _check_evaluation(self.evaluation)
        _ = self.training  # a budget that cannot be kept is refused now

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits: of the run, and of what its name stands for.

        The device is left out: it is said in the record, and decides no more than a
        processor does.
        """
        anywhere = replace(self, config=replace(self.config, device="cpu"))
        row = plain(METHODS.get(self.name))
        return configuration_hash(
            anywhere, row=row, per_step=[GRADIENTS_PER_STEP, PROMPTS_PER_STEP]
        )

    @property
    def training(self) -> TrainConfig | None:
        """The row's own configuration, with as many tasks per step as its budget."""
        row = METHODS.get(self.name)
        if row is None or row.train is None:
            return None
        config = replace(self.config, **{**row.train, **self.train})
        return replace(config, tasks_per_step=BUDGETS[self.budget](config))

    @property
    def evaluation(self) -> dict[str, Any]:
        """The arguments of `evaluate`."""
        row = METHODS.get(self.name)
        own = {} if row is None else row.evaluate
        return {
            **vars(self.config.format),
            "k": self.config.demonstrations,
            "seeds": self.seeds,
            "max_records": self.max_records,
            **own,
            **self.evaluate,
        }

    def compute(self, bench: Benchmark, model, tokenizer) -> dict:
        """The record. ``model`` is the base model, trained in place by a row that
        trains."""
        start = time.perf_counter()
        record: dict[str, Any] = dict(
            method=self.name,
            setting=bench.setting,
            mode=self.config.mode,
            seed=self.config.seed,
            hash=self.hash,
            run=plain(self),
        )
        if self.name in RULES:
            how = dict(seeds=self.seeds, max_records=self.max_records)
            record |= _kept(RULES[self.name](bench, how), KEPT_OF_A_RULE)
        else:
            spent = self._train(bench, model, tokenizer)
            found = evaluate(model, tokenizer, bench, **self.evaluation)
            record |= _kept(found, KEPT_OF_A_MODEL) | spent
        device = "cpu" if self.name in RULES else model.device
        record["provenance"] = describe(device, time.perf_counter() - start)
        return record

    def _train(self, bench: Benchmark, model, tokenizer) -> dict:
        config = self.training
        if config is None:
            return {}
        start = {name: p.clone() for name, p in parameters(model).items()}
        found = meta_train(model, tokenizer, bench.train, config)
        return dict(
            budget=found["budget"],
            seconds=found["seconds"],
            loss=fmean(found["losses"][-LAST_LOSSES:]),
            moved=_distance(start, parameters(model)),
        )


def _kept(record: dict, keys: tuple[str, ...]) -> dict:
    found = {}
    for key in keys:
        value = record[key]
        found[key] = round(value, DIGITS_KEPT) if isinstance(value, float) else value
    tasks = record["tasks"]
    found["tasks"] = {n: round(row["mean"], DIGITS_KEPT) for n, row in tasks.items()}
    found["unseen"] = [name for name, row in tasks.items() if row["unseen"]]
    return found


def _distance(start: Mapping, end: Mapping) -> float:
    """‖θ − θ₀‖ over all parameters that train."""
    parts = [torch.linalg.vector_norm((end[n] - start[n]).double()) for n in start]
    return float(torch.linalg.vector_norm(torch.stack(parts)))


def _demonstration_seeds(seeds) -> tuple[int, ...]:
    if isinstance(seeds, (str, bytes)) or not hasattr(seeds, "__iter__"):
        raise ValueError(f"seeds: expected demonstration seeds, found {shown(seeds)}")
    found = tuple(check_integer("seeds", seed) for seed in seeds)
    known = set(found) <= set(SEEDS)
    if not found or len(set(found)) < len(found) or not known:
        raise ValueError(
            f"seeds: expected one or more of {listed(SEEDS)}, each once, found "
            f"{shown(found)}"
        )
    return found


def _check_changes(argument: str, changes, known) -> None:
    if not isinstance(changes, Mapping):
        raise ValueError(
            f"{argument}: expected options by name, such as {listed(known[:3])}, "
            f"found {shown(changes)}"
        )
    for name in changes:
        check_choice(argument, name, known)


def _check_evaluation(options: Mapping[str, Any]) -> None:
    """Refuse now what `evaluate` would refuse once the training is done."""
    Format(**{each.name: options[each.name] for each in fields(Format)})
    check_integer("evaluate k", options["k"], most=SHOTS)
    for name in ("pmi", "instructions"):
        if not isinstance(options.get(name, False), bool):
            raise ValueError(
                f"evaluate {name}: expected True or False, found {shown(options[name])}"
            )
    adapt = options.get("adapt")
    if adapt is not None and not isinstance(adapt, Adaptation):
        raise ValueError(
            f"evaluate adapt: expected an Adaptation, found {shown(adapt)}"
        )
