"""Intervals: closed cases, refusals, and how often they hold the truth."""

import math

import numpy as np
import pytest

from maml_en_llm.runs import Interval, mean_interval, paired_difference, scores_of
from maml_en_llm.runs.statistics import student

SIZES = [3] * 7 + [2] * 3 + [1] * 4  # targets per family: 31 targets, 14 families
FAMILY = np.repeat(np.arange(len(SIZES)), SIZES)
TARGETS = [f"target-{n}" for n in range(len(FAMILY))]
FAMILIES = {name: f"family-{f}" for name, f in zip(TARGETS, FAMILY, strict=True)}


def table(values, first_seed: int = 1) -> dict:
    """(S, T) as seed → target → score."""
    return {
        seed: {f"t{n}": float(x) for n, x in enumerate(row)}
        for seed, row in enumerate(values, first_seed)
    }


def zeros(like: dict) -> dict:
    return {seed: dict.fromkeys(row, 0.0) for seed, row in like.items()}


# --- Student's t ---


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
def test_student_where_it_has_a_closed_form(level):
    p = (1 + level) / 2
    assert student(1, level) == pytest.approx(math.tan(math.pi * (p - 0.5)), rel=1e-5)
    two = (2 * p - 1) * math.sqrt(2 / (4 * p * (1 - p)))
    assert student(2, level) == pytest.approx(two, rel=1e-5)
    a = 4 * p * (1 - p)
    root = math.cos(math.acos(math.sqrt(a)) / 3) / math.sqrt(a)
    assert student(4, level) == pytest.approx(2 * math.sqrt(root - 1), rel=1e-5)


def test_student_becomes_normal_and_falls_with_its_degrees():
    for freedom in (1e6, 1e8, 1e12, 1e16, 1e20):
        assert student(freedom) == pytest.approx(1.959964, abs=1e-5)
    found = [student(freedom) for freedom in (1, 1.5, 2, 3.3, 10, 29.9, 31, 200)]
    assert found == sorted(found, reverse=True)


def test_student_at_the_highest_level_and_not_beyond():
    level = 0.9999
    exact = level * math.sqrt(2 / (1 - level**2))  # ν = 2
    assert student(2, level) == pytest.approx(exact, rel=1e-4)
    with pytest.raises(ValueError, match="level: .*at most 0.9999, found 0.999999"):
        student(2, 0.999999)


# --- closed cases ---


@pytest.mark.parametrize("over", ["targets", "seeds", "both"])
def test_the_rounding_of_a_sum_decides_nothing(over):
    """0.1 + 0.2 is 5.6e-17 more than 0.3, of every seed and target alike."""
    one, other = (table(np.full((3, 4), 100 * x)) for x in (0.1 + 0.2, 0.3))
    for pair in ((one, other), (other, one)):
        found = paired_difference(*pair, over)
        assert 0 < abs(found.mean) < 1e-13 and not found.decided


def test_the_last_digit_that_is_judged_decides():
    for mean, decided in ((1e-9, True), (4e-10, False), (0.0, False)):
        for sign in (1, -1):
            found = Interval(sign * mean, sign * mean, sign * mean, 3, 4)
            assert found.decided == decided
    assert not Interval(1.0, -math.inf, math.inf, 1, 4).decided


def test_over_seeds_is_a_t_interval_of_the_seeds_means():
    a = table([[1, 2, 3], [3, 4, 8], [0, 2, 1], [5, 5, 5]])
    means = np.array([2, 5, 1, 5])
    half = student(3) * means.std(ddof=1) / 2
    found = paired_difference(a, zeros(a), over="seeds")
    assert (found.mean, found.half) == pytest.approx((3.25, half))
    assert (found.n_seeds, found.n_targets) == (4, 3)
    assert found.low == pytest.approx(3.25 - half)


def test_over_targets_is_a_t_interval_of_the_targets_means():
    a = table([[1, 2, 3, 9], [3, 4, 8, 2]])
    means = np.array([2, 3, 5.5, 5.5])
    half = student(3) * means.std(ddof=1) / 2
    found = paired_difference(a, zeros(a), over="targets")
    assert (found.mean, found.half) == pytest.approx((4, half))


