"""Experiments: named grids of runs.

To add one: a function that makes its runs from a preset, often one `grid` per setting,
and a line in `EXPERIMENTS`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from ..errors import check_choice, check_integer, shown
from ..prompts import MODES
from ..tasks import load_settings
from ..training import TrainConfig
from .presets import Preset, get_preset
from .rows import METHODS, RULES
from .run import Run

BASELINE_STEPS = 160  # outer steps of chapter 4's table
BASELINE_RECORDS = 32  # test examples per target and demonstration seed
MAIN = ("MetaICL", "MAML-en-LLM")  # trained rows of settings not looked at closely


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A grid of runs. ``make(preset, **choices)`` lists them; ``about`` says why."""

    about: str
    make: Callable[..., list[Run]]
    preset: str = "cpu"

    def runs(self, preset: Preset | None = None, **choices) -> list[Run]:
        """The runs at a preset (default: the experiment's), each once."""
        runs = self.make(preset or get_preset(self.preset), **choices)
        return list({run.hash: run for run in runs}.values())


def grid(
    base: TrainConfig,
    names: Iterable[str],
    *,
    modes: Sequence[str],
    seeds: Sequence[int],
    demonstration_seeds: tuple[int, ...],
    max_records: int | None = None,
    train: Sequence[Mapping] = ({},),
    evaluate: Sequence[Mapping] = ({},),
    budgets: Sequence[str] = ("gradients",),
) -> list[Run]:
    """Every seed × mode × row × budget × change of training × of evaluation.

    What does not depend on the training seed, the budget or the change of training is
    there once; a rule is there once in all. Raises `ValueError` for a value that is
    there twice, or that a run cannot have.
    """
    names = _once("names", names)
    modes = _once("modes", modes)
    seeds = _once("seeds", [check_integer("seeds", seed) for seed in seeds])
    for mode in modes:
        check_choice("modes", mode, MODES)
    found = []
    for seed, mode, name in product(seeds, modes, names):
        check_choice("names", name, [*METHODS, *RULES])
        first = seed == seeds[0]
        if name in RULES and not (first and mode == modes[0]):
            continue
        trains = name in METHODS and METHODS[name].train is not None
        if name in METHODS and mode not in METHODS[name].modes:
            continue
        if not trains and not first:
            continue
        config = replace(base, mode=mode, seed=seed)
        found += [
            Run(
                name=name,
                config=config,
                seeds=demonstration_seeds,
                max_records=max_records,
                budget=budget,
                train=change,
                evaluate=options,
            )
            for budget in (budgets if trains else budgets[:1])
            for change in (train if trains else ({},))
            for options in (({},) if name in RULES else evaluate)
        ]
    return found


def baselines(
    base: TrainConfig,
    *,
    modes: Sequence[str],
    seeds: Sequence[int],
    demonstration_seeds: tuple[int, ...],
    max_records: int | None,
    trained: Sequence[str] | None = None,
) -> list[Run]:
    """One setting of chapter 4's table, at equal gradients.

    ``trained``: which rows that train are there; default: all of them.
    """
    rows = [
        name
        for name, row in METHODS.items()
        if trained is None or row.train is None or name in trained
    ]
    return grid(
        base,
        [*rows, *RULES],
        modes=modes,
        seeds=seeds,
        demonstration_seeds=demonstration_seeds,
        max_records=max_records,
    )


def _table(
    preset: Preset,
    *,
    settings: Sequence[str] | None = None,
    modes: Sequence[str] = MODES,
    seeds: Sequence[int] = (1, 2, 3),
    close: Sequence[str] = ("hr_to_lr",),
    steps: int = BASELINE_STEPS,
    max_records: int = BASELINE_RECORDS,
) -> list[Run]:
    """``settings``: default all of the benchmark. Those in ``close`` have all methods
    and all seeds, the others `MAIN` and the first seed."""
    known = list(load_settings(preset.benchmark))
    chosen = known if settings is None else _once("settings", settings)
    for argument, names in (("settings", chosen), ("close", close)):
        for name in names:
            check_choice(argument, name, known)
    _once("seeds", seeds)
    base = preset.train_config(steps=steps, inner_steps=1)
    found = []
    for name in chosen:
        found += baselines(
            replace(base, setting=name),
            modes=modes,
            seeds=seeds if name in close else seeds[:1],
            demonstration_seeds=preset.demonstration_seeds,
            max_records=max_records,
            trained=None if name in close else MAIN,
        )
    return found


EXPERIMENTS: Mapping[str, Experiment] = {
    "baselines": Experiment(
        about="Chapter 4: methods at equal gradients, k = 1, direct and channel; all "
        "of them in one setting, the two main ones in all.",
        make=_table,
    ),
}


def get_experiment(name: str) -> Experiment:
    """The experiment of that name; `ValueError` lists the known ones."""
    check_choice("experiment", name, EXPERIMENTS)
    return EXPERIMENTS[name]


def _once(argument: str, values: Iterable) -> list:
    if isinstance(values, str):
        raise ValueError(f"{argument}: expected a list, found {shown(values)}")
    found = list(values)
    if not found or len(set(found)) < len(found):
        raise ValueError(
            f"{argument}: expected one or more, each once, found {shown(found)}"
        )
    return found
