"""Intervals: how far a difference would move with other seeds, with other targets.

Chapters, plots and the scorecard take their intervals from here. The scores of a method
are a table of training seeds × targets. Its cells are not independent: a seed moves all
targets, a target is easy or hard for all seeds, and targets of one family are variants
of one another. The model behind the intervals is

    d[s, t] = μ + S[s] + F[f(t)] + T[t] + E[s, t]

with independent effects of seed, family and target; the rest E may be joined within a
seed and family.

Measured, ``"both"``, 31 targets in 14 families of 1 to 3, 2,000 draws for each of
nine mixtures of effects of known size (standard deviations of S, F, T, S × F and E
in points: 2, 4, 3, 1, 4; 4, .5, .5, .5, 1; .3, 5, 1, .3, 1; .3, 0, 5, .3, 1;
1, 3, 4, 1, 5; 0, 3, 0, 0, 6; 1.2, 0, 0, 0, 6; 1, 1, 1, 3, 3), percent of the
intervals that hold μ:

    3 seeds 94.2–95.6      5 seeds 94.9–96.0      8 seeds 94.0–95.5

With three seeds, 44 targets in 19 families and effects of seeds that are the largest
(2, 1, 2, 2, 5; 2, 0, 0, 2, 5; 1.5, 1, 1, 1, 4; 1,000 draws each) 92.1, 92.0 and 93.5
hold it; with five 93.0, 94.5 and 92.4.

The ninth, E alone without any effect of seed or target, is too wide: 98.5, 97.7,
97.2. A two-way percentile bootstrap over seeds and families covers 74.8–94.2,
83.6–95.0 and 88.9–93.9 of the first three and the fifth. ``"targets"`` covers
94.4, 95.2, 94.9, ``"seeds"`` 95.7, 95.3, 94.8.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..errors import check_choice, check_number, listed, shown
from .comparable import check_comparable
from .seed_scores import BY_SEED, records_in, scores_of

OVER = ("targets", "seeds", "both")
LEVEL = 0.95
POINTS = 4097  # of the grid on which Student's distribution is added up
RANGE = (-1e6, 1e6)  # of a score: points; their fourth powers fit a float
DIGITS_JUDGED = 9  # digits of a difference that is held against a bar; others are noise

Scores = Mapping[int | None, Mapping[str, float]]  # training seed → target → points
Given = Scores | Iterable[Mapping] | Mapping[int | None, Mapping]  # see `scores_of`


@dataclass(frozen=True)
class Interval:
    """A mean and its 95% interval, in the unit of the scores (points)."""

    mean: float
    low: float
    high: float
    n_seeds: int
    n_targets: int

    @property
    def half(self) -> float:
        """Half of the interval's width; infinite where nothing can be said."""
        return self.high - self.mean

    @property
    def decided(self) -> bool:
        """Whether the interval excludes 0."""
        return exceeds(self.low) or exceeds(-self.high)

    def __str__(self) -> str:
        return f"{self.mean:+z.1f} ± {self.half:.1f}"


def exceeds(points: float) -> bool:
    """Whether ``points`` are more than 0, and not by the rounding of a sum."""
    return round(points, DIGITS_JUDGED) > 0


