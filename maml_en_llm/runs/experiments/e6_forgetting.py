"""E6, forgetting: the score against the distance moved, where training can hurt."""

from collections.abc import Sequence
from itertools import product

from ..presets import Preset
from ..run import Run
from .grid import Experiment, once
from .table import PRIMARY, THREE, Table

CELLS_THAT_HURT = ("non_class_to_class:direct",)
LOW_TIMES = (0.5, 0.25, 0.125)  # of the tuned outer rate: low-rate MetaICL
SHORT = (20, 40, 80, 160)  # outer steps: MetaICL stopped early


def _forgetting(
    preset: Preset,
    *,
    cells: Sequence[str] = CELLS_THAT_HURT,
    names: Sequence[str] = PRIMARY,
    seeds: Sequence[int] = THREE,
    steps: int = 320,
    draws: int | None = None,
    max_records: int | None = None,
) -> list[Run]:
    """Seed by seed: MetaICL at lower rates and stopped early, then the other methods,
    at the tuned rate and a quarter of it; with fresh moments, which move further."""
    table = Table(preset, draws, max_records)
    cells, names = once("cells", cells), once("names", names)
    found = table.untrained(cells)
    for seed, cell in product(once("seeds", seeds), cells):
        found += [table.run(name, cell, seed, steps=steps) for name in names]
        for times in LOW_TIMES:
            found.append(table.run("MetaICL", cell, seed, steps=steps, times=times))
        for length in SHORT:
            found.append(table.run("MetaICL", cell, seed, steps=length))
        for name in names:
            found.append(table.run(name, cell, seed, steps=steps, times=LOW_TIMES[1]))
        for name in ("FOMAML", "MAML-en-LLM"):
            fresh = dict(moments="fresh")
            found.append(table.run(name, cell, seed, steps=steps, train=fresh))
    return found


FORGETTING = Experiment(
    about="C5: where meta-training hurts, is it the method or the distance moved? Low "
    "rates and early stops of MetaICL beside all methods.",
    make=_forgetting,
    preset="mini",
)
