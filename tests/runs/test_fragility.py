"""How fragile a difference is: cases in which one seed or family decides."""

import pytest

from maml_en_llm.runs.fragility import fragility
from maml_en_llm.runs.statistics import paired_difference

FAMILIES = {f"{family}-{n}": family for family in "abcd" for n in (1, 2)}


def table(points) -> dict:
    """Seed → target → ``points(seed, target)``, five seeds, four families of two."""
    return {s: {t: float(points(s, t)) for t in FAMILIES} for s in range(1, 6)}


def shaken(seed: int, target: str) -> float:
    """A little of each effect, so that no variance is 0."""
    return 0.1 * ((seed * 7 + sum(map(ord, target)) * 3) % 5 - 2)


NOTHING = table(lambda *_: 0)


def test_a_clear_difference_is_turned_by_nothing():
    found = fragility(table(lambda s, t: 5 + shaken(s, t)), NOTHING, FAMILIES)
    assert found.seeds == found.families == ()
    assert found.over_seeds.low > 4
    row = found.as_row()
    assert row["turned_by"] == dict(seeds=[], families=[])
    assert row["over_seeds"]["low"] == pytest.approx(found.over_seeds.low, abs=1e-3)


def test_one_seed_hides_a_difference():
    ours = table(lambda s, t: (5 if s != 4 else -15) + shaken(s, t))
    found = fragility(ours, NOTHING, FAMILIES)
    assert not paired_difference(ours, NOTHING, "both", FAMILIES).decided
    assert found.seeds == (4,) and found.families == ()


def test_one_family_hides_a_difference():
    ours = table(lambda s, t: (5 if t[0] != "c" else -15) + shaken(s, t))
    found = fragility(ours, NOTHING, FAMILIES)
    assert found.families == ("c",) and found.seeds == ()


def test_a_model_that_was_not_trained_is_paired_with_every_seed():
    ours = table(lambda s, t: (5 if s != 4 else -15) + shaken(s, t))
    base = {None: dict.fromkeys(FAMILIES, 0.0)}
    for pair, sign in (((ours, base), 1), ((base, ours), -1)):
        found = fragility(*pair, FAMILIES)
        assert found.seeds == (4,)
        assert sign * found.over_seeds.mean == pytest.approx(1, abs=0.1)


def test_of_one_seed_and_one_family_nothing_can_be_left_out():
    one = {1: {"a-1": 3.0, "a-2": 4.0}}
    found = fragility(one, {1: {"a-1": 0.0, "a-2": 0.0}}, FAMILIES)
    assert found.seeds == found.families == ()
    assert found.as_row()["over_seeds"] == dict(low=None, high=None)


def records(scores: dict, method: str) -> list[dict]:
    about = dict(method=method, setting="s", mode="direct", budget={})
    return [about | dict(seed=seed, tasks=row) for seed, row in scores.items()]


def test_records_are_taken_as_their_scores_are():
    ours = table(lambda s, t: (5 if s != 4 else -15) + shaken(s, t))
    expected = fragility(ours, NOTHING, FAMILIES)
    given = iter(records(ours, "m")), records(NOTHING, "n")
    assert fragility(*given, FAMILIES) == expected


def test_without_families_each_target_is_its_own():
    ours = table(lambda s, t: (5 if t != "c-1" else -25) + shaken(s, t))
    own = {target: target for target in FAMILIES}
    found = fragility(ours, NOTHING)
    assert found == fragility(ours, NOTHING, None) == fragility(ours, NOTHING, own)
    assert found.families == ("c-1",) and found.seeds == ()


@pytest.mark.parametrize(
    ("a", "families", "words"),
    [
        (5, FAMILIES, "records: expected a list of records, found 5"),
        (NOTHING, {"a-1": "a"}, "families: expected every target"),
        (NOTHING, ["a"], "families: expected target → name"),
    ],
)
def test_what_no_difference_is_of_is_refused(a, families, words):
    with pytest.raises(ValueError, match=words):
        fragility(a, NOTHING, families)
