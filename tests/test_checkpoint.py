"""Checkpoints: what was saved comes back, damage is seen, nothing good is replaced."""

import errno
import json

import pytest
import torch

from maml_en_llm import checkpoint
from maml_en_llm.checkpoint import load_checkpoint, save_checkpoint

TENSORS = {
    "θ/weight": torch.arange(6.0).view(2, 3),
    "moments": torch.zeros(()).expand(3, 4),
    "levels": torch.tensor([1, 255], dtype=torch.uint8),
    "half": torch.tensor([1.5], dtype=torch.bfloat16),
    "double": torch.tensor(1 / 3, dtype=torch.float64),
    "none": torch.empty(0, 3),
}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def damage(path, at=-1):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_what_was_saved_comes_back(tmp_path):
    facts = {"config": {"betas": [0.9, 0.995]}, "rows": [0.1, 1 / 3], "note": "ü\n"}
    save_checkpoint(tmp_path / "deep" / "er", 7, TENSORS, facts)
    step, tensors, found = load_checkpoint(tmp_path / "deep" / "er")
    assert (step, found, tensors.keys()) == (7, facts, TENSORS.keys())
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def test_nothing_saved_is_none(tmp_path):
    assert load_checkpoint(tmp_path) is None
    assert load_checkpoint(tmp_path / "nowhere") is None
    (tmp_path / "step-000000009.safetensors").write_bytes(b"its other half is missing")
    assert load_checkpoint(tmp_path) is None


def test_the_last_two_are_kept(tmp_path):
    for step in (1, 2, 10, 3):  # 3 after 10: the run went back to 2
        save_checkpoint(tmp_path, step, TENSORS, {"n": step})
    assert load_checkpoint(tmp_path)[0] == 3
    assert names(tmp_path) == [
        f"step-00000000{step}.{end}"
        for step in (2, 3)
        for end in ("json", "safetensors")
    ]


@pytest.mark.parametrize("end", ["json", "safetensors"])
@pytest.mark.parametrize("how", ["one bit", "cut", "empty", "gone"])
def test_a_damaged_newest_one_is_named_and_the_one_before_is_used(tmp_path, end, how):
    for step in (1, 2):
        save_checkpoint(tmp_path, step, TENSORS, {"n": step})
    path = tmp_path / f"step-000000002.{end}"
    if how == "one bit":
        damage(path, at=len(path.read_bytes()) // 2)
    elif how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:40] if how == "cut" else b"")
    if (end, how) == ("json", "gone"):  # as if it had never been finished
        assert load_checkpoint(tmp_path)[0] == 1
        return
    with pytest.warns(UserWarning, match="step-000000002.json is damaged"):
        assert load_checkpoint(tmp_path)[2] == {"n": 1}
    save_checkpoint(tmp_path, 2, TENSORS, {"n": 2})
    assert load_checkpoint(tmp_path)[2] == {"n": 2}


@pytest.mark.parametrize("text", ["null", "5", '"x"', "[1]", "{}", "[" * 100_000])
def test_json_that_is_no_checkpoint_is_damage(text, tmp_path):
    for step in (1, 2):
        save_checkpoint(tmp_path, step, TENSORS, {"n": step})
    (tmp_path / "step-000000002.json").write_text(text)
    with pytest.warns(UserWarning, match="step-000000002.json is damaged"):
        assert load_checkpoint(tmp_path)[2] == {"n": 1}


def test_what_a_check_refuses_is_damage(tmp_path):
    def check(step, tensors, facts):
        if facts["n"] == 2:
            raise ValueError(f"step {step} is wrong")

    for step in (1, 2):
        save_checkpoint(tmp_path, step, TENSORS, {"n": step})
    with pytest.warns(UserWarning, match="2.json is damaged .'step 2 is wrong'"):
        assert load_checkpoint(tmp_path, check)[2] == {"n": 1}


def test_all_damaged_is_an_error(tmp_path):
    save_checkpoint(tmp_path, 1, TENSORS, {})
    damage(tmp_path / "step-000000001.json", at=3)
    with (
        pytest.warns(UserWarning, match="damaged"),
        pytest.raises(ValueError, match="found 1 damaged; remove the folder"),
    ):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float64])
def test_what_is_not_finite_replaces_nothing(tmp_path, bad, kind):
    save_checkpoint(tmp_path, 1, TENSORS, {})
    before = names(tmp_path)
    worse = torch.tensor([1.0, bad], dtype=kind)
    with pytest.raises(FloatingPointError, match="w: expected finite .* 1 of 2"):
        save_checkpoint(tmp_path, 2, {**TENSORS, "w": worse}, {})
    assert names(tmp_path) == before and load_checkpoint(tmp_path)[0] == 1


@pytest.mark.parametrize("facts", [{"a": float("nan")}, {"a": {1, 2}}, {"a": tuple}])
def test_facts_are_json(tmp_path, facts):
    with pytest.raises(ValueError, match="facts: expected what JSON can hold"):
        save_checkpoint(tmp_path, 1, TENSORS, facts)
    assert not names(tmp_path)


def fail(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("name", ["write_whole", "save_file", "sync"])
def test_a_full_disk_leaves_the_checkpoints_before(tmp_path, monkeypatch, name):
    for step in (1, 2):
        save_checkpoint(tmp_path, step, TENSORS, {"n": step})
    monkeypatch.setattr(checkpoint, name, fail)
    with pytest.raises(OSError, match="No space left .* before are as they were"):
        save_checkpoint(tmp_path, 3, TENSORS, {})
    monkeypatch.undo()
    assert load_checkpoint(tmp_path)[2] == {"n": 2}
    save_checkpoint(tmp_path, 3, TENSORS, {"n": 3})
    assert load_checkpoint(tmp_path)[2] == {"n": 3} and len(names(tmp_path)) == 4


def test_what_a_killed_writer_left_is_taken_away(tmp_path):
    (tmp_path / ".step-000000005.safetensors.77").write_bytes(b"half")
    (tmp_path / "step-000000005.safetensors").write_bytes(b"whole, but not counted")
    (tmp_path / ".step-000000005.json.x1").write_bytes(b"half")
    save_checkpoint(tmp_path, 6, TENSORS, {})
    assert names(tmp_path) == ["step-000000006.json", "step-000000006.safetensors"]
    assert json.loads((tmp_path / "step-000000006.json").read_text())["step"] == 6


def test_what_the_library_left_when_it_was_killed_is_taken_away(tmp_path):
    left = tmp_path / ".step-000000003.safetensors.77"
    left.mkdir()
    (left / ".tmpAbCdEf").write_bytes(b"half of it")
    (tmp_path / ".step-000000002.json.xyz").write_bytes(b"{")
    save_checkpoint(tmp_path, 4, {"w": torch.ones(3)}, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-000000004.json",
        "step-000000004.safetensors",
    ]


def test_links_to_nothing_are_passed_over(tmp_path):
    """Checkpoints of a disk that is gone: the room for new ones is counted without."""
    save_checkpoint(tmp_path, 4, TENSORS, {})
    (tmp_path / "step-000000003.safetensors").symlink_to(tmp_path / "gone")
    checkpoint.check_room(tmp_path, TENSORS)
    step, *_ = load_checkpoint(tmp_path)
    assert step == 4
