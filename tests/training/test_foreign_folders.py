"""Folders beside a run that hold what is not its own, and arguments that are none."""

import json
import math
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import small_model, write_benchmark, write_model
from torch.nn import DataParallel

from maml_en_llm import checkpoint, meta_train, train
from maml_en_llm.sittings import computed_by
from maml_en_llm.tasks import Example, Task
from maml_en_llm.training import run
from maml_en_llm.training.inner_loop import NOTED


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


FOREIGN = (
    *("last-good-thesis.txt", "output/mine.txt", "output-2", "last-good/mine.txt"),
    *("step-000000001.json-mine", ".output.mine", "output.csv"),
)


@pytest.mark.parametrize("name", FOREIGN)
def test_names_that_only_begin_as_those_of_a_run_are_of_others(config, tmp_path, name):
    mine = tmp_path / "run.checkpoint" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(ValueError, match="holds what is no checkpoint"):
        train(config, output=tmp_path / "run")
    assert mine.read_text() == "mine"


def test_a_pipe_for_a_record_is_no_run(config, tmp_path):
    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run" / "record.json")
    with pytest.raises(ValueError, match="is there already; name a new folder"):
        train(config, output=tmp_path / "run")


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


@pytest.fixture(scope="module", params=[0, 2], ids=["model", "adapters"])
def complete(request, config, tmp_path_factory):
    """A complete run's folder and configuration, of a model or of adapters."""
    folder = tmp_path_factory.mktemp("complete") / "run"
    config = replace(config, lora=request.param)
    train(config, output=folder)
    return folder, config


GOOD = tuple(Example(f"{n} here", "yes") for n in range(30))


def of(**fields):
    """Arguments of `meta_train` with a task of these fields."""
    return dict(tasks=[Task(**{"name": "a", "kind": "classification", **fields})])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-50])


def spoil(path):
    path.write_text("{")


DAMAGES = {
    "a bit of the weights": ("{weights}", flip, "found another, of SHA-256"),
    "weights cut": ("{weights}", cut, "damaged file|found another"),
    "weights gone": ("{weights}", Path.unlink, "expected the weights|found none"),
    "no configuration": ("{config}", Path.unlink, "found none"),
    "half a configuration": ("{config}", spoil, "found another|found an adapter"),
    "no tokenizer": ("tokenizer.json", Path.unlink, "found none"),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft
@pytest.mark.parametrize("old", [False, True], ids=["hashes", "no hashes"])
@pytest.mark.parametrize("name", DAMAGES)
def test_a_complete_run_that_was_damaged_is_none(complete, tmp_path, name, old):
    folder, config = complete
    file, damage, message = DAMAGES[name]
    if old and (damage is flip or file == "tokenizer.json"):
        return  # only hashes tell
    names = ("model.safetensors", "config.json")
    if config.lora:
        names = ("adapter_model.safetensors", "adapter_config.json")
    output = tmp_path / "run"
    shutil.copytree(folder, output)
    if old:
        change_record(output, lambda record: record.pop("files"))
        assert train(config, output=output)["losses"]
        message = "expected"
    file = file.format(weights=names[0], config=names[1])
    damage(output / file)
    with pytest.raises(FileExistsError, match=message) as found:
        train(config, output=output)
    assert re.search(f"^output: .*{file}|weights of the run", str(found.value))
    assert "remove" in str(found.value) and len(str(found.value)) < 480


def change_record(output, change):
    path = output / "record.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    "changes",
    [
        *({"losses": "x"}, {"losses": [1.0]}, {"losses": ["x"] * 4}),
        *({"losses": [bad] * 4} for bad in (math.nan, True, 10**400)),
        *({"inner_loop": bad} for bad in ([1], "x", {"step": [1]}, None)),
        *({"inner_loop": dict.fromkeys(NOTED, bad)} for bad in ([], ["x"], [10**400])),
        *({"files": bad} for bad in (5, {}, [1], {"config.json": None})),
        {"weights": None},
    ],
    ids=str,
)
def test_a_record_that_was_damaged_is_none(complete, tmp_path, changes):
    folder, config = complete
    shutil.copytree(folder, tmp_path / "run")
    change_record(tmp_path / "run", lambda record: record.update(changes))
    expected = f"^output: expected .*{next(iter(changes))}.*record.json, found"
    with pytest.raises(FileExistsError, match=expected) as caught:
        train(config, output=tmp_path / "run")
    assert str(caught.value).count("remove") == 1 and len(str(caught.value)) < 480


def test_a_card_that_was_edited_is_the_users(complete, tmp_path):
    folder, config = complete
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / "README.md").write_text("mine")
    assert train(config, output=tmp_path / "run")["losses"]


