"""Named grids of runs."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from ..training.config import TrainConfig
from .run import METHODS, RULES, Run


def baselines(
    base: TrainConfig,
    *,
    modes: Sequence[str],
    seeds: Sequence[int],
    demonstration_seeds: tuple[int, ...],
    max_records: int | None,
) -> list[Run]:
    """One setting of chapter 4's table; what does not depend on the training seed is there once, what does not on the mode once."""
    found = []
    for seed, mode in product(seeds, modes):
        names = [
            n
            for n, m in METHODS.items()
            if mode in m.modes and (m.train is not None or seed == seeds[0])
        ]
        names += list(RULES) if (seed, mode) == (seeds[0], modes[0]) else []
        config = replace(base, mode=mode, seed=seed)
        found += [
            Run(
                name=n,
                config=config,
                seeds=demonstration_seeds,
                max_records=max_records,
            )
            for n in names
        ]
    return found
