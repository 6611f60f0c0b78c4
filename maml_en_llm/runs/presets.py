"""Presets: how much a chapter computes, from a minute to the published recipe.

The only place where a rate or a size of a preset is written. `resolve` joins a preset
with what a reader gave.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..base.weights import SHIPPED
from ..errors import (
    check_choice,
    check_integer,
    check_number,
    check_truth,
    or_none,
    shown,
)
from ..protocol import SEEDS, SHOTS
from ..training import TrainConfig

OUTER_OVER_INNER = 5  # rates, where the inner one is not given


def _text(name: str, value) -> str:
    if not isinstance(value, (str, Path)) or not str(value).strip():
        raise ValueError(f"{name}: expected a name or a path, found {shown(value)}")
    return str(value)


_COUNT = partial(check_integer, least=1)
_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "benchmark": _text,
    "model": _text,
    "tokens": partial(check_integer, least=8),
    "demonstrations": partial(check_integer, most=SHOTS),
    "steps": _COUNT,
    "tasks_per_step": _COUNT,
    "inner_steps": _COUNT,
    "lr": partial(check_number, above=True),
    "inner_lr": or_none(check_number),
    "eps_root": check_number,
    "adaptation": check_integer,
    "runs": _COUNT,
    "train_tasks": or_none(_COUNT),
    "test_tasks": or_none(_COUNT),
    "test_records": or_none(_COUNT),
    "eval_seeds": partial(check_integer, least=1, most=len(SEEDS)),
    "device": _text,
    "independent_draws": check_truth,
}


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Sizes of a meta-training run and its evaluation; ``None``: all, or as published.

    Raises `ValueError` naming the field for a value that none can have.
    """

    benchmark: str
    model: str  # shipped, or on the hub
    tokens: int  # longest prompt
    demonstrations: int
    steps: int  # outer steps
    tasks_per_step: int  # n
    inner_steps: int  # k
    lr: float  # outer rate β
    inner_lr: float | None = None  # inner rate α; None: β / 5
    eps_root: float = 1e-8  # under Adam's root
    adaptation: int = 4  # gradient steps on a target's demonstrations
    runs: int  # training seeds
    train_tasks: int | None = None
    test_tasks: int | None = None
    test_records: int | None = None
    eval_seeds: int  # of the five demonstration seeds
    device: str = "cpu"  # or "auto", the first of CUDA, MPS and CPU that is there
    independent_draws: bool = True  # False: as in the published records

    def __post_init__(self):
        for field in fields(self):
            value = _CHECKS[field.name](field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, value)

    @property
    def inner_rate(self) -> float:
        """α: as given, or β / 5."""
        return self.lr / OUTER_OVER_INNER if self.inner_lr is None else self.inner_lr

    @property
    def demonstration_seeds(self) -> tuple[int, ...]:
        """The first `eval_seeds` of the published five."""
        return SEEDS[: self.eval_seeds]

    @property
    def training_seeds(self) -> tuple[int, ...]:
        """1, 2, … `runs`."""
        return tuple(range(1, self.runs + 1))

    def train_config(self, **changes) -> TrainConfig:
        """The preset as a configuration of meta-training, with ``changes`` to it."""
        own: dict[str, Any] = dict(
            benchmark=self.benchmark,
            model=self.model,
            steps=self.steps,
            tasks_per_step=self.tasks_per_step,
            inner_steps=self.inner_steps,
            demonstrations=self.demonstrations,
            lr=self.lr,
            inner_lr=self.inner_rate,
            eps_root=self.eps_root,
            sampling="uniform",
            max_length=self.tokens,
            device=self.device,
            independent_draws=self.independent_draws,
        )
        return TrainConfig(**own | changes)

    def evaluation(self, **changes) -> dict[str, Any]:
        """The preset as arguments of `evaluate`, with ``changes`` to them."""
        own: dict[str, Any] = dict(
            k=self.demonstrations,
            seeds=self.demonstration_seeds,
            max_length=self.tokens,
            max_records=self.test_records,
        )
        return own | changes