def test_families_of_one_size_are_like_targets():
    rows = np.arange(12).reshape(2, 6) ** 1.5
    families = {f"t{n}": f"{n // 2}" for n in range(6)}
    pairs = table(rows.reshape(2, 3, 2).mean(2))
    for over in ("targets", "both"):
        blocks = mean_interval(table(rows), over, families)
        alone = mean_interval(pairs, over)
        assert (blocks.mean, blocks.half) == pytest.approx((alone.mean, alone.half))
        assert blocks.n_targets == 6


def test_families_widen_where_their_targets_agree():
    rows = np.repeat([[1.0, 5.0, 2.0, 9.0]], 3, axis=0).repeat(3, axis=1)  # 4 × 3
    families = {f"t{n}": f"{n // 3}" for n in range(12)}
    blocks, apart = (mean_interval(table(rows), "targets", f) for f in (families, None))
    assert blocks.half > 1.5 * apart.half


def test_without_rest_the_variances_of_seeds_and_targets_add_up():
    seeds, targets = np.array([1.0, 4.0, -2.0]), np.array([3.0, 0.0, 8.0, 1.0])
    rows = seeds[:, None] + targets
    found = mean_interval(table(rows), "both")
    of_seeds, of_targets = seeds.var(ddof=1) / 3, targets.var(ddof=1) / 4
    total = of_seeds + of_targets
    freedom = total**2 / (of_seeds**2 / 2 + of_targets**2 / 3)
    assert found.half == pytest.approx(student(freedom) * math.sqrt(total))


def test_identical_rows_have_no_width():
    same = table([[2.0] * 4] * 3)
    for over in ("targets", "seeds", "both"):
        found = paired_difference(same, zeros(same), over)
        assert (found.low, found.mean, found.high) == (2, 2, 2) and found.decided
    one = table([[1, 5, 2], [3, 3, 3]])
    found = paired_difference(one, one)
    assert (found.low, found.high) == (0, 0) and not found.decided


def test_pairs_take_out_what_both_share():
    rng = np.random.default_rng(0)
    shared = 30 * rng.standard_normal((1, 20))
    a = table(shared + 1 + 0.1 * rng.standard_normal((3, 20)))
    b = table(shared + 0.1 * rng.standard_normal((3, 20)))
    assert paired_difference(a, b).half < 1 < mean_interval(a).half


def test_one_seed_and_one_family_say_nothing_of_others():
    one_seed = table([[1, 2, 3]])
    for over in ("seeds", "both"):
        found = mean_interval(one_seed, over)
        assert (found.mean, found.low, found.high) == (2, -math.inf, math.inf)
        assert not found.decided and "inf" in str(found)
    assert math.isfinite(mean_interval(one_seed, "targets").half)
    rows = table([[1, 2], [3, 5], [2, 2]])
    family = {"t0": "f", "t1": "f"}
    for over in ("targets", "both"):
        assert mean_interval(rows, over, family).half == math.inf
    assert math.isfinite(mean_interval(rows, "seeds", family).half)


def test_the_order_of_seeds_and_targets_does_not_matter():
    a = table([[1, 7, 3], [2, 2, 9]])
    b = table([[0, 4, 4], [1, 8, 2]])
    mixed = {s: dict(reversed(b[s].items())) for s in (2, 1)}
    assert paired_difference(a, b) == paired_difference(a, mixed)


def test_an_untrained_model_is_paired_with_every_seed():
    a = table([[1, 2], [3, 5]])
    base = {None: {"t0": 1.0, "t1": 0.0}}
    found = paired_difference(a, base, "seeds")
    assert (found.mean, found.n_seeds) == (2.25, 2)
    assert paired_difference(base, a, "seeds").mean == -2.25
    assert paired_difference(base, base, "targets").n_seeds == 1


def test_records_of_a_log():
    tasks = {"x": 1.0, "y": 2.0}
    trained = [dict(seed=s, tasks=tasks, budget={}) for s in (1, 2)]
    assert scores_of(trained) == {1: tasks, 2: tasks}
    assert scores_of([dict(seed=1, tasks=tasks)]) == {None: tasks}
    assert paired_difference(trained, [dict(seed=1, tasks=tasks)]).mean == 0
    assert str(Interval(1.25, -0.75, 3.25, 2, 2)) == "+1.2 ± 2.0"