def test_examples_that_were_edited_since_are_said(config, tmp_path):
    write_benchmark(tmp_path / "tasks")
    own = replace(config, benchmark=str(tmp_path / "tasks"))
    record = train(own, output=tmp_path / "run")
    assert train(own, output=tmp_path / "run") == record
    write_benchmark(tmp_path / "tasks", n_train=41)
    with pytest.warns(UserWarning, match="complete, and began with other examples"):
        assert train(own, output=tmp_path / "run") == record
    shutil.rmtree(tmp_path / "tasks")  # nothing to compare with
    assert train(own, output=tmp_path / "run") == record


@pytest.mark.parametrize(
    "changes, told",
    [
        (dict(code="older"), "code: 'older' there"),
        (dict(threads=77), "threads: 77 there"),
        (dict(processor="other"), "processor: 'other' there"),
        (dict(versions={"numpy": "9.9"}), "numpy: '9.9' there"),
    ],
    ids=str,
)
def test_other_means_are_said_and_recorded(
    config, tmp_path, monkeypatch, changes, told
):
    def stop(step, row):
        raise KeyError

    monkeypatch.setattr(
        run, "computed_by", lambda device: computed_by(device) | changes
    )
    with pytest.raises(KeyError):
        train(config, output=tmp_path / "run", progress=stop)
    monkeypatch.undo()
    with pytest.warns(UserWarning, match=f"by other means .{told}"):
        record = train(config, output=tmp_path / "run")
    (earlier,) = record["earlier_sittings"]
    assert earlier == earlier | changes


def test_a_run_by_the_same_means_says_nothing(config, tmp_path):
    def stop(step, row):
        raise KeyError

    with pytest.raises(KeyError):
        train(config, output=tmp_path / "run", progress=stop)
    assert "earlier_sittings" not in train(config, output=tmp_path / "run")


@pytest.mark.parametrize("lora", [0, 2])
def test_a_base_that_was_replaced_since_is_said(config, tmp_path, lora):
    write_model(tmp_path / "model")
    own = replace(config, model=str(tmp_path / "model"), lora=lora)
    record = train(own, output=tmp_path / "run")
    assert train(own, output=tmp_path / "run") == record
    write_model(tmp_path / "model", layer_norm_epsilon=1e-3)
    with pytest.warns(UserWarning, match="complete, and began with other settings of"):
        assert train(own, output=tmp_path / "run") == record
    write_model(tmp_path / "model", initializer_range=0.5)
    with pytest.warns(UserWarning, match="complete, and began with other weights"):
        assert train(own, output=tmp_path / "run") == record


def test_older_records_stand_for_support_that_is_not_clipped(complete, tmp_path):
    folder, config = complete
    shutil.copytree(folder, tmp_path / "run")
    change_record(tmp_path / "run", lambda old: old["config"].pop("clip_support"))
    assert train(replace(config, clip_support=False), output=tmp_path / "run")
    with pytest.raises(FileExistsError, match="clip_support: False there, True here"):
        train(replace(config, clip_support=True), output=tmp_path / "run")


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
        (dict(tasks=["a"]), r"tasks\[0\]: expected a Task, found 'a'"),
        (
            dict(tasks=Task("a", "classification")),
            "tasks: expected a list of tasks.* found Task",
        ),
        (dict(tasks="ab"), "tasks: expected a list of tasks.* found 'ab'"),
        (
            dict(tasks={"a": Task("a", "classification")}),
            "tasks: expected a list of tasks",
        ),
        (of(train=({"input": "x"},) * 30), "'a', train.0.: expected Example"),
        (of(train=(("x", "yes"),) * 30), "'a', train.0.: expected Example"),
        (of(train=(*GOOD, None)), "'a', train.30.: expected Example.*found None"),
        (of(train=(*GOOD, Example(None, "y"))), "train.30.: expected a text as input"),
        (of(train=(*GOOD, Example("x", 1))), "train.30.: expected a text as output"),
        (of(train=(*GOOD, Example("\ud800", "y"))), "expected a text as input"),
        (dict(config={}), "config: expected a TrainConfig"),
        (dict(config="cpu"), "config: expected a TrainConfig, found 'cpu'"),
        (dict(model=None), "model: expected a causal language model .* found None"),
        (dict(model=DataParallel(small_model())), "a DataParallel; take its .module"),
        (dict(progress=3), "progress: expected a function"),
    ],
    ids=str,
)
def test_arguments_that_are_none(config, given, message):
    usual = dict(model=None, tokenizer=None, tasks=[], config=config) | given
    with pytest.raises(ValueError, match=message):
        meta_train(**usual)
