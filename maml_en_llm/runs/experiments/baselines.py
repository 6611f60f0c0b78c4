"""Chapter 4's table: methods at equal gradients, k = 1, direct and channel."""

from collections.abc import Sequence
from dataclasses import replace

from ...prompts import MODES
from ...tasks import load_settings
from ...training import TrainConfig
from ..presets import Preset
from ..rows import METHODS, RULES
from ..run import Run
from .grid import Experiment, check_choices, check_list, grid

BASELINE_STEPS = 160  # outer steps of chapter 4's table
BASELINE_RECORDS = 32  # test examples per target and demonstration seed
MAIN = ("MetaICL", "MAML-en-LLM")  # trained rows of settings not looked at closely

# what these records were made with, before there were other defaults
AS_THEN = dict(prompts=1, clip_support=False)


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
    chosen = known if settings is None else check_list("settings", settings)
    for argument, names in (("settings", chosen), ("close", close)):
        check_choices(argument, names, known)
    check_list("seeds", seeds)
    base = preset.train_config(steps=steps, inner_steps=1, **AS_THEN)
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


BASELINES = Experiment(
    about="Chapter 4: methods at equal gradients, k = 1, direct and channel; all "
    "of them in one setting, the two main ones in all.",
    make=_table,
)
