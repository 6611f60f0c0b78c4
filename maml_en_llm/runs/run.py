"""A run: any training, any evaluation → one record."""

import inspect
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ..errors import check_choice, check_integer, check_truth, listed, shown
from ..evaluation import Adaptation, evaluate
from ..evaluation.arguments import check_some_shown
from ..methods.budget import gradients_per_task
from ..prompts import Format
from ..protocol import SEEDS, SHOTS
from ..provenance import configuration_hash, plain
from ..training import TrainConfig
from .adapted import Chosen
from .rows import CONTROLS, METHODS, RULES, row_of

# Per outer step: what all methods get under the budgets named so, where `per_step` does
# not say. A gradient is of one batch, whatever its number of prompts.
GRADIENTS_PER_STEP = 16
PROMPTS_PER_STEP = 16

# what `Run.evaluate` may hold; the rest are fields of `Run` and of its configuration
_OWN = {
    *("model", "tokenizer", "benchmark", "seeds", "max_records", "progress"),
    "mode",  # a record is named by that of its configuration
}
OPTIONS = tuple(
    name for name in inspect.signature(evaluate).parameters if name not in _OWN
)

# of these, held tasks are asked without
TOLD_APART = ("pmi", "instructions", "random_labels")

RATES = ("", "tuned", "untuned")

# what `Run.train` may not change: a record is named by it, or its evaluation has it too
FIXED = {
    *("benchmark", "setting", "allow_missing", "faithful", "model", "tokenizer"),
    *("method", "seed", "dtype", "device"),
}


def _by_gradients(config: TrainConfig, whole: int) -> int:
    """n at ``whole`` gradients: a method with inner steps sees fewer tasks.

    As if batches had one graph each: n does not depend on ``prompts_at_once``.
    """
    method = config.make_method()
    k = method.inner_steps
    if config.inner_batch == "all":
        k = min(k, 1)
    cost = gradients_per_task(method, k)
    return _share(whole, cost, "gradients", method.inner_steps)


def _by_prompts(config: TrainConfig, whole: int) -> int:
    """n at ``whole`` prompts drawn for support and query together."""
    k = config.make_method().inner_steps
    return _share(whole, (k + 1) * config.prompts, "prompts", k)


def _share(whole: int, cost: int, unit: str, k: int) -> int:
    if whole % cost:
        raise ValueError(
            f"inner_steps: expected a cost that divides {whole} {unit}, found {cost} "
            f"per task at {k} steps"
        )
    return whole // cost


