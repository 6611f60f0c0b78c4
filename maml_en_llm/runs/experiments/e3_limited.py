"""E3, limited data: a share of the meta-training tasks, or of each task's examples."""

from collections.abc import Sequence
from itertools import product

from ..presets import Preset
from ..rows import CONTROL
from ..run import Run
from .grid import Experiment, check_choices, check_list
from .table import EQUAL, THREE, Table, check_trained

LIMITED_ROWS = ("MetaICL", "MAML-en-LLM", CONTROL, "FOMAML")
TASKS = (0.05, 0.1, 0.25, 0.5, 1.0)
# An episode needs 24 different examples of its task: less than a quarter of 160 are too
# few for 16 demonstrations and two batches of 4.
RECORDS = (0.25, 0.5)


def _limited(
    preset: Preset,
    *,
    cells: Sequence[str] = ("hr_to_lr:direct",),
    names: Sequence[str] = LIMITED_ROWS,
    seeds: Sequence[int] = THREE,
    steps: int = 320,
    budgets: Sequence[str] = ("steps", "gradients"),
    task_shares: Sequence[float] = TASKS,
    record_shares: Sequence[float] = RECORDS,
    draws: int | None = None,
    max_records: int | None = None,
) -> list[Run]:
    """Seed by seed, the smallest share first; all tasks with all examples is there
    once."""
    check_choices("budgets", budgets, EQUAL)
    table = Table(preset, draws, max_records)
    task_shares = check_list("task_shares", task_shares)
    record_shares = check_list("record_shares", record_shares)
    changes = [dict(task_share=share) for share in task_shares]
    changes += [dict(record_share=share) for share in record_shares]
    cells, names = check_list("cells", cells), check_trained("names", names)
    found = table.untrained(cells)
    pairs = (check_list("seeds", seeds), cells, check_list("budgets", budgets), changes)
    for seed, cell, budget, change in product(*pairs):
        found += [
            table.run(name, cell, seed, steps=steps, budget=budget, train=change)
            for name in names
        ]
    return found


LIMITED = Experiment(
    about="C3: methods trained on 5 to 100% of the meta-training tasks, and on 25 to "
    "100% of each task's examples; seen and unseen domains.",
    make=_limited,
    preset="mini",
)
