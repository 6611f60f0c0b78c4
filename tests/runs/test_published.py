"""Published records by experiment and model, and what is said of how they were made."""

import json

import pytest

from maml_en_llm.runs import (
    inconsistencies,
    made_by,
    published_rows,
    record_file,
    record_folder,
    run_of,
)
from maml_en_llm.runs.json_lines import read_rows

LOGS = sorted(record_file("mini-base").parent.glob("*.jsonl"))
MOST = 5_000_000  # bytes of a log
ABOUT = dict(device="cpu", seconds=1900.0, command="python -m x")


def record(hash="a", model="mini-base", date="2026-11-26T10:00:00", **more):
    config = dict(model=model, steps=80)
    about = ABOUT | dict(date=date)
    row = dict(hash=hash, method="MetaICL", run=dict(config=config), provenance=about)
    return row | dict(asked_seconds=100.0, seconds=1800.0) | more


def test_the_newest_of_each_run_on_one_base_model(tmp_path):
    rows = [
        record(mean=1),
        record("b", model="tiny-base"),
        record(mean=2),
        record("c", mean=3),
    ]
    (tmp_path / "E1.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert [row["mean"] for row in published_rows("E1", folder=tmp_path)] == [2, 3]
    assert len(published_rows("E1", "tiny-base", tmp_path)) == 1
    assert published_rows("E2", folder=tmp_path) == []


def test_a_training_that_several_rows_share_is_counted_once():
    lines = made_by([record(), record("b", date="2026-11-27T10:00:00")])
    assert lines[0].startswith("2 records of 2026-11-26 to 2026-11-27, cpu, 0.6 hours")
    assert lines[1].startswith("0 made by this code")
    assert lines[2:] == ["python -m x"]
    other = record("c") | dict(method="FOMAML")
    assert "1.1 hours" in made_by([record(), other])[0]
    assert made_by([]) == ["no records"]


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_published_records_are_as_they_were_made(path):
    rows = read_rows(path)
    assert rows and path.stat().st_size < MOST
    for row in rows:
        assert inconsistencies(row) == []
        assert run_of(row).hash == row["hash"]
        about = row["provenance"]
        assert {"device", "date", "command", "code", "seconds"} <= about.keys()
        # no folder but the project's own, for records and for what is built
        command = about["command"].replace(" results/", " ").replace(" ./_build/", " ")
        assert "/" not in command
    scored = next(row for row in rows if row["mean"] is not None or row["held"])
    changed = scored | {"mean": (scored["mean"] or 0) + 1}
    assert inconsistencies(changed), "a changed number goes unnoticed"


def test_there_are_published_records():
    assert {"tuning", "cells", "E1", "E2"} <= {path.stem for path in LOGS}


def test_the_folder_of_records_is_the_named_one_or_that_of_the_published(tmp_path):
    assert record_folder() == record_file("mini-base").parent
    assert record_folder(str(tmp_path)) == record_folder(tmp_path) == tmp_path


@pytest.mark.parametrize("records", ["", "nowhere", 3, True, (), __file__])
def test_what_is_no_folder_of_records_is_refused_in_one_line(records):
    with pytest.raises(ValueError, match="records: expected a folder.*None") as refused:
        record_folder(records)
    assert "\n" not in str(refused.value)