# budget: what it is where a run does not say, and how the configuration of a method
# then gives n, its tasks per outer step
BUDGETS: Mapping[str, tuple[int, Callable[[TrainConfig, int], int]]] = {
    "gradients": (GRADIENTS_PER_STEP, _by_gradients),
    "prompts": (PROMPTS_PER_STEP, _by_prompts),
    "steps": (0, lambda config, _: config.tasks_per_step),
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
        per_step: how many of them; None: `GRADIENTS_PER_STEP`, `PROMPTS_PER_STEP`.
        held: from how many meta-training tasks examples are held back, on which the
            record's held NLL is measured and adaptation rates are chosen: asked with as
            many demonstrations as the targets and in their format, without instructions
            and PMI, with the right labels.
        targets: False: the targets are not looked at, as where rates are tuned.
        rates: where the rates are from: "" for ``config``, or "tuned", "untuned".

    Raises `ValueError` for anything that could not be computed later.
    """

    name: str
    config: TrainConfig
    seeds: tuple[int, ...]
    max_records: int | None = None
    train: Mapping[str, Any] = field(default_factory=dict)
    evaluate: Mapping[str, Any] = field(default_factory=dict)
    budget: str = "gradients"
    per_step: int | None = None
    held: int = 0
    targets: bool = True
    rates: str = ""

    def __post_init__(self):
        check_choice("name", self.name, [*METHODS, *CONTROLS, *RULES])
        if not isinstance(self.config, TrainConfig):
            raise ValueError(
                f"config: expected a TrainConfig, found {shown(self.config)}"
            )
        row = row_of(self.name)
        if row is not None:
            check_choice(f"mode of {self.name!r}", self.config.mode, row.modes)
        object.__setattr__(self, "seeds", _demonstration_seeds(self.seeds))
        if self.max_records is not None:
            most = check_integer("max_records", self.max_records, 1)
            object.__setattr__(self, "max_records", most)
        known = [each.name for each in fields(TrainConfig) if each.name not in FIXED]
        for name, names in (("train", known), ("evaluate", OPTIONS)):
            object.__setattr__(self, name, _changes(name, getattr(self, name), names))
        check_choice("budget", self.budget, BUDGETS)
        check_choice("rates", self.rates, RATES)
        if self.per_step is not None:
            per_step = check_integer("per_step", self.per_step, 1)
            object.__setattr__(self, "per_step", per_step)
        object.__setattr__(self, "held", check_integer("held", self.held))
        self._check_held()
        _ = self.format
        _check_evaluation(self.evaluation, self.config.mode)
        _ = self.training  # a budget that cannot be kept is refused now

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits: of the run, and of what its name stands for.

        The device is left out: it is said in the record, and decides no more than a
        processor does.
        """
        anywhere = replace(self, config=replace(self.config, device="cpu"))
        row = plain(row_of(self.name))
        return configuration_hash(
            anywhere, row=row, per_step=[GRADIENTS_PER_STEP, PROMPTS_PER_STEP]
        )

    @property
    def training(self) -> TrainConfig | None:
        """The row's own configuration, with as many tasks per step as its budget."""
        row = row_of(self.name)
        if row is None or row.train is None:
            return None
        config = replace(self.config, **{**self.train, **row.train})
        counted = config
        if row.n_of is not None:
            other = METHODS[row.n_of].train or {}
            counted = replace(self.config, **{**self.train, **other})
        most, n_at = BUDGETS[self.budget]
        n = n_at(counted, self.per_step or most)
        return replace(config, tasks_per_step=n)

    @property
    def evaluation(self) -> dict[str, Any]:
        """The arguments of `evaluate`."""
        row = row_of(self.name)
        own = {} if row is None else row.evaluate
        return {
            **vars(self.config.format),
            "k": self.config.demonstrations,
            "seeds": self.seeds,
            "max_records": self.max_records,
            **own,
            **self.evaluate,
        }

    @property
    def format(self) -> Format:
        """The prompt format of its evaluation, of targets and of held tasks."""
        options = self.evaluation
        return Format(**{each.name: options[each.name] for each in fields(Format)})

    def compute(self, bench, model, tokenizer) -> dict:
        """The record. ``model`` is the base model, trained in place by a row that
        trains."""
        from .trained import Trained  # which is below a run, and knows what one is

        return Trained.by(self, bench, model, tokenizer).record(self)

    def _check_held(self) -> None:
        check_truth("targets", self.targets)
        chosen = isinstance(self.evaluation.get("adapt"), Chosen)
        if not self.held and (chosen or not self.targets):
            raise ValueError(
                "held: expected at least 1, the meta-training tasks on which rates are "
                "chosen, found 0"
            )


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


def _changes(argument: str, changes, known) -> dict:
    """Options by name, as they are now, whatever the caller does with them later."""
    if not isinstance(changes, Mapping):
        raise ValueError(
            f"{argument}: expected options by name, such as {listed(known[:3])}, "
            f"found {shown(changes)}"
        )
    for name in changes:
        check_choice(argument, name, known)
    return deepcopy(dict(changes))


def _check_evaluation(options: Mapping[str, Any], mode: str) -> None:
    """Refuse now what `evaluate` would refuse once the training is done."""
    check_integer("evaluate k", options["k"], most=SHOTS)
    for name in TOLD_APART:
        check_truth(f"evaluate {name}", options.get(name, False))
    if options.get("pmi") and mode != "direct":
        raise ValueError(
            "evaluate pmi: expected False, or a configuration in direct mode, the only "
            f"one it is defined for, found True in {mode!r}"
        )
    adapt = options.get("adapt")
    if options.get("random_labels"):
        check_some_shown("evaluate random_labels", options["k"], adapt)
    for name in TOLD_APART if isinstance(adapt, Chosen) else ():
        if options.get(name):
            raise ValueError(
                f"evaluate {name}: expected False where rates are chosen on held "
                "tasks, which are asked without, found True; set it to False, or adapt "
                "by an Adaptation"
            )
    if adapt is not None and not isinstance(adapt, (Adaptation, Chosen)):
        raise ValueError(
            f"evaluate adapt: expected an Adaptation or Chosen, found {shown(adapt)}"
        )
