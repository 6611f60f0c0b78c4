"""What the runs of all experiments share: cells, rows, budgets, tuned rates."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from ...errors import check_choice, check_integer
from ...methods.budget import gradients_per_task
from ...prompts import MODES
from ...protocol import SEEDS
from ...tasks import load_settings
from ..on_disk import DiskState, state_of_benchmark
from ..presets import Preset
from ..rates import rates_of
from ..rows import CONTROL, CONTROLS, METHODS, RULES, row_of
from ..run import Run
from .grid import check_choices, check_list

# Cells in which a comparison means something, by the alive rule (`runs.alive`)
CELLS = ("hr_to_lr:direct", "class_to_class:direct")
PRIMARY = ("MetaICL", "MAML-en-LLM", CONTROL, "FOMAML", "Reptile")
FURTHER = ("MetaICT", "multi-task zero-shot")
BASE = ("zero-shot", "in-context")
EQUAL = ("steps", "gradients", "prompts")  # of the three budgets
FIVE, THREE = (1, 2, 3, 4, 5), (1, 2, 3)  # training seeds
HELD_PER_FAMILY = 2  # held tasks per family
ROWS_THAT_TRAIN = tuple(
    name for name, row in {**METHODS, **CONTROLS}.items() if row.train is not None
)


@dataclass(frozen=True)
class Table:
    """Makes the runs of one experiment.

    ``draws``: demonstration seeds; ``max_records``: test examples per target; None: the
    preset's. ``tuned_on``: another base model, whose tuned rates are taken.
    """

    preset: Preset
    draws: int | None = None
    max_records: int | None = None
    tuned_on: str | None = None

    def run(
        self,
        name: str,
        cell: str,
        seed: int = 1,
        *,
        steps: int | None = None,
        budget: str = "steps",
        times: float = 1.0,
        train: Mapping[str, Any] | None = None,
        evaluate: Mapping[str, Any] | None = None,
        targets: bool = True,
        rates: Mapping[str, float] | None = None,
    ) -> Run:
        """One run at its row's tuned rates, the outer one ``times`` as large.

        ``rates``: others, to be tried. What does not train has none, nor a seed.
        """
        check_choice("names", name, (*METHODS, *CONTROLS, *RULES))
        setting, mode = self.cell(cell)
        row = row_of(name)
        how: dict[str, Any] = dict(
            name=name,
            seeds=self.demonstration_seeds,
            max_records=self.records,
            held=0 if name in RULES else HELD_PER_FAMILY,
            evaluate=dict(evaluate or {}),
            targets=targets,
        )
        where = dict(setting=setting, mode=mode)
        if row is None or row.train is None:
            return Run(config=self.preset.train_config(**where), **how)
        if rates is None:
            own, origin = rates_of(name, self.preset, self.tuned_on)
        else:
            own, origin = dict(rates), ""
        own = own | dict(lr=own["lr"] * times)
        config = self.preset.train_config(
            **where, seed=seed, steps=self.preset.steps if steps is None else steps
        )
        return Run(
            config=config,
            budget=budget,
            per_step=self.per_step(budget),
            train=own | dict(train or {}),
            rates=origin,
            **how,
        )

    def untrained(self, cells: Iterable[str]) -> list[Run]:
        """The base model as it is, and what needs no model, in each cell."""
        cells = list(cells)
        found = [self.run(name, cell) for cell in cells for name in BASE]
        settings = {self.cell(cell)[0]: cell for cell in reversed(cells)}
        chosen = [cell for cell in cells if cell in settings.values()]
        return found + [self.run(name, cell) for cell in chosen for name in RULES]

    def per_step(self, budget: str) -> int | None:
        """What MAML-en-LLM spends per outer step at the preset: all get as much."""
        if budget == "steps":
            return None
        config = replace(self.preset.train_config(), method="maml-en-llm")
        n, k = config.tasks_per_step, config.inner_steps
        if budget == "prompts":
            return n * (k + 1) * config.prompts
        return n * gradients_per_task(config.make_method(), k)

    def cell(self, cell: str) -> tuple[str, str]:
        """Setting and mode of a cell, written ``setting:mode``."""
        if not isinstance(cell, str):
            check_choice("cells", cell, CELLS)
        setting, _, mode = cell.partition(":")
        check_choice("cells", setting, list(lists_of(self.preset.benchmark)))
        check_choice("cells", mode, MODES)
        return setting, mode

    @property
    def demonstration_seeds(self) -> tuple[int, ...]:
        """The first ``draws`` of the published five."""
        count = self.preset.eval_seeds if self.draws is None else self.draws
        return SEEDS[: check_integer("draws", count, 1, len(SEEDS))]

    @property
    def records(self) -> int | None:
        """Test examples per target; None for all."""
        most = self.preset.test_records
        return most if self.max_records is None else self.max_records


def lists_of(benchmark: str) -> Mapping[str, Mapping]:
    """The task lists of a benchmark's settings, read again where they have changed."""
    return _lists(benchmark, state_of_benchmark(benchmark))


@lru_cache(maxsize=16)
def _lists(benchmark: str, _: DiskState) -> Mapping[str, Mapping]:
    return load_settings(benchmark)


def check_trained(argument: str, names: Iterable[str]) -> list[str]:
    """The names, each once; `ValueError` for a row without a training to vary."""
    names = check_list(argument, names)
    check_choices(argument, names, ROWS_THAT_TRAIN)
    return names
