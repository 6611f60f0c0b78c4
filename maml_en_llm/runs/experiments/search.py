"""Tuning: as many trials for every method, judged on meta-training tasks alone."""

from collections.abc import Sequence

from ...errors import check_integer
from ..presets import Preset
from ..rates import OUTER_ALONE, TRIALS, trials_of
from ..run import Run
from .grid import Experiment, check_list
from .table import FURTHER, PRIMARY, Table, check_trained


def _search(
    preset: Preset,
    *,
    names: Sequence[str] = (*PRIMARY, *FURTHER),
    cell: str = "hr_to_lr:direct",
    seeds: Sequence[int] = (101,),
    steps: int = 160,
    trials: int = TRIALS,
) -> list[Run]:
    """Trial by trial: one that is cut short has as many of every method. The training
    seed is none of those that are compared."""
    check_integer("trials", trials, 1, len(OUTER_ALONE))
    names = check_trained("names", names)
    seeds = check_list("seeds", seeds)
    table = Table(preset, draws=1)
    return [
        table.run(
            name,
            cell,
            seed,
            steps=steps,
            targets=False,
            rates=trials_of(name, trials)[i],
        )
        for i in range(trials)
        for seed in seeds
        for name in names
    ]


TUNING = Experiment(
    about="The outer rate of every method, and its inner rate where it has one, by "
    "held NLL on new examples of meta-training tasks; no target is looked at.",
    make=_search,
    preset="mini",
)
