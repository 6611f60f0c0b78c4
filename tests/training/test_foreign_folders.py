"""Folders beside a run that hold what is not its own, and arguments that are none."""

import os
import shutil

import pytest

from maml_en_llm import checkpoint, meta_train, train
from maml_en_llm.tasks import Task
from maml_en_llm.training import folder as run_folder


def test_files_of_others_among_the_checkpoints_are_left_alone(config, tmp_path):
    beside = tmp_path / "run.checkpoint"
    beside.mkdir()
    (beside / "mine").write_text("mine")
    with pytest.raises(ValueError, match="holds what is no checkpoint .mine"):
        train(config, output=tmp_path / "run")
    shutil.move(beside, tmp_path / "away")
    record = train(config, output=tmp_path / "run")
    shutil.move(tmp_path / "away", beside)
    assert train(config, output=tmp_path / "run")["losses"] == record["losses"]
    assert (beside / "mine").read_text() == "mine"


@pytest.mark.parametrize("kind", ["file", "link"])
def test_something_where_checkpoints_would_lie(config, tmp_path, kind):
    beside = tmp_path / "run.checkpoint"
    beside.write_text("mine") if kind == "file" else beside.symlink_to("nowhere")
    with pytest.raises(ValueError, match="is no folder of checkpoints"):
        train(config, output=tmp_path / "run")
    assert os.path.lexists(beside)


def test_a_record_without_its_weights_is_no_complete_run(config, tmp_path):
    train(config, output=tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="expected the weights of the run"):
        train(config, output=tmp_path / "run")


def test_other_code_is_said_and_recorded(config, tmp_path, monkeypatch):
    def stop(step, row):
        raise KeyError

    monkeypatch.setattr(run_folder, "code_hash", lambda: "older")
    with pytest.raises(KeyError):
        train(config, output=tmp_path / "run", progress=stop)
    monkeypatch.undo()
    with pytest.warns(UserWarning, match="made by other code"):
        record = train(config, output=tmp_path / "run")
    assert [row["code"] for row in record["earlier_sittings"]] == ["older"]


def test_a_disk_that_takes_no_large_file_is_found_first(config, tmp_path, monkeypatch):
    def too_large(*_):
        raise OSError(27, "File too large")

    monkeypatch.setattr(checkpoint.os, "posix_fallocate", too_large)
    with pytest.raises(ValueError, match="of room for .* found File too large"):
        train(config, output=tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "given, message",
    [
        (dict(tasks=None), "tasks: expected a list of tasks"),
        (dict(tasks=["a"]), "tasks: expected a list of tasks"),
        (
            dict(tasks=Task("a", "classification")),
            "tasks: expected a list of tasks.* found Task",
        ),
        (dict(tasks="ab"), "tasks: expected a list of tasks.* found 'ab'"),
        (
            dict(tasks={"a": Task("a", "classification")}),
            "tasks: expected a list of tasks",
        ),
        (dict(config={}), "config: expected a TrainConfig"),
        (dict(config="cpu"), "config: expected a TrainConfig, found 'cpu'"),
        (dict(model=None), "model: expected one of load_model"),
        (dict(progress=3), "progress: expected a function"),
    ],
    ids=str,
)
def test_arguments_that_are_none(config, given, message):
    usual = dict(model=None, tokenizer=None, tasks=[], config=config) | given
    with pytest.raises(ValueError, match=message):
        meta_train(**usual)
