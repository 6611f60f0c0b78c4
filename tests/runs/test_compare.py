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
