"""Published records by experiment and model, and what is said of how they were made."""

import json

from maml_en_llm.runs import made_by, published

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
    assert [row["mean"] for row in published("E1", folder=tmp_path)] == [2, 3]
    assert len(published("E1", "tiny-base", tmp_path)) == 1
    assert published("E2", folder=tmp_path) == []


def test_a_training_that_several_rows_share_is_counted_once():
    lines = made_by([record(), record("b", date="2026-11-27T10:00:00")])
    assert lines[0].startswith("2 records of 2026-11-26 to 2026-11-27, cpu, 0.6 hours")
    assert lines[1].startswith("0 made by this code")
    assert lines[2:] == ["python -m x"]
    other = record("c") | dict(method="FOMAML")
    assert "1.1 hours" in made_by([record(), other])[0]
    assert made_by([]) == ["no records"]
