"""Records of `evaluate`, one per training seed, as the scores of a method."""

import json
from copy import deepcopy

import pytest

from maml_en_llm.runs import mean_interval, paired_difference, scores_of

ASKED = dict(seeds=(13,), max_records=4, mode="direct", k=4, max_length=256)


def record(a: float, b: float, **more) -> dict:
    rows = {"a": {"mean": a, "worst": 0.0}, "b": {"mean": b, "worst": 0.0}}
    return dict(tasks=rows, mean=(a + b) / 2, setting="own", protocol=ASKED, **more)


OURS = {1: record(50.0, 60.0), 2: record(54.0, 61.0)}
RIVAL = {1: record(40.0, 52.0), 2: record(45.0, 49.0)}
TABLES = [
    {seed: {"a": a, "b": b} for seed, a, b in rows}
    for rows in (((1, 50.0, 60.0), (2, 54.0, 61.0)), ((1, 40.0, 52.0), (2, 45.0, 49.0)))
]


def test_evaluations_by_seed_are_a_table():
    assert scores_of(OURS) == TABLES[0]
    assert paired_difference(OURS, RIVAL) == paired_difference(*TABLES)
    assert mean_interval(OURS) == mean_interval(TABLES[0])
    assert paired_difference(OURS, {None: RIVAL[1]}).mean == 10.25
    assert paired_difference(OURS, TABLES[1]) == paired_difference(*TABLES)


def test_a_record_of_a_file_is_asked_as_one_of_this_process():
    theirs = {seed: json.loads(json.dumps(row)) for seed, row in RIVAL.items()}
    assert paired_difference(OURS, theirs) == paired_difference(OURS, RIVAL)


@pytest.mark.parametrize(
    "change, told",
    [
        (dict(max_records=9), "max_records 4 and 9"),
        (dict(seeds=[21]), "seeds .13. and .21."),
        (dict(max_length=99), "max_length 256 and 99"),
    ],
)
def test_evaluations_that_were_asked_otherwise_are_refused(change, told):
    theirs = deepcopy(RIVAL)
    for row in theirs.values():
        row["protocol"].update(change)
    with pytest.raises(ValueError, match=f"a and b: expected rows of one .*{told}"):
        paired_difference(OURS, theirs)
    with pytest.raises(ValueError, match=f"records: expected rows of one .*{told}"):
        scores_of({1: RIVAL[1], 2: theirs[2]})


def test_the_ways_of_asking_of_two_methods_may_differ_but_not_those_of_one():
    theirs = deepcopy(RIVAL)
    for row in theirs.values():
        row["protocol"]["k"] = 0
    assert paired_difference(OURS, theirs).mean == 9.75
    with pytest.raises(ValueError, match="seed 2: expected one way .* k 4 and 0"):
        scores_of({1: OURS[1], 2: theirs[2]})


def test_other_targets_of_a_command_are_refused():
    ours = {seed: row | dict(targets="x") for seed, row in OURS.items()}
    theirs = {seed: row | dict(targets="y") for seed, row in RIVAL.items()}
    with pytest.raises(ValueError, match="targets 'x' and 'y'"):
        paired_difference(ours, theirs)


def test_one_training_is_not_two():
    same = {seed: record(50.0, 60.0, weights="w") for seed in (1, 2)}
    with pytest.raises(ValueError, match="seed 2: .* found the weights of seed 1"):
        scores_of(same)


@pytest.mark.parametrize(
    "given, message",
    [
        (list(OURS.values()), "row 1: expected .* training seed.*{training seed: rec"),
        (OURS[1], "a: expected .* {training seed: record}"),
        ({1: OURS[1], 2: {}}, "seed 2: expected a record of `evaluate`, found {}"),
        ({"1": OURS[1]}, "seed '1': expected a whole number"),
    ],
    ids=["a list", "one record", "an empty one", "a text as seed"],
)
def test_what_is_no_evaluation_by_seed_is_told_the_way(given, message):
    with pytest.raises(ValueError, match=message):
        paired_difference(given, RIVAL)


def test_a_record_from_before_an_option_stands_beside_one_that_leaves_it_off():
    theirs = dict(OURS)
    theirs[2] = OURS[2] | dict(protocol=ASKED | dict(random_labels=False))
    assert scores_of(theirs) == scores_of(OURS)
    theirs[2] = OURS[2] | dict(protocol=ASKED | dict(random_labels=True))
    with pytest.raises(ValueError, match="found random_labels False and True"):
        scores_of(theirs)
