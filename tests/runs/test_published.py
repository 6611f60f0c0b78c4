"""Published records by experiment and model, and what is said of how they were made."""

import json
import math
import sys

import pytest

from maml_en_llm import DataError
from maml_en_llm.runs import (
    compare,
    compute_again,
    inconsistencies,
    made_by,
    published_rows,
    record_file,
    record_folder,
    run_of,
)
from maml_en_llm.runs.again import stored_records
from maml_en_llm.runs.json_lines import read_rows

LOGS = sorted(record_file("mini-base").parent.glob("*.jsonl"))
MOST = 5_000_000  # bytes of a log
ABOUT = dict(device="cpu", seconds=1900.0, command="python -m x")


def record(hash="a", model="mini-base", date="2026-11-26T10:00:00", **more):
    config = dict(model=model, steps=80)
    about = ABOUT | dict(date=date)
    row = dict(hash=hash, method="MetaICL", run=dict(config=config), provenance=about)
    row |= dict(inputs="i", setting="hr_to_lr", mode="direct", seed=1, failed={})
    row |= dict(tasks={"c": 40.0}, unseen=[], mean=40.0)
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
    assert lines[1].startswith("0 by this torch, and this code")
    assert lines[2:] == ["python -m x"]
    other = record("c") | dict(method="FOMAML")
    assert "1.1 hours" in made_by([record(), other])[0]
    assert made_by([]) == ["no records"]


def test_of_many_commands_a_few_are_named():
    rows = [record(str(n)) for n in range(5)]
    rows = [
        r | dict(provenance=r["provenance"] | dict(command=f"c {n}"))
        for n, r in enumerate(rows)
    ]
    told = made_by(rows)[2:]
    assert told[:-1] == ["c 0", "c 1", "c 2"]
    assert told[-1].startswith("2 more commands")
    assert made_by(rows[:4])[2:] == ["c 0", "c 1", "c 2", "c 3"]


def test_long_lines_fold_between_words():
    long = "x" * 100
    command = " ".join(["python -m maml_en_llm --max-records 32", long, "--jobs 2"] * 2)
    row = record()
    told = made_by([row | dict(provenance=row["provenance"] | dict(command=command))])
    assert " ".join(line.strip() for line in told[2:]) == command
    assert all(len(line) <= 79 for line in told if long not in line)
    assert any(line.strip() == long for line in told)


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


WHOLE = record()
DAMAGED = {
    "a bare row": dict(hash="a", inputs="i"),
    **{f"no {part}": {n: x for n, x in WHOLE.items() if n != part} for part in WHOLE},
    **{f"{part} null": WHOLE | {part: None} for part in WHOLE if part != "mean"},
    "no configuration": WHOLE | dict(run={}),
    "no date": WHOLE | dict(provenance=dict(device="cpu", command="x")),
    "hash a number": WHOLE | dict(hash=5),
    "hash half a letter": WHOLE | dict(hash="\ud800"),
    "tasks a list": WHOLE | dict(tasks=[40.0]),
    "tasks of texts": WHOLE | dict(tasks={"c": "40"}),
    "tasks not a number": WHOLE | dict(tasks={"c": math.nan}),
    "tasks of any size": WHOLE | dict(tasks={"c": 10**400}),
    "mean a text": WHOLE | dict(mean="40"),
    "mean of any size": WHOLE | dict(mean=10**400),
    "no tasks but a mean": WHOLE | dict(tasks={}),
}
del DAMAGED["no seconds"], DAMAGED["seconds null"]  # of a row that did not train


@pytest.mark.parametrize("row", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_record_is_named_wherever_records_are_read(row, tmp_path):
    log, table = tmp_path / "E1.jsonl", tmp_path / "baselines.json"
    log.write_text("".join(json.dumps(each) + "\n" for each in (WHOLE, row)))
    with pytest.raises(
        DataError, match=r"/E1\.jsonl:2: expected .*, found .*; rem"
    ) as e:
        published_rows("E1", folder=tmp_path)
    assert len(str(e.value).replace(str(tmp_path), "")) < 400
    with pytest.raises(DataError, match=r"/E1\.jsonl:2: expected"):
        list(stored_records(tmp_path))
    log.unlink()
    table.write_text(json.dumps({"rows": [WHOLE, row]}))
    with pytest.raises(DataError, match=r"/baselines\.json: row 2: expected"):
        list(stored_records(tmp_path))
    for read in (made_by, lambda rows: compute_again(rows, 1)):
        with pytest.raises(DataError, match="(rows|records): row 2: expected"):
            read([WHOLE, row])


@pytest.mark.parametrize(
    "text", ["{", "{}", "[1]", '{"rows": null}', '{"rows": [1]}', "[" * 100_000, "\xff"]
)
def test_a_damaged_file_of_records_is_named(text, tmp_path):
    (tmp_path / "baselines.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"baselines\.json: .*expected"):
        list(stored_records(tmp_path))


@pytest.mark.parametrize("rows", [5, [5], "abc"])
def test_what_are_no_records_is_refused(rows):
    for read in (made_by, lambda rows: compute_again(rows, 1)):
        with pytest.raises(DataError, match="(rows|records): .*expected"):
            read(rows)


@pytest.mark.parametrize("seconds", [math.nan, -1.0, math.inf])
@pytest.mark.parametrize("part", ["seconds", "asked_seconds"])
def test_hours_are_those_of_numbers(part, seconds):
    with pytest.raises(ValueError, match=f"rows: row 2: {part}: expected a finite"):
        made_by([WHOLE, WHOLE | {part: seconds}])


BAD_CHECK = {
    "date": [5, "nonsense", ""],
    "seconds": ["x", None, -1, math.nan],
    "device": ["gpu", "", 5],
}


@pytest.mark.parametrize(
    "name, value", [(name, x) for name, values in BAD_CHECK.items() for x in values]
)
def test_a_check_that_cannot_be_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected"):
        compute_again([WHOLE], 1, **{name: value})


def test_a_broken_seal_is_said_once(monkeypatch):
    row = read_rows(record_file("E1"))[0] | dict(asked_seconds=1e6)
    again = sys.modules["maml_en_llm.runs.again"]
    monkeypatch.setattr(again, "is_here", lambda *_: True)
    monkeypatch.setattr(again, "reproduce", lambda *_: [row])
    found = compute_again([row], 1, seconds=1e9)
    assert [each.what for each in found.differences] == ["seal"]


def test_the_record_of_a_trial_is_compared_by_its_held_nll():
    row = read_rows(record_file("tuning-wider"))[0]
    assert compare([row], [row], 0.0) == []


def test_there_are_published_records():
    assert {"tuning", "cells", "E1", "E2"} <= {path.stem for path in LOGS}


def test_the_folder_of_records_is_the_named_one_or_that_of_the_published(tmp_path):
    assert record_folder() == record_file("mini-base").parent
    assert record_folder(str(tmp_path)) == record_folder(tmp_path) == tmp_path


@pytest.mark.parametrize("records", ["", "nowhere", 3, True, (), __file__, "a" * 5000])
def test_what_is_no_folder_of_records_is_refused_in_one_line(records):
    with pytest.raises(ValueError, match="records: expected a folder.*None") as refused:
        record_folder(records)
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match="records: expected a folder.*None"):
        published_rows("E1", folder=records)


@pytest.mark.parametrize("name", [5, None, "", "../E1", "E\0", "E" * 5000, "\ud800"])
def test_what_is_no_name_of_an_experiment_is_refused(name):
    with pytest.raises(ValueError, match="experiment: expected a name.*found"):
        published_rows(name)