# --- coverage ---

# standard deviations of seed, family, target, seed × family, rest
MIXTURES = {
    "even": (2, 4, 3, 1, 4),
    "seeds": (4, 0.5, 0.5, 0.5, 1),
    "families": (0.3, 5, 1, 0.3, 1),
    "rest": (1, 3, 4, 1, 5),
}


def draws(mixture, n_draws: int, n_seeds: int) -> np.ndarray:
    """(draws, seeds, targets) with mean 0."""
    rng = np.random.default_rng(7)
    of_seed, of_family, of_target, of_both, rest = mixture
    n_targets, n_families = len(FAMILY), len(SIZES)

    def normal(size, *shape):
        return size * rng.standard_normal((n_draws, *shape))

    return (
        normal(of_seed, n_seeds, 1)
        + normal(of_family, 1, n_families)[:, :, FAMILY]
        + normal(of_target, 1, n_targets)
        + normal(of_both, n_seeds, n_families)[:, :, FAMILY]
        + normal(rest, n_seeds, n_targets)
    )


@pytest.mark.parametrize("n_seeds", [3, 5, 8])
@pytest.mark.parametrize("mixture", MIXTURES.values(), ids=MIXTURES)
def test_95_percent_of_intervals_hold_the_truth(mixture, n_seeds):
    found = draws(mixture, 600, n_seeds)
    hits = 0
    for rows in found:
        scores = {
            seed: dict(zip(TARGETS, map(float, row), strict=True))
            for seed, row in enumerate(rows)
        }
        interval = mean_interval(scores, "both", FAMILIES)
        hits += interval.low <= 0 <= interval.high
    # 94–96% are held by 2,000 draws (see `paired_difference`); of 600 draws at 95% the
    # share has a standard deviation of 0.9 points
    assert 0.94 - 2 * 0.009 <= hits / len(found) <= 0.96 + 2 * 0.009


# --- refusals ---

GOOD = table([[1, 2], [3, 4]])
BAD = {
    "seed that b lacks": ((GOOD, {1: GOOD[1]}), "b: .* found none for 2"),
    "seed that a lacks": (
        ({1: GOOD[1]}, GOOD),
        "a: expected the training seeds of b to be complete, found none for 2",
    ),
    "target that b lacks": (
        (GOOD, {1: {"t0": 1.0}, 2: GOOD[2]}),
        "b: expected the targets of seed 1 to be complete, .* for t1",
    ),
    "target that one seed lacks": (
        ({1: GOOD[1], 2: {"t0": 1.0}}, GOOD),
        "a: .* seed 2 .* for t1",
    ),
    "target more": (
        (GOOD, {1: GOOD[1] | {"t9": 1.0}, 2: GOOD[2]}),
        "a: .* seed 1 .* for t9",
    ),
    "no scores": (({}, GOOD), "a: expected scores as training seed → target"),
    "no targets": (({1: {}}, GOOD), "a: expected scores as training seed → target"),
    "numbers": (({1: 3.0}, GOOD), "a: expected scores as training seed → target"),
    "text": (({1: {"t0": "7"}}, GOOD), "a, seed 1, target 't0': .* found '7'"),
    "not a number": (
        (GOOD, {1: GOOD[1], 2: {"t0": math.nan, "t1": 1.0}}),
        "b, seed 2, target 't0': expected a finite number, .*, found nan",
    ),
    "infinite": (
        ({1: {"t0": math.inf}}, GOOD),
        "a, seed 1, target 't0': expected a finite number, .*, found inf",
    ),
    "a size that no score has": (
        ({1: {"t0": 1e200, "t1": 0}, 2: {"t0": 0, "t1": -1e200}}, GOOD),
        "a, seed 1, target 't0': expected a finite number.* at most .*, found 1e.200",
    ),
    "two methods": (
        ({None: GOOD[1], 1: GOOD[1]}, GOOD),
        "a: expected scores .* of one method",
    ),
    "over": ((GOOD, GOOD, "target"), "over: .* found 'target'; nearest: targets"),
    "a target without family": (
        (GOOD, GOOD, "both", {"t0": "f"}),
        "families: expected every target, found no t1",
    ),
    "families a list": (
        (GOOD, GOOD, "both", ["t0", "t1"]),
        "families: expected target → name, found .'t0', 't1'.",
    ),
    "a family that is none": (
        (GOOD, GOOD, "both", {"t0": "f", "t1": None}),
        "families: expected every target, found no t1",
    ),
    "a family that is a list": (
        (GOOD, GOOD, "both", {"t0": "f", "t1": ["f"]}),
        "families: expected every target, found no t1",
    ),
    "nothing": ((GOOD, None), "records: expected a list of records, found None"),
    "a number": ((5, GOOD), "records: expected a list of records, found 5"),
    "letters": (("abc", GOOD), "records: row 1: expected a record .* found 'a'"),
    "no record": (([{}], GOOD), "records: row 1: expected a record .* found {}"),
    "tasks in a list": (
        ([dict(tasks=[1, 2])], GOOD),
        "records: row 1: expected a record with its tasks' scores by name, found",
    ),
    "a budget without seed": (
        ([dict(tasks={"t0": 1.0}, budget={})], GOOD),
        "records: row 1: seed: expected a whole number of at least 0, found None",
    ),
    "a seed in a list": (
        ([dict(tasks={"t0": 1.0}, budget={}, seed=[1])], GOOD),
        "records: row 1: seed: expected a whole number",
    ),
}