# A real model's gradients are so small that 1e-8 would shorten every step by far; with
# the warm moments of a run 1e-12 costs no accuracy (benchmarks/safety_term.py)
REAL_EPS_ROOT = 1e-12
METAICL = "hf://datasets/allenai/metaicl-data/data"

PRESETS: Mapping[str, Preset] = {
    "smoke": Preset(
        benchmark="minicrossfit",
        model="tiny-base",
        tokens=512,
        demonstrations=16,
        steps=40,
        tasks_per_step=4,
        inner_steps=1,
        lr=2e-3,
        runs=3,
        test_tasks=16,
        test_records=32,
        eval_seeds=1,
        independent_draws=False,
    ),
    "cpu": Preset(
        benchmark="minicrossfit",
        model="tiny-base",
        tokens=512,
        demonstrations=16,
        steps=320,
        tasks_per_step=4,
        inner_steps=4,
        lr=2e-3,
        runs=3,
        eval_seeds=2,
        independent_draws=False,
    ),
    "mini": Preset(
        benchmark="minicrossfit",
        model="mini-base",
        tokens=512,
        demonstrations=16,
        steps=320,
        tasks_per_step=4,
        inner_steps=1,
        lr=2e-3,
        runs=5,
        eval_seeds=5,
        independent_draws=False,
    ),
    "colab": Preset(
        benchmark=METAICL,
        model="gpt2",
        tokens=256,
        demonstrations=4,
        steps=80,
        tasks_per_step=2,
        inner_steps=1,
        lr=1e-5,
        eps_root=REAL_EPS_ROOT,
        runs=1,
        test_tasks=13,
        test_records=32,
        eval_seeds=1,
        device="auto",
    ),
    "paper": Preset(
        benchmark=METAICL,
        model="gpt2-medium",
        tokens=1024,
        demonstrations=16,
        steps=30_000,
        tasks_per_step=8,
        inner_steps=1,
        lr=1e-5,
        eps_root=REAL_EPS_ROOT,
        runs=3,
        eval_seeds=5,
        device="auto",
    ),
}

# `smoke` with a model or files of the reader's own: as little as shows the algorithm,
# with a rate for random weights
SMOKE = PRESETS["smoke"]
SMOKE_OWN = replace(
    SMOKE,
    tokens=256,
    demonstrations=4,
    steps=20,
    tasks_per_step=2,
    lr=3e-2,
    adaptation=1,
    train_tasks=8,
    test_tasks=6,
    test_records=24,
    eval_seeds=2,
    independent_draws=True,
)

# what a chapter calls a field of `Preset`
CALLED = {"seeds": "runs", "draws": "eval_seeds", "max_length": "tokens"}


def get_preset(name: str) -> Preset:
    """The preset of that name; `ValueError` lists the known ones."""
    check_choice("preset", name, PRESETS)
    return PRESETS[name]


def resolve(preset: str, **given) -> Preset:
    """The preset with the values that a reader gave; ``None`` leaves the preset's.

    Names are fields of `Preset`, or what chapters call them (`CALLED`): ``seeds``,
    ``draws``, ``max_length``. `smoke` with a model or benchmark of the reader's own is
    `SMOKE_OWN`. Raises `ValueError` of one line naming the parameter: 0 and −1 are
    values like others, not the preset's, and refused where they make no sense.
    """
    size = get_preset(preset)
    known = [field.name for field in fields(Preset)]
    changes: dict[str, Any] = {}
    for name, value in given.items():
        field = CALLED.get(name, name)
        check_choice("parameter", field, known)
        if value is not None:
            changes[field] = _CHECKS[field](name, value)
    if preset == "smoke" and _is_own(changes):
        size = SMOKE_OWN
    return replace(size, **changes)


def _is_own(given: Mapping) -> bool:
    """Whether a model or benchmark is the reader's own, not one of the package."""
    model = given.get("model", SMOKE.model)
    benchmark = given.get("benchmark", SMOKE.benchmark)
    generated = benchmark.partition(":")[0] == SMOKE.benchmark  # of any difficulty
    return model not in SHIPPED or not generated
