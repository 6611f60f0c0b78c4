"""Runs: method × setting × mode × training seed → a record, computed once and kept.

All methods get the same budget: the same number of outer steps of `GRADIENTS` gradients each, so that a method with inner steps
sees fewer tasks a step. `reproduce` fills a log that an interrupted run goes on from, and returns all of it.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean

from ..errors import check_choice
from ..evaluation.benchmark import evaluate, evaluate_by
from ..evaluation.rules import by_rule, majority, random_guess
from ..evaluation.rules import oracle_answer as oracle
from ..methods.budget import passes
from ..tasks.benchmark import Benchmark
from ..training.config import TrainConfig
from ..training.loop import meta_train

GRADIENTS = 16  # of one prompt each, an outer step


KEPT = ("mean", "worst", "unseen_mean", "unseen_worst", "ece", "failed")


RULE_KEPT = (
    "mean",
    "unseen_mean",
    "failed",
)  # 0 and 1 are no confidences, and draws no demonstration seeds


@dataclass(frozen=True)
class Method:
    """A row of a table: what differs in its training, or None for the base model as it is, and in its evaluation."""

    train: Mapping | None = None
    evaluate: Mapping = field(default_factory=dict)
    modes: tuple[str, ...] = ("direct", "channel")


METHODS: Mapping[str, Method] = {
    "zero-shot": Method(evaluate=dict(k=0)),
    "PMI zero-shot": Method(evaluate=dict(k=0, pmi=True), modes=("direct",)),
    "in-context": Method(),
    "PMI in-context": Method(evaluate=dict(pmi=True), modes=("direct",)),
    "multi-task zero-shot": Method(dict(method="multi-task"), dict(k=0)),
    "MetaICL": Method(dict(method="metaicl")),
    "MetaICT": Method(dict(method="metaict"), dict(instructions=True)),
    "FOMAML": Method(dict(method="fomaml")),
    "Reptile": Method(dict(method="reptile")),
    "MAML-en-LLM": Method(dict(method="maml-en-llm")),
}


RULES: Mapping[str, Callable[[Benchmark, dict], dict]] = {
    "random guess": lambda bench, how: random_guess(
        bench, max_records=how["max_records"]
    ),
    "majority": lambda bench, how: majority(bench, **how),
    "oracle": lambda bench, how: evaluate_by(by_rule(oracle), bench, **how),
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One row: everything that decides it. ``config`` is the base of all methods' training."""

    name: str
    config: TrainConfig
    seeds: tuple[int, ...]  # of the demonstrations
    max_records: int | None = None

    def __post_init__(self):
        check_choice("name", self.name, [*METHODS, *RULES])

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that change with any field."""
        return hashlib.sha256(
            json.dumps(asdict(self), sort_keys=True).encode()
        ).hexdigest()[:12]

    @property
    def training(self) -> TrainConfig | None:
        """The method's own configuration, with as many tasks a step as its budget allows."""
        changes = METHODS[self.name].train if self.name in METHODS else None
        if changes is None:
            return None
        config = replace(self.config, **changes)
        method = config.make_method()
        k = (
            min(method.inner_steps, 1)
            if config.inner_batch == "all"
            else method.inner_steps
        )
        cost = sum(gradients for _, _, gradients in passes(method, k))
        if GRADIENTS % cost:
            raise ValueError(
                f"inner_steps: expected a cost that divides {GRADIENTS} gradients, found {cost} a task at {k} steps"
            )
        return replace(config, tasks_per_step=GRADIENTS // cost)

    def compute(self, bench: Benchmark, model, tokenizer) -> dict:
        """The record. ``model`` is the base model; it is trained in place where the method trains."""
        how = dict(seeds=self.seeds, max_records=self.max_records)
        about = dict(
            method=self.name,
            setting=bench.setting,
            mode=self.config.mode,
            seed=self.config.seed,
            hash=self.hash,
        )
        if self.name in RULES:
            return about | _kept(RULES[self.name](bench, how), RULE_KEPT)
        spent = {}
        if self.training is not None:
            record = meta_train(model, tokenizer, bench.train, self.training)
            spent = dict(
                budget=record["budget"],
                seconds=record["seconds"],
                loss=fmean(record["losses"][-20:]),
            )
        options = (
            vars(self.config.format)
            | dict(k=self.config.demonstrations)
            | how
            | METHODS[self.name].evaluate
        )
        return about | _kept(evaluate(model, tokenizer, bench, **options)) | spent


def _kept(record: dict, kept: tuple[str, ...] = KEPT) -> dict:
    tasks = {name: round(row["mean"], 2) for name, row in record["tasks"].items()}
    totals = {
        key: round(value, 2) if isinstance(value, float) else value
        for key, value in record.items()
        if key in kept
    }
    return totals | dict(
        tasks=tasks,
        unseen=[name for name, row in record["tasks"].items() if row["unseen"]],
    )
