"""E6, forgetting: the score against the distance moved, where training can hurt."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from ...errors import check_number
from ..presets import Preset
from ..run import Run
from .grid import Experiment, check_choices, check_list
from .table import PRIMARY, THREE, Table, check_trained

CELLS_THAT_HURT = ("non_class_to_class:direct",)
MOST_TIMES = 100.0  # of a tuned outer rate: beyond it nothing is learned
LOW_TIMES = (0.5, 0.25, 0.125)  # of the tuned outer rate: low-rate MetaICL
SHORT = (20, 40, 80, 160)  # outer steps: MetaICL stopped early
USUAL_PARTS = ("tuned", "rates", "stopped", "low", "fresh")
FORGETTING_PARTS = (*USUAL_PARTS, "draws")


def _forgetting(
    preset: Preset,
    *,
    cells: Sequence[str] = CELLS_THAT_HURT,
    names: Sequence[str] = PRIMARY,
    parts: Sequence[str] = USUAL_PARTS,
    rated: Sequence[str] = ("MetaICL",),
    times: Sequence[float] = LOW_TIMES,
    seeds: Sequence[int] = THREE,
    steps: int = 320,
    draws: int | None = None,
    max_records: int | None = None,
) -> list[Run]:
    """Seed by seed: all methods as tuned; MetaICL at other rates and stopped early; the
    other methods at a quarter of their rates; with fresh moments, which move further;
    with task and example drawn apart, as in older records they were not ("draws").

    ``rated``: rows of the part "rates"; ``times``: of their tuned outer rates.
    """
    for factor in check_list("times", times):
        check_number("times", factor, most=MOST_TIMES, above=True)
    check_choices("parts", check_list("parts", parts), FORGETTING_PARTS)
    table = Table(preset, draws, max_records)
    cells, names = check_list("cells", cells), check_trained("names", names)
    rated = check_trained("rated", rated)
    found = table.untrained(cells)
    for seed, cell, part in product(check_list("seeds", seeds), cells, parts):
        for name, change in _part(part, names, rated, times):
            how: dict[str, Any] = {"steps": steps, **change}
            found.append(table.run(name, cell, seed, **how))
    return found


def _part(
    part: str, names: list[str], rated: list[str], times: Sequence[float]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(row, what differs) of a part's runs."""
    if part == "tuned":
        yield from ((name, {}) for name in names)
    elif part == "rates":
        yield from ((n, dict(times=x)) for n, x in product(rated, times))
    elif part == "stopped":
        yield from (("MetaICL", dict(steps=length)) for length in SHORT)
    elif part == "low":
        yield from ((name, dict(times=LOW_TIMES[1])) for name in names)
    elif part == "draws":
        apart = dict(train=dict(independent_draws=True))
        yield from ((name, apart) for name in names)
    else:
        fresh = dict(train=dict(moments="fresh"))
        yield from ((name, fresh) for name in ("FOMAML", "MAML-en-LLM"))


FORGETTING = Experiment(
    about="C5: where meta-training hurts, is it the method or the distance moved? Low "
    "rates and early stops of MetaICL beside all methods.",
    make=_forgetting,
    preset="mini",
)
