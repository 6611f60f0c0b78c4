"""E4, optimizers: what the inner phase steps by, and what it shares with the outer."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from ..presets import Preset
from ..rates import rates_of
from ..rows import CONTROL
from ..run import Run
from .grid import Experiment, check_choices, check_list
from .table import THREE, Table, check_trained

# of the tuned outer rate: each variant at its own best
OUTER_TIMES = (1.0, 0.5, 2.0, 4.0)
VARIANTS_OF_MOMENTS = (
    dict(moments="fresh"),
    dict(moments="shared-frozen"),
    dict(moments="second"),
    dict(moments="shared", clip_support=False),
    dict(moments="shared", join="mean-gradient"),
)
# α of the tuned one; SGD's own scale is another
INNER = (0.0, 0.25, 1.0, 4.0)
INNER_OPTIMIZERS: tuple[tuple[str, float], ...] = (
    *(("sgd", 0.01), ("sgd", 0.03), ("sgd", 0.1)),
    *(("momentum", 0.003), ("momentum", 0.01), ("momentum", 0.03)),
)
EPS_ROOTS = (1e-10, 1e-6)
OPTIMIZER_PARTS = ("moments", "inner rate", "inner optimizer", "eps_root")


def _variants(
    part: str, inner_lr: float
) -> Iterator[tuple[Mapping[str, Any], Sequence[float]]]:
    """Changes of training, and by what the outer rate is multiplied."""
    once_each = (1.0,)
    if part == "moments":
        yield {}, OUTER_TIMES
        for change in VARIANTS_OF_MOMENTS:
            yield change, OUTER_TIMES
    elif part == "inner rate":
        for factor in INNER:
            if factor != 1.0:
                yield dict(inner_lr=inner_lr * factor), once_each
                yield dict(inner_lr=inner_lr * factor, moments="fresh"), once_each
    elif part == "inner optimizer":
        for name, rate in INNER_OPTIMIZERS:
            change = dict(inner_optimizer=name, inner_lr=rate, moments="fresh")
            yield change, once_each
        yield dict(inner_optimizer="adamw", moments="fresh"), once_each
    else:
        for eps_root in EPS_ROOTS:
            yield dict(eps_root=eps_root), once_each


def _optimizers(
    preset: Preset,
    *,
    cells: Sequence[str] = ("hr_to_lr:direct",),
    parts: Sequence[str] = OPTIMIZER_PARTS,
    names: Sequence[str] = ("FOMAML", "MAML-en-LLM", CONTROL),
    seeds: Sequence[int] = THREE,
    steps: int = 320,
    times: Sequence[float] = OUTER_TIMES,
    draws: int | None = None,
    max_records: int | None = None,
) -> list[Run]:
    """Variant by variant, at equal n, so that second order can be held against first.
    The control has no inner rate to vary, and MetaICL nothing: it is MAML-en-LLM with
    fresh moments and an inner rate of 0."""
    check_choices("times", check_list("times", times), OUTER_TIMES)
    check_choices("parts", check_list("parts", parts), OPTIMIZER_PARTS)
    table = Table(preset, draws, max_records)
    names, cells, seeds = (
        check_trained("names", names),
        check_list("cells", cells),
        check_list("seeds", seeds),
    )
    found = []
    for cell, part in product(cells, parts):
        for change, factors in _variants(part, _inner_rate(preset)):
            kept = [factor for factor in factors if factor in times]
            for seed, factor, name in product(seeds, kept, names):
                if name == CONTROL and "inner_lr" in change:
                    continue
                if name == "MetaICL" and change:
                    continue
                how: dict[str, Any] = dict(steps=steps, times=factor, train=change)
                found.append(table.run(name, cell, seed, **how))
    return found


def _inner_rate(preset: Preset) -> float:
    """α of MAML-en-LLM, to which the others are relative."""
    rates, _ = rates_of("MAML-en-LLM", preset)
    return rates["inner_lr"]


OPTIMIZED = Experiment(
    about="C6: moments shared, frozen, fresh or second only; support gradients "
    "clipped or not; inner optimizer, inner rate, eps_root; outer rates for each.",
    make=_optimizers,
    preset="mini",
)
