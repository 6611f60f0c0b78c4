"""Comparing takes records only: rows that are none are named."""

import pytest

from maml_en_llm import DataError
from maml_en_llm.runs import compare

RECORD = dict(hash="h", mean=40.0, unseen_mean=None, tasks={"c": 40.0}, unseen=[])

NO_RECORDS = {
    "no hash": {n: v for n, v in RECORD.items() if n != "hash"},
    "no scores": {n: v for n, v in RECORD.items() if n != "tasks"},
    "no unseen": {n: v for n, v in RECORD.items() if n != "unseen"},
    "a failed run": dict(hash="h", error="out of memory"),
    "texts for scores": RECORD | dict(tasks={"c": "40"}),
    "a long list": [1] * 9999,
    "nothing": None,
    "numbers for names": RECORD | dict(tasks={1: 40.0}),
}
ODD = {  # of a row that is nearly a record, what is expected
    "unseen a number": (dict(unseen=5), "a list of names in 'unseen'"),
    "unseen a text": (dict(unseen="c"), "a list of names in 'unseen'"),
    "unseen none": (dict(unseen=None), "a list of names in 'unseen'"),
    "unseen of lists": (dict(unseen=[["c"]]), "a list of names in 'unseen'"),
    "mean a text": (dict(mean="1"), "a number, or null, in the record: mean"),
    "worst a list": (dict(worst=[1.0]), "a number, or null, in the record: worst"),
    "held a text": (dict(held="x"), "a number, or null, in held: nll"),
    "held of texts": (dict(held={"nll": "x"}), "a number, or null, in held: nll"),
    "budget a text": (dict(budget="x"), "a number, or null, in budget: outer_steps"),
    "budget a number": (dict(budget=3), "a number, or null, in budget: outer_steps"),
    "budget of lists": (
        dict(budget={"gradients": [1]}),
        "a number, or null, in budget: gradients",
    ),
}


@pytest.mark.parametrize("row", NO_RECORDS.values(), ids=NO_RECORDS)
def test_a_row_that_is_no_record_is_named(row):
    assert compare([RECORD], [RECORD], 0.0) == []
    message = "row 2: expected a record with its hash.* found"
    with pytest.raises(DataError, match=f"^stored: {message}") as found:
        compare([RECORD, row], [RECORD], 1.0)
    assert len(str(found.value)) < 450
    with pytest.raises(DataError, match=f"^found: {message}"):
        compare([RECORD], [RECORD, row], 1.0)


@pytest.mark.parametrize(("changes", "message"), ODD.values(), ids=ODD)
def test_a_record_with_an_odd_part_is_named(changes, message):
    row = RECORD | dict(hash="g") | changes
    with pytest.raises(DataError, match=f"^stored: row 2: expected {message}, found"):
        compare([RECORD, row], [RECORD], 1.0)
    with pytest.raises(DataError, match=f"^found: row 1: expected {message}, found"):
        compare([RECORD], [row], 1.0)


def test_what_records_may_leave_out():
    row = RECORD | dict(held=None, budget={}, worst=None, unseen=())
    assert compare([RECORD], [row], 0.0) == []


@pytest.mark.parametrize("rows", [None, 5])
def test_what_holds_no_records_is_named(rows):
    with pytest.raises(DataError, match="^stored: expected a list of records, found"):
        compare(rows, [RECORD], 1.0)
    with pytest.raises(DataError, match="^found: expected a list of records, found"):
        compare([RECORD], rows, 1.0)


def test_one_hash_stands_once_in_what_is_stored():
    other = RECORD | dict(mean=90.0, tasks={"c": 90.0})
    with pytest.raises(
        DataError, match="^stored: expected each hash once, found h more"
    ):
        compare([other, RECORD], [RECORD], 1.0)
    assert compare([RECORD], [RECORD, RECORD], 0.0) == []
