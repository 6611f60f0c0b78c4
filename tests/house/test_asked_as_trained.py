"""What a command says of the form a model is asked in, and where it finds records."""

import json
import os

import pytest

from maml_en_llm import assessment, reproduction
from maml_en_llm.runs import again, workers
from maml_en_llm.runs.published import record_folder
from maml_en_llm.training import TrainConfig
from maml_en_llm.training.card import _asked_so


def trained_so(folder, **fields):
    (folder / "record.json").write_text(json.dumps(dict(config=fields)))
    return str(folder)


def test_a_model_that_is_asked_in_another_form_than_trained_is_told(tmp_path):
    model = trained_so(tmp_path, mode="channel", demonstrations=4, bos=False)
    with pytest.warns(UserWarning, match="--demonstrations 4, --mode channel"):
        assessment._warn_of_other_prompts(TrainConfig(model=model))


def test_a_model_that_is_asked_as_trained_is_not(tmp_path, recwarn):
    model = trained_so(tmp_path, mode="channel", demonstrations=4)
    alike = TrainConfig(model=model, mode="channel", demonstrations=4)
    assessment._warn_of_other_prompts(alike)
    (tmp_path / "record.json").write_text("[1")  # another's, or damaged
    assessment._warn_of_other_prompts(alike)
    assert not recwarn


def test_a_cards_command_asks_as_the_training_did():
    asked = _asked_so(TrainConfig(benchmark="/my/own tasks", mode="channel", bos=True))
    assert asked == " --benchmark 'own tasks' --mode channel --bos"


def test_outside_a_clone_the_published_records_are_checked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    looked = []
    monkeypatch.setattr(again, "stored_records", lambda path: looked.append(path) or [])

    def check():
        with pytest.raises(ValueError, match="--check: expected records in "):
            reproduction.reproduce_command(["--check", "1"])
        return looked[-1]

    assert os.path.samefile(check(), record_folder())
    (tmp_path / "results").mkdir()  # one's own, and the others where it has none
    assert os.path.samefile(check(), record_folder())
    assert os.path.samefile(looked[-2], tmp_path / "results")


def test_workers_share_the_cores_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5}, raising=False)
    assert workers._cores() == 2
