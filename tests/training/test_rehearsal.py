"""What a run cannot write at its end is said before its first step."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import write_model

from maml_en_llm import load_model, train
from maml_en_llm.training import rehearsal

HALF = "\ud83d"  # the first half of an emoji
NO_UTF8 = os.fsdecode(b"caf\xe9")
UNWRITABLE = {
    "half a character in a template": dict(chat_template=f"hi {HALF}"),
    "half a character elsewhere": dict(mine=HALF),
    "a slash in a template's name": dict(
        chat_template=[
            {"name": "a/b", "template": "x"},
            {"name": "default", "template": "y"},
        ]
    ),
    "a template's long name": dict(
        chat_template=[
            {"name": "a" * 300, "template": "x"},
            {"name": "default", "template": "y"},
        ]
    ),
}


def never(step, row):
    raise AssertionError(f"step {step} was made")


def with_settings(config, folder: Path, **settings):
    """The configuration with a model that has ``settings`` of its tokenizer."""
    write_model(folder)
    load_model(folder)[1].save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return replace(config, model=str(folder))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft
@pytest.mark.parametrize("lora", [0, 2], ids=["model", "adapters"])
@pytest.mark.parametrize("settings", UNWRITABLE.values(), ids=UNWRITABLE)
def test_a_tokenizer_that_cannot_be_written(config, tmp_path, settings, lora):
    own = replace(with_settings(config, tmp_path / "own", **settings), lora=lora)
    with pytest.raises(ValueError, match="^tokenizer: expected .* found .*own'.*corr"):
        train(own, output=tmp_path / "run", progress=never)
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_a_model_whose_settings_cannot_be_written(config, tmp_path, monkeypatch):
    def fails(model, part):
        raise TypeError("of a library")

    monkeypatch.setattr(rehearsal, "_save_settings", fails)
    with pytest.raises(ValueError, match=r"^model: .* found '.*' \(of a library\)"):
        train(config, output=tmp_path / "run", progress=never)
    assert not list(tmp_path.iterdir())


def test_names_of_folders_may_be_no_utf8(config, tmp_path):
    tasks, model = tmp_path / NO_UTF8, tmp_path / f"{NO_UTF8}-model"
    shutil.copytree(config.benchmark, tasks)
    write_model(model)
    file, words = model / "config.json", config.model
    own = replace(config, benchmark=str(tasks), model=str(file), tokenizer=words)
    record = train(own, output=tmp_path / "run")
    assert record["losses"] == train(config)["losses"]
    assert r"caf\udce9" in (tmp_path / "run" / "README.md").read_text(encoding="utf-8")


def test_checkpoints_on_another_disk(config, tmp_path):
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second disk")
    place = other / tmp_path.name
    place.mkdir()
    try:
        (tmp_path / "run.checkpoint").symlink_to(place)
        with pytest.raises(ValueError, match="run.checkpoint on the disk of"):
            train(config, output=tmp_path / "run", progress=never)
        assert not list(place.iterdir())
        assert [path.name for path in tmp_path.iterdir()] == ["run.checkpoint"]
    finally:
        shutil.rmtree(place)
