"""E1, the main table: all methods, three budgets, lengths until curves are flat."""

from collections.abc import Sequence
from itertools import product

from ..presets import Preset
from ..run import Run
from .grid import Experiment, check_choices, check_list
from .table import CELLS, EQUAL, FIVE, FURTHER, PRIMARY, Table

LENGTHS = (320, 160, 640, 1280)  # outer steps, the primary comparison's first


def _main(
    preset: Preset,
    *,
    cells: Sequence[str] = CELLS,
    names: Sequence[str] = (*PRIMARY, *FURTHER),
    seeds: Sequence[int] = FIVE,
    steps: Sequence[int] = LENGTHS,
    budgets: Sequence[str] = EQUAL,
    draws: int | None = None,
    max_records: int | None = None,
    rates: str | None = None,
) -> list[Run]:
    """First what is primary, seed by seed; then other rows, budgets and lengths.

    What the alive rule needs without demonstrations is in the experiment "cells".
    ``rates``: another base model, whose tuned rates are taken.
    """
    check_choices("budgets", budgets, EQUAL)
    table = Table(preset, draws, max_records, rates)
    cells, names, seeds = (
        check_list("cells", cells),
        check_list("names", names),
        check_list("seeds", seeds),
    )
    steps, budgets = check_list("steps", steps), check_list("budgets", budgets)
    first = [name for name in names if name in PRIMARY]
    early = [budget for budget in budgets if budget != "prompts"] or budgets
    found = table.untrained(cells)
    blocks = [(steps[0], first, early)]
    blocks += [(length, names, budgets) for length in steps]
    for length, rows, equal in blocks:
        for seed, cell, budget, name in product(seeds, cells, equal, rows):
            found.append(table.run(name, cell, seed, steps=length, budget=budget))
    return found


MAIN_TABLE = Experiment(
    about="C1: all methods in the alive cells at equal steps, gradients and prompts, "
    "and at four lengths; the control with an inner rate of 0.",
    make=_main,
    preset="mini",
)