def paired_difference(
    a: Given,
    b: Given,
    over: str = "both",
    families: Mapping[str, str] | None = None,
) -> Interval:
    """The mean of ``a`` − ``b`` over seeds and targets, with its 95% interval.

    Args:
        a, b: scores in points, training seed → target → score; or training seed →
            record of `evaluate`; or a log's records of one method each (`scores_of`).
            Seed ``None``, of a model that was not trained, is paired with every seed of
            the other.
        over: what other draws would be of. ``"targets"``: other families of targets,
            these seeds. ``"seeds"``: other training seeds, these targets. ``"both"``.
        families: target → family; targets of one family are one block. ``None``: every
            target is a family of its own.

    With d the differences, w_f the share of the targets that are of family f, and z_sf
    the sum of d over family f divided by the number of targets,

        V_seeds   = Σ_s (Σ_f z_sf − d̄)² / (S (S − 1))
        V_targets = c Σ_f (z̄_f − w_f d̄)²                  c makes it right on average
        V_both    = V_seeds + V_targets − V_rest           at least either of the two

    where V_rest is the same of what is left in z_sf without both means: V_seeds and
    V_targets both hold it. The interval is d̄ ± t √V, t Student's 97.5% quantile at
    S − 1 degrees of freedom, those of V_targets (Satterthwaite, for blocks of unequal
    size), or those of the sum; these are more, so that "both" can give a narrower
    interval than "seeds". Nothing is drawn at random. With one seed nothing is known of
    other seeds, with one family nothing of other targets: the interval is infinite.

    Raises:
        ValueError: a seed or target that one side lacks, no score, a score that is no
            number within `RANGE`, a target without family, records that are not alike
            (`check_comparable`).
    """
    a, b = at_hand(a), at_hand(b)
    left, right = _scores("a", a), _scores("b", b)
    check_comparable("a and b", records_in(a), records_in(b))
    seeds = _paired_seeds(left, right)
    targets = _shared_targets(a=left, b=right)
    table = [
        [_of(left, s)[t] - _of(right, s)[t] for t in targets]  # one row per seed
        for s in seeds
    ]
    return _interval(np.array(table), targets, over, families)


def mean_interval(
    scores: Given,
    over: str = "both",
    families: Mapping[str, str] | None = None,
) -> Interval:
    """The mean of one method's scores with its interval, as in `paired_difference`."""
    table = _scores("scores", scores)
    targets = _shared_targets(scores=table)
    values = np.array([[row[t] for t in targets] for row in table.values()])
    return _interval(values, targets, over, families)


def student(freedom: float, level: float = LEVEL) -> float:
    """t with P(|T| < t) = ``level``, up to 0.9999, to four digits; ν of at least 1.

    With T = √ν tan θ the density of |T| is proportional to cos(θ)^(ν − 1).
    """
    freedom = min(check_number("freedom", freedom, 1), 1e8)  # beyond, 1 − cos rounds
    level = check_number("level", level, 0, 0.9999, above=True)
    return _student(freedom, level)


@lru_cache(maxsize=1024)
def _student(freedom: float, level: float) -> float:
    widest = min(math.pi / 2, 12 / math.sqrt(freedom))  # beyond it nothing is left
    angles = np.linspace(0, widest, POINTS)
    density = np.cos(angles) ** (freedom - 1)
    steps = (density[1:] + density[:-1]) / 2
    share = np.concatenate([[0], np.cumsum(steps)]) / steps.sum()
    return math.sqrt(freedom) * math.tan(float(np.interp(level, share, angles)))


def _interval(table: np.ndarray, targets, over: str, families) -> Interval:
    """``table``: (S, T)."""
    check_choice("over", over, OVER)
    mean = float(table.mean())
    blocks = _blocks(targets, families)  # (T, F), 1 where a target is of a family
    variance, freedom = _variance(table, blocks, over)
    half = math.inf
    if math.isfinite(variance):
        half = student(freedom) * math.sqrt(variance)
    return Interval(mean, mean - half, mean + half, *table.shape)


def _variance(table: np.ndarray, blocks: np.ndarray, over: str) -> tuple[float, float]:
    """The mean's estimated variance, and its degrees of freedom."""
    n_seeds, n_targets = table.shape
    shares = blocks.sum(0) / n_targets  # (F,), w
    sums = table @ blocks / n_targets  # (S, F), z
    by_seed = sums.sum(1)  # (S,)
    by_family = sums.mean(0)  # (F,)
    mean = by_seed.mean()
    scale, freedom = _block_scale(shares)
    if (over != "targets" and n_seeds < 2) or (over != "seeds" and not freedom):
        return math.inf, 1.0
    seeds = 0.0
    if over != "targets":
        seeds = float(((by_seed - mean) ** 2).sum() / (n_seeds * (n_seeds - 1)))
    if over == "seeds":
        return seeds, n_seeds - 1
    families = scale * float(((by_family - shares * mean) ** 2).sum())
    if over == "targets":
        return families, freedom
    rest = sums - by_family - np.outer(by_seed - mean, shares)  # (S, F)
    both = scale * float((rest**2).sum()) / (n_seeds * (n_seeds - 1))
    return _joined(seeds, families, both, n_seeds - 1, freedom)