@pytest.mark.parametrize(("given", "message"), BAD.values(), ids=BAD)
def test_bad_input(given, message):
    with pytest.raises(ValueError, match=message) as caught:
        paired_difference(*given)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(("kind", "least"), [(np.int8, -100), (np.uint8, 1)])
def test_numbers_of_other_libraries_do_not_wrap_around(kind, least):
    high, low = ({s: {t: kind(x) for t in "ab"} for s in (1, 2)} for x in (100, least))
    assert paired_difference(high, low).mean == 100 - least
    assert paired_difference(low, high).mean == least - 100


def test_records_of_two_methods_are_refused():
    rows = [dict(seed=1, tasks={"x": 1.0}, budget={})] * 2
    with pytest.raises(ValueError, match="records: .* found two of seed 1"):
        scores_of(rows)


@pytest.mark.parametrize("given", [None, 5, "abc", [], [{}]])
def test_an_interval_needs_scores(given):
    with pytest.raises(ValueError, match="(records|scores): .*expected .*, found"):
        mean_interval(given)


@pytest.mark.parametrize("part", ["method", "mode"])
def test_records_of_two_methods_or_modes_are_no_table(part):
    one = {"seed": 1, "budget": {}, "method": "a", "mode": "direct", "tasks": {"t": 1}}
    other = one | {"seed": 2}
    assert scores_of([one, other]) == {1: {"t": 1}, 2: {"t": 1}}
    with pytest.raises(ValueError, match="^records: expected one per .* and .*'b'"):
        scores_of([one, other | {part: "b"}])


def test_the_seed_that_lacks_a_target_is_named():
    with pytest.raises(ValueError, match="^scores: .* targets of seed 1 .* for b; "):
        mean_interval({1: {"a": 1.0}, 2: {"a": 1.0, "b": 2.0}})


def test_records_without_a_seed_may_be_given_as_a_table():
    rows = [dict(tasks={"x": 1.0})] * 2
    message = "found two of seed None; .*, or pass {seed: {target: score}}$"
    with pytest.raises(ValueError, match=message):
        scores_of(rows)


def test_names_and_seeds_of_any_length_are_cut():
    long, large = "t" * 10**5, 10**4400
    for table in ({1: {"a": 1.0}, 2: {long: 1.0}}, {1: {"a": 1.0}, large: {"b": 1.0}}):
        with pytest.raises(ValueError, match="^scores: ") as found:
            mean_interval(table)
        assert len(str(found.value)) < 400
    with pytest.raises(ValueError, match="^a, seed a int, target") as found:
        paired_difference({large: {long: "x"}}, {1: {"a": 1.0}})
    assert len(str(found.value)) < 400
    with pytest.raises(ValueError, match="^b: expected the training seeds") as found:
        paired_difference({large: {"a": 1.0}}, {1: {"a": 1.0}})
