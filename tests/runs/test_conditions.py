"""benchmarks/conditions.py: its grid, its table, its bars; it judges by the package."""

import json
import sys
from pathlib import Path

import pytest
from helpers import run_record, script

from maml_en_llm.runs.alive import judge_cell
from maml_en_llm.tasks import load_settings

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def conditions():
    sys.path.insert(0, str(FOLDER))
    try:
        yield script("benchmarks", "conditions")
    finally:
        sys.path.remove(str(FOLDER))


def cell(mode: str, setting: str = "hr_to_lr", trained: float = 65.0):
    same = dict(setting=setting, mode=mode)
    scores = [("random guess", 40), ("majority", 35), ("oracle", 85)]
    scores += [("zero-shot", 42), ("in-context", 55)]
    found = [run_record(*pair, **same) for pair in scores]
    trains = dict(same, steps=320)
    found += [run_record("MetaICL", trained, seed=s, **trains) for s in (1, 2, 3)]
    return judge_cell(found, setting, mode)


def test_every_cell_has_the_rows_that_it_is_judged_by(conditions):
    options = conditions.arguments(["--model", "tiny-base"])
    runs = conditions.runs_of(options)
    assert len({run.hash for run in runs}) == len(runs) == 7 * (3 + 2 * (2 + 6))
    for setting in load_settings("minicrossfit"):
        for mode in ("direct", "channel"):
            mine = [run for run in runs if run.config.setting == setting]
            mine = [run for run in mine if run.config.mode == mode]
            trained = [run for run in mine if run.name == "MetaICL"]
            assert {run.config.seed for run in trained} == {1, 2, 3}
            assert sum(run.evaluation["k"] == 0 for run in trained) == 3
    assert all(len(run.seeds) == 5 and run.max_records is None for run in runs)


def test_names_of_files(conditions, tmp_path):
    options = conditions.arguments(["--model", str(tmp_path / "trial")])
    assert options.out.name == "conditions-trial.json"
    assert options.log.name == "cells-trial.jsonl"


def test_a_table_with_reasons(conditions):
    grey = cell("channel", trained=56.0)
    lines = conditions.table([cell("direct"), grey]).splitlines()
    assert lines[2].endswith("| 65.0 | – | 85.0 | alive |")
    assert "| grey; the best trained model is +1.00 points" in lines[3]


def test_bars(conditions):
    cells = [cell("direct"), cell("channel"), cell("channel", "class_to_class", 56.0)]
    families = {
        "nli": dict(trained=50, base=45, guess=35),
        "size": dict(trained=60, base=90, guess=50),
    }
    found = conditions.bars_of(cells, {"direct": 91.0}, families)
    assert found == [
        "FAIL: alive cells, direct: 1 (at least 7)",
        "FAIL: alive cells, channel: 1 (at least 4)",
        "FAIL: HR→LR and Class→Class among them: 1 (at least 2)",
        "PASS: targets of HR→LR solved, percent: 91 (at least 90)",
        "FAIL: least family (nli), best model − guessing: 15 (at least 20)",
    ]
    assert json.dumps([each.as_row() for each in cells])


def test_what_was_not_measured_is_no_pass(conditions):
    *_, solved, family = conditions.bars_of([cell("direct")], {}, {})
    assert solved == "not measured: targets of HR→LR solved, percent"
    assert family.startswith("not measured: least family")


def test_families_are_scored_by_a_row_that_trains(conditions):
    words = ["--model", "tiny-base", "--families", "FOMAML", "--family-steps", "640"]
    run = conditions.family_run(conditions.arguments(words))
    assert (run.name, run.training.steps, run.config.seed) == ("FOMAML", 640, 1)
    assert (run.config.setting, run.config.mode) == ("hr_to_lr", "direct")
    plain = conditions.family_run(conditions.arguments(["--families"]))
    assert (plain.name, plain.training.steps) == ("MetaICL", 320)
    for wrong in ("oracle", "no such"):
        with pytest.raises(ValueError, match="families|names"):
            conditions.family_run(conditions.arguments(["--families", wrong]))