def _joined(seeds, families, rest, of_seeds, of_families) -> tuple[float, float]:
    """V_both and its degrees of freedom, (Σ V)² / Σ V²/ν (Satterthwaite).

    The denominator lies between that of the two variances as measured, too few degrees
    where both are mostly the rest, and that of what each has beyond the rest, too many
    where it is small: the geometric mean of the two covers best.
    """
    variance = max(seeds + families - rest, seeds, families)
    if variance == 0:
        return 0.0, of_seeds
    whole = seeds**2 / of_seeds + families**2 / of_families
    parts = max(seeds - rest, 0) ** 2 / of_seeds
    parts += max(families - rest, 0) ** 2 / of_families
    parts += rest**2 / (of_seeds * of_families)
    return variance, max(variance**2 / math.sqrt(whole * parts), 1.0)


def _block_scale(shares: np.ndarray) -> tuple[float, float]:
    """c, and the degrees of freedom of V_targets, for independent families of one size.

    With F ~ (0, 1) per family the deviations are B F, B = diag(w) (1 − 1wᵀ), so that
    E Σ (B F)² = tr BᵀB, where it should be Σ w²; ν = (tr BᵀB)² / tr (BᵀB)².
    """
    deviation = np.diag(shares) - np.outer(shares, shares)  # B, (F, F)
    square = deviation.T @ deviation
    trace = float(np.trace(square))
    if len(shares) < 2:
        return 0.0, 0.0
    scale = float((shares**2).sum()) / trace
    return scale, max(trace**2 / float((square**2).sum()), 1.0)


def _blocks(targets: Sequence[str], families) -> np.ndarray:
    if families is None:
        return np.eye(len(targets))
    if not isinstance(families, Mapping):
        raise ValueError(f"families: expected target → name, found {shown(families)}")
    lacking = [t for t in targets if not isinstance(families.get(t), str)]
    if lacking:
        raise ValueError(f"families: expected every target, found no {listed(lacking)}")
    names = sorted({families[t] for t in targets})
    return np.array([[float(families[t] == name) for name in names] for t in targets])


def at_hand(given) -> Any:
    """Records in a list, as they are looked at twice; all else as it is."""
    rows = isinstance(given, Iterable) and not isinstance(given, (Mapping, str, bytes))
    return list(given) if rows else given


def _scores(argument: str, given) -> Scores:
    """A table with at least one score, all of them Python's own numbers."""
    plain = isinstance(given, Mapping) and not records_in(given)
    table = given if plain else scores_of(given)
    whole = table and all(isinstance(row, Mapping) and row for row in table.values())
    if not whole or (None in table and len(table) > 1):
        raise ValueError(
            f"{argument}: expected scores as training seed → target → points, of one "
            f"method, or as {BY_SEED}, found {shown(given)}"
        )
    return {
        seed: {
            t: check_number(
                f"{argument}, seed {shown(seed)}, target {shown(t)}", x, *RANGE
            )
            for t, x in row.items()
        }
        for seed, row in table.items()
    }


def _paired_seeds(left: Scores, right: Scores) -> list:
    if {None} not in (set(left), set(right)):
        _check_whole("b", "training seeds of a", right, left)
        _check_whole("a", "training seeds of b", left, right)
    return list(right if set(left) == {None} else left)


def _shared_targets(**tables: Scores) -> list[str]:
    rows = [row for table in tables.values() for row in table.values()]
    targets = list(dict.fromkeys(target for row in rows for target in row))
    for argument, table in tables.items():
        for seed, row in table.items():
            _check_whole(argument, f"targets of seed {shown(seed)}", row, targets)
    return targets


def _of(table: Scores, seed):
    return table[None] if set(table) == {None} else table[seed]


def _check_whole(argument: str, what: str, found, expected) -> None:
    lacking = [x for x in expected if x not in found]
    if lacking:
        raise ValueError(
            f"{argument}: expected the {what} to be complete, found none for "
            f"{listed(lacking)}; compute what is missing"
        )
