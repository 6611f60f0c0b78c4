"""Presets: how much a chapter computes, from a minute on two cores to the published recipe; and its parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Number

from ..errors import check_choice


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Sizes of a meta-training run and its evaluation. ``None`` means all, or as published."""

    benchmark: str
    model: str  # shipped, or on the hub
    tokens: int  # longest prompt
    demonstrations: int
    steps: int  # outer steps
    tasks_per_step: int  # n
    inner_steps: int  # k
    lr: float
    runs: int  # training seeds
    train_tasks: int | None
    test_tasks: int | None
    test_records: int | None
    eval_seeds: int  # of the five demonstration seeds


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
        train_tasks=None,
        test_tasks=16,
        test_records=32,
        eval_seeds=1,
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
        train_tasks=None,
        test_tasks=None,
        test_records=None,
        eval_seeds=2,
    ),
    "colab": Preset(
        benchmark=METAICL,
        model="gpt2",
        tokens=512,
        demonstrations=8,
        steps=300,
        tasks_per_step=2,
        inner_steps=1,
        lr=1e-5,
        runs=1,
        train_tasks=None,
        test_tasks=None,
        test_records=64,
        eval_seeds=1,
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
        runs=3,
        train_tasks=None,
        test_tasks=None,
        test_records=None,
        eval_seeds=5,
    ),
}


# `smoke` with a model or files of the reader's own: as little as shows the algorithm, with a rate for random weights
SMOKE_OWN = replace(
    PRESETS["smoke"],
    tokens=256,
    demonstrations=4,
    steps=20,
    tasks_per_step=2,
    lr=3e-2,
    train_tasks=8,
    test_tasks=6,
    test_records=24,
    eval_seeds=2,
)


def get_preset(name: str) -> Preset:
    """The preset of that name; `ValueError` lists the known ones."""
    check_choice("preset", name, PRESETS)
    return PRESETS[name]


def check_parameters(namespace: Mapping, *known: str) -> None:
    """Refuse parameters that a chapter does not have: papermill takes a misspelt name without a word.

    Call it with ``globals()`` right after a chapter's parameters, when they are all the plain values there are.
    """
    plain = (str, Number, list, tuple, dict, type(None))
    own = (*known, "In", "Out")  # the last two are the notebook's own history
    given = [
        n
        for n, value in namespace.items()
        if not n.startswith("_") and isinstance(value, plain)
    ]
    for name in given:
        if name not in own:
            check_choice("parameter", name, known)
