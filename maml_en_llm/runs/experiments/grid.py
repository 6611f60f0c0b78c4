"""What an experiment is: a named grid of runs, in the order of their use."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from ...errors import check_choice, check_integer, shown
from ...prompts import MODES
from ...training import TrainConfig
from ..presets import Preset, get_preset
from ..rows import METHODS, RULES
from ..run import Run


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A grid of runs. ``make(preset, **choices)`` lists them; ``about`` says why."""

    about: str
    make: Callable[..., list[Run]]
    preset: str = "cpu"

    def runs(self, preset: Preset | None = None, **choices) -> list[Run]:
        """The runs at a preset (default: the experiment's), each once.

        Raises `ValueError` for choices that leave none.
        """
        runs = self.make(preset or get_preset(self.preset), **choices)
        if not runs:
            raise ValueError(
                f"choices: expected some that leave a run, found {shown(choices)}, "
                "which leave none; leave one of them out"
            )
        return list({run.hash: run for run in runs}.values())


def grid(
    base: TrainConfig,
    names: Iterable[str],
    *,
    modes: Sequence[str],
    seeds: Sequence[int],
    demonstration_seeds: tuple[int, ...],
    max_records: int | None = None,
) -> list[Run]:
    """Every seed × mode × row.

    What does not depend on the training seed is there once; a rule is there once in
    all. Raises `ValueError` for a value that is there twice, or that a run cannot have.
    """
    names = check_list("names", names)
    modes = check_list("modes", modes)
    seeds = check_list("seeds", [check_integer("seeds", seed) for seed in seeds])
    check_choices("modes", modes, MODES)
    found = []
    for seed, mode, name in product(seeds, modes, names):
        check_choice("names", name, [*METHODS, *RULES])
        first, row = seed == seeds[0], METHODS.get(name)
        if row is None:  # a rule
            wanted = first and mode == modes[0]
        else:
            wanted = mode in row.modes and (first or row.train is not None)
        if not wanted:
            continue
        config = replace(base, mode=mode, seed=seed)
        run = Run(
            name=name,
            config=config,
            seeds=demonstration_seeds,
            max_records=max_records,
        )
        found.append(run)
    return found


def check_list(argument: str, values: Iterable) -> list:
    """The values as a list; `ValueError` for none, or one that is there twice."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError(f"{argument}: expected a list, found {shown(values)}")
    found = list(values)
    if not found or any(found.count(value) > 1 for value in found):
        raise ValueError(
            f"{argument}: expected one or more, each once, found {shown(found)}"
        )
    return found


def check_choices(argument: str, values: Iterable, known: Sequence) -> None:
    """`ValueError` unless all values are known."""
    for value in values:
        check_choice(argument, value, known)
