"""E2, adaptation: scores after j gradient steps on a target's demonstrations."""

from collections.abc import Sequence
from itertools import product

from ...evaluation.adaptation_curves import ADAPTATION_STEPS
from ..adapted import Chosen
from ..cell_rows import NO_DEMONSTRATIONS
from ..presets import Preset
from ..rows import CONTROL
from ..run import Run
from .grid import Experiment, check_choices, check_list
from .table import CELLS, EQUAL, FIVE, Table

ADAPTED_ROWS = ("MetaICL", "MAML-en-LLM", CONTROL, "FOMAML")
ADAPTED_DRAWS = 2  # demonstration seeds: a target and seed costs up to 16 steps


def _adaptation(
    preset: Preset,
    *,
    cells: Sequence[str] = CELLS,
    names: Sequence[str] = ADAPTED_ROWS,
    seeds: Sequence[int] = FIVE,
    steps: int = 320,
    budgets: Sequence[str] = ("steps", "gradients"),
    j: Sequence[int] = ADAPTATION_STEPS,
    shown: Sequence[str] = ("with", "without"),
    draws: int = ADAPTED_DRAWS,
    max_records: int | None = None,
    rates: str | None = None,
) -> list[Run]:
    """The base first, then seed by seed; ``shown``: with demonstrations in the prompt,
    or without, each being adapted to alone; ``rates``: another base model, whose tuned
    rates are taken."""
    check_choices("budgets", budgets, EQUAL)
    check_choices("shown", shown, ("with", "without"))
    table = Table(preset, draws, max_records, rates)
    asked = [
        dict(NO_DEMONSTRATIONS if way == "without" else {}, adapt=Chosen(steps=count))
        for way in check_list("shown", shown)
        for count in check_list("j", j)
    ]
    cells = check_list("cells", cells)
    found = [
        table.run("in-context", cell, evaluate=how) for cell in cells for how in asked
    ]
    pairs = (
        check_list("seeds", seeds),
        cells,
        check_list("budgets", budgets),
        check_list("names", names),
    )
    for seed, cell, budget, name in product(*pairs):
        found += [
            table.run(name, cell, seed, steps=steps, budget=budget, evaluate=how)
            for how in asked
        ]
    return found


ADAPTED = Experiment(
    about="C2: base, MetaICL, FOMAML, MAML-en-LLM and its control after 0 to 16 "
    "gradient steps on the demonstrations, at a rate chosen per model on held tasks.",
    make=_adaptation,
    preset="mini",
)
