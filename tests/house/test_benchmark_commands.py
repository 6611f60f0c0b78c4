"""benchmarks/: what a command is given is looked at before anything is measured."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from helpers import script

from maml_en_llm.provenance import command as command_line

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Call ``main`` of a script with words, in a folder of its own."""
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()

    def call(name: str, *words: str):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *words])
        script("benchmarks", name).main()

    return call


DATA = ("--data", "d", "--tokenizer", "t")


@pytest.mark.parametrize(
    "words",
    [
        ("evaluation", *DATA, "--record", "folder"),
        ("training", *DATA, "--record", "folder"),
        ("together", "--record", "folder"),
        ("safety_term", "--record", "folder"),
        ("inner_step", "--models", "mini-base", "--record", "folder"),
        ("meta_gradient", "--record", "folder"),
        ("meta_gradient", "--log", "folder"),
        ("real_records", "trained", "a", "b", "folder"),
        ("real_model", "--out", "folder"),
        ("smollm2", "tasks", "folder"),
        ("conditions", "--out", "folder"),
        ("scorecard", "--out", "folder"),
    ],
    ids=" ".join,
)
def test_a_record_that_cannot_be_written_is_refused_first(command, capsys, words):
    with pytest.raises(SystemExit) as stopped:
        command(*words)
    assert stopped.value.code == 2
    assert "expected a file, found a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("evaluation", *DATA, "--records", "0"),
        ("training", *DATA, "--steps", "0"),
        ("together", "--repeats", "0"),
        ("inner_step", "--models", "mini-base", "--record", "r.json", "--tasks", "0"),
        ("meta_gradient", "--repeats", "-1"),
        ("real_model", "--repeats", "0"),
        ("smollm2", "tasks", "out", "--workers", "0"),
        ("conditions", "--jobs", "0"),
    ],
    ids=" ".join,
)
def test_nothing_to_measure_is_refused_first(command, capsys, words):
    with pytest.raises(SystemExit):
        command(*words)
    assert "expected a whole number of at least 1" in capsys.readouterr().err


def test_a_case_whose_process_fails_leaves_a_row(command, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    out = tmp_path / "cases.jsonl"
    words = ("--models", "gpt2", "--lengths", "8", "--steps", "metaicl")
    command("real_model", *words, "--out", str(out))
    _, *rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["rank"] for row in rows] == [0, 8]
    assert {row["failed"] for row in rows} == {"exit 1"}


def test_a_model_without_records_has_no_scorecard(command, capsys, tmp_path):
    with pytest.raises(SystemExit):
        command("scorecard", "--model", "nix", "--out", "card.json")
    assert "--model: expected a model with records" in capsys.readouterr().err
    assert not (tmp_path / "card.json").exists()
    (tmp_path / "conditions-nix.json").write_text(json.dumps({"cells": []}))
    with pytest.raises(SystemExit):
        command("scorecard", "--model", "nix", "--results", str(tmp_path))


def test_a_record_names_no_folder_of_the_machine(monkeypatch):
    words = ["/a/folder/some.py", "--out", "/another/folder/record.json"]
    monkeypatch.setattr(sys, "argv", words)
    about = script("benchmarks", "report").machine("cpu")
    assert about["command"] == "some.py --out record.json"
    words = ["/a/some.py", "--output=/some/lr=1/run", "/some/lr=1", "--lr=1e-3", "a=b"]
    monkeypatch.setattr(sys, "argv", words)
    assert command_line() == "some.py --output=run lr=1 --lr=1e-3 a=b"


def test_a_log_is_reported_as_of_the_machine_it_was_measured_on(command, tmp_path):
    """Also on another one, and where the measuring was cut off."""
    log = tmp_path / "log.jsonl"
    of_log = ("--report", "--log", str(log), "--record", str(tmp_path / "r.json"))
    line = {"case": {}, "method": "reverse", "repeat": 0, "date": "2026-01-01"}
    log.write_text(json.dumps(line) + "\n")
    with pytest.raises(SystemExit, match="expected a first line with the machine"):
        command("meta_gradient", *of_log)
    about = {"gpu": "a card", "bandwidth": 1e9}
    log.write_text(json.dumps({"machine": about}) + "\n" + json.dumps(line) + "\n")
    command("meta_gradient", *of_log)
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["machine"] == about | {"measured": ["2026-01-01"]}


def test_a_distance_is_that_of_all_tensors_in_float64():
    distance = script("benchmarks", "report").distance
    exact = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([[4.0]])}
    found = {"b": torch.tensor([[4.0]]), "a": torch.tensor([3.0, 1e-30]), "c": None}
    # its square is 0 in float32
    assert distance(found, exact) == pytest.approx(2e-31, rel=1e-6, abs=0)
    assert distance(exact, exact) == 0.0
