"""All cells: what the alive rule is asked about before anything is compared."""

from collections.abc import Sequence
from itertools import product

from ...prompts import MODES
from ..cell_rows import NO_DEMONSTRATIONS
from ..presets import Preset
from ..run import Run
from .grid import Experiment, check_list
from .table import THREE, Table, lists_of


def _cells(
    preset: Preset,
    *,
    cells: Sequence[str] | None = None,
    names: Sequence[str] = ("MetaICL",),
    seeds: Sequence[int] = THREE,
    steps: int = 320,
    draws: int | None = None,
    max_records: int | None = None,
) -> list[Run]:
    """Every setting in every mode: base and rules, then trained rows seed by seed, with
    and without demonstrations."""
    table = Table(preset, draws, max_records)
    settings = lists_of(preset.benchmark)
    if cells is None:
        cells = [f"{setting}:{mode}" for mode, setting in product(MODES, settings)]
    found = table.untrained(check_list("cells", cells))
    seeds = check_list("seeds", seeds)
    names = check_list("names", names)
    for seed, cell, name in product(seeds, cells, names):
        for how in ({}, NO_DEMONSTRATIONS):
            found.append(table.run(name, cell, seed, steps=steps, evaluate=how))
    return found


ALL_CELLS = Experiment(
    about="The alive rule: base model, rules and MetaICL in every setting and mode.",
    make=_cells,
    preset="mini",
)
