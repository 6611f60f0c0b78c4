"""How fragile a difference is: what turns it from decided to not decided, or back."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .pairs import numbers
from .seed_scores import scores_of
from .statistics import Interval, Scores, at_hand, paired_difference


@dataclass(frozen=True)
class Fragility:
    """A difference asked harder than by its interval over seeds and targets.

    Args:
        over_seeds: its interval over training seeds alone, on these targets.
        seeds, families: those that turn the decision when one of them is left out.
    """

    over_seeds: Interval
    seeds: tuple[int | None, ...]
    families: tuple[str, ...]

    def as_row(self) -> dict:
        """As JSON holds it, points to three digits; None: nothing is known."""
        found = numbers(self.over_seeds)
        ends = {name: found[name] for name in ("low", "high")}
        turned_by = dict(seeds=list(self.seeds), families=list(self.families))
        return dict(over_seeds=ends, turned_by=turned_by)


def fragility(
    a: Scores | Iterable[Mapping],
    b: Scores | Iterable[Mapping],
    families: Mapping[str, str] | None = None,
) -> Fragility:
    """What leaving out one training seed, or one family of targets, does to a − b.

    The arguments are those of `paired_difference`. Of fewer than three seeds, or
    families, none can be left out: of one nothing is known.
    """
    a, b = at_hand(a), at_hand(b)
    decided = paired_difference(a, b, "both", families).decided  # or refuses them
    ours, theirs = _table(a), _table(b)
    targets = {target for row in (*ours.values(), *theirs.values()) for target in row}
    if families is None:
        families = {target: target for target in targets}

    def turned(without: Callable[[Scores], Scores]) -> bool:
        left = without(ours)
        right = without(theirs)
        return paired_difference(left, right, "both", families).decided != decided

    seeds = [seed for seed in {**ours, **theirs} if seed is not None]
    names = sorted({families[target] for target in targets})

    def turned_by_seed(seed: int) -> bool:
        return turned(lambda table: _without_seed(table, seed))

    def turned_by_family(family: str) -> bool:
        return turned(lambda table: _without_family(table, family, families))

    return Fragility(
        paired_difference(a, b, "seeds", families),
        tuple(filter(turned_by_seed, seeds)) if len(seeds) > 2 else (),
        tuple(filter(turned_by_family, names)) if len(names) > 2 else (),
    )


def _table(given: Any) -> Scores:
    return given if isinstance(given, Mapping) else scores_of(given)


def _without_seed(table: Scores, seed: int) -> Scores:
    return {own: row for own, row in table.items() if own != seed}


def _without_family(table: Scores, family: str, families: Mapping) -> Scores:
    return {
        seed: {target: x for target, x in row.items() if families[target] != family}
        for seed, row in table.items()
    }
