"""tiny-base: the shipped weights are the published ones, and pre-training repeats."""

import json
import math
import os
import shutil
import signal
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
from helpers import content

from maml_en_llm import load_model, tensors
from maml_en_llm.base import SHIPPED, PretrainConfig
from maml_en_llm.base import pretrain as run_pretraining
from maml_en_llm.base.corpus import (
    NEWLINES,
    PAD,
    PUNCTUATION,
    TEXT_KINDS,
    build_tokenizer,
    text,
)
from maml_en_llm.base.model import count_parameters
from maml_en_llm.base.pretrain import add_newlines, batch, build_model
from maml_en_llm.base.probes import held_out_loss, probes
from maml_en_llm.checkpoint import load_checkpoint, save_checkpoint
from maml_en_llm.minicrossfit import Draw
from maml_en_llm.provenance import weights_hash
from maml_en_llm.signals import Interrupted
from maml_en_llm.sittings import computed_by
from maml_en_llm.sources import code_hash

pretraining = sys.modules["maml_en_llm.base.pretrain"]

RECORD = Path(__file__).parents[2] / "results/tiny-base.json"
SMALL = PretrainConfig(
    layers=1, width=16, heads=2, steps=24, tokens=256, lengths=(16, 32), warmup=5
)


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text())


def test_a_pretraining_says_what_it_was_made_by(tmp_path, monkeypatch):
    def other(device):
        return computed_by(device) | {"code": "older"}

    small = replace(SMALL, steps=4)
    whole = run_pretraining(small, tmp_path / "whole")
    assert whole["code"] == code_hash() and "earlier_sittings" not in whole
    monkeypatch.setattr(pretraining, "computed_by", other)
    run_pretraining(small, tmp_path / "cut", stop=2, every=1)
    monkeypatch.undo()
    with pytest.warns(UserWarning, match="by other means .code: 'older' there"):
        record = run_pretraining(small, tmp_path / "cut")
    assert [one["code"] for one in record["earlier_sittings"]] == ["older"]
    assert record["weights"] == whole["weights"]


@pytest.fixture(scope="module")
def tiny():
    return load_model("tiny-base")


@pytest.mark.numeric
def test_the_shipped_weights_are_those_of_the_record(tiny, record):
    model, tokenizer = tiny
    assert weights_hash(model) == record["weights"]
    loss = held_out_loss(model, tokenizer)
    lost = abs(loss - held_out_loss(deepcopy(model).double(), tokenizer))
    # the record's was summed in another order, over rows that float32 rounds each alike
    assert abs(loss - record["probes"][-1]["loss"]) <= 10 * max(lost, 2**-23 * loss)
    assert (
        sum(p.numel() for p in model.parameters()) == record["parameters"] <= 3_000_000
    )
    assert (
        sum(path.stat().st_size for path in SHIPPED["tiny-base"].iterdir()) <= 8_000_000
    )
    assert tokenizer.get_vocab() == build_tokenizer().get_vocab()


def test_it_learns_in_context(tiny):
    found = probes(*tiny)
    assert (
        found["repeats"] > 0.95 and found["separated"] > 0.95 and found["recall"] > 0.85
    )


@pytest.mark.numeric
def test_ten_steps_repeat_the_first_losses_of_the_record(record):
    """Another machine rounds as much as float32 loses here against float64."""
    config = PretrainConfig(**record["config"])  # JSON's lists are taken too
    tokenizer = build_tokenizer()
    losses = {}
    for dtype in (torch.float32, torch.float64):
        model = build_model(config, len(tokenizer) - len(NEWLINES)).to(dtype)
        optimizer = torch.optim.AdamW(
            model.parameters(), betas=config.betas, weight_decay=config.weight_decay
        )
        losses[dtype] = [
            pretraining._step(
                model, optimizer, batch(config, tokenizer, step), config, step
            )
            for step in range(10)
        ]
    exact = numpy.array(losses[torch.float64])
    lost = numpy.abs(numpy.array(losses[torch.float32]) - exact).max()
    off = numpy.abs(numpy.array(record["losses"][:10]) - exact).max()
    assert off <= 10 * lost + 5e-6  # the record has five digits


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of an undisturbed run, and its record."""
    folder = tmp_path_factory.mktemp("pretrain") / "whole"
    return folder, run_pretraining(SMALL, folder, every=8)


def test_an_interrupted_run_ends_like_an_uninterrupted_one(whole, tmp_path):
    folder, record = whole
    run_pretraining(SMALL, tmp_path / "cut", stop=13, every=8)
    assert sorted(p.name for p in (tmp_path / "cut").iterdir()) == ["checkpoints"]
    run_pretraining(SMALL, tmp_path / "cut", every=8)
    assert content(tmp_path / "cut") == content(folder)
    assert [row["step"] for row in record["probes"]] == [0, 8, 16, 24]
    model, tokenizer = load_model(folder)
    assert weights_hash(model) == record["weights"]
    assert len(tokenizer) == record["words"]


def test_a_complete_run_is_not_computed_again(whole, monkeypatch):
    folder, record = whole
    before = content(folder)
    monkeypatch.setattr(pretraining, "_step", None)
    assert run_pretraining(SMALL, folder) == record
    assert content(folder) == before


DAMAGES = {
    "weights cut in half": ("model.safetensors", lambda old: old[: len(old) // 2]),
    "a pointer": ("model.safetensors", lambda _: b"version https://git-lfs.github"),
    "half a configuration": ("config.json", lambda _: b"{"),
    "no JSON object": ("tokenizer.json", lambda _: b"[]"),
    "an empty file": ("tokenizer.json", lambda _: b""),
    "a bit": ("model.safetensors", lambda old: old[:-1] + bytes([old[-1] ^ 1])),
}


@pytest.mark.parametrize("old", [False, True], ids=["hashes", "no hashes"])
@pytest.mark.parametrize("name", DAMAGES)
def test_a_complete_run_that_was_damaged_is_none(whole, tmp_path, name, old):
    file, damaged = DAMAGES[name]
    if old and name == "a bit":
        return  # only hashes tell
    output = tmp_path / "run"
    shutil.copytree(whole[0], output)
    if old:
        record = {k: v for k, v in whole[1].items() if k != "files"}
        (output / "record.json").write_text(json.dumps(record))
        assert run_pretraining(SMALL, output) == record
    (output / file).write_bytes(damaged((output / file).read_bytes()))
    with pytest.raises(ValueError, match=f"^output: expected .*{file} as the run"):
        run_pretraining(SMALL, output)


WRONG_FACTS = {  # what is put in a checkpoint's facts, or its tensors
    "nothing done": lambda facts, _: facts.pop("done"),
    "losses": lambda facts, _: facts["done"].update(losses=[1.0]),
    "no number": lambda facts, _: facts["done"].update(losses=["x"] * 13),
    "seconds": lambda facts, _: facts["done"].update(seconds=None),
    "probes": lambda facts, _: facts["done"].update(probes=[5]),
    "no weights": lambda _, tensors: tensors.clear(),
    "a foreign tensor": lambda _, tensors: tensors.update(weird=torch.ones(1)),
}


@pytest.mark.parametrize("change", WRONG_FACTS.values(), ids=WRONG_FACTS)
def test_the_checkpoint_before_wrong_facts_is_used(whole, tmp_path, change):
    run_pretraining(SMALL, tmp_path, stop=13, every=8)
    run_pretraining(SMALL, tmp_path, stop=14, every=1)
    folder = tmp_path / "checkpoints"
    found = load_checkpoint(folder)
    assert found is not None and found[0] == 13
    change(found[2], found[1])
    save_checkpoint(folder, *found)
    with pytest.warns(UserWarning, match="step-000000013.json is damaged"):
        record = run_pretraining(SMALL, tmp_path, every=8)
    assert record["losses"] == whole[1]["losses"]


@pytest.mark.parametrize("stop", [9, None], ids=["unfinished", "complete"])
def test_a_run_of_another_configuration_is_not_continued(stop, tmp_path):
    run_pretraining(SMALL, tmp_path, stop=stop, every=8)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match="configuration; name a new folder"):
        run_pretraining(replace(SMALL, seed=1), tmp_path, every=8)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("name", ["config.json", "notes.txt", "record.json"])
def test_a_folder_with_files_of_the_user_is_left_alone(name, tmp_path):
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=f"output: .*{name}.*; name a new folder"):
        run_pretraining(SMALL, tmp_path)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(name, "mine")]


def test_outputs_that_cannot_be_written_are_found_before_the_first_step(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(pretraining, "_step", None)
    (tmp_path / "file").write_text("")
    for bad in (tmp_path / "file", tmp_path / "file/in", "/proc/out", "x" * 300):
        with pytest.raises(ValueError, match="^output: expected a "):
            run_pretraining(SMALL, bad)


def test_weights_that_are_not_finite_replace_no_checkpoint(tmp_path, monkeypatch):
    step_before = pretraining._step

    def step(model, optimizer, ids, config, number):
        loss = step_before(model, optimizer, ids, config, number)
        if number == 13:
            for weight in model.parameters():
                weight.data.fill_(math.nan)
        return loss

    monkeypatch.setattr(pretraining, "_step", step)
    with pytest.raises(FloatingPointError, match="step 1[46].*; lower lr"):
        run_pretraining(SMALL, tmp_path, every=8)
    step_of, tensors, _ = load_checkpoint(tmp_path / "checkpoints")
    assert step_of == 8
    assert all(tensor.isfinite().all() for tensor in tensors.values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_run_goes_on(number, whole, tmp_path):
    def progress(step, loss):
        if step == 10:
            os.kill(os.getpid(), number)

    with pytest.raises(Interrupted, match="after step 11 of 24.* goes on") as stopped:
        run_pretraining(SMALL, tmp_path / "cut", every=8, progress=progress)
    assert stopped.value.code == 128 + number
    assert load_checkpoint(tmp_path / "cut/checkpoints")[0] == 11
    run_pretraining(SMALL, tmp_path / "cut", every=8)
    assert content(tmp_path / "cut") == content(whole[0])


# a base of good values, and what is wrong with each change of it
BAD = [
    ("positions", "absolute", "expected one of rotary, learned, found 'absolute'"),
    ("positions", None, "expected one of rotary, learned, found None"),
    *[
        (name, value, "expected a whole number of at least")
        for name in ("layers", "width", "heads", "steps", "tokens", "warmup")
        for value in (0, -1, 1.5, "4", None, True, math.nan, [1])
    ],
    *[("seed", value, "expected a whole number") for value in (-1, 1000, 0.5, "1")],
    *[("context", value, "at least 192") for value in (0, 191, 256.0, "512")],
    *[
        (name, value, "expected a finite number, more than 0")
        for name in ("init", "lr", "clip")
        for value in (0, -1, math.nan, math.inf, -math.inf, "1", None, True)
    ],
    *[
        (name, value, "expected a finite number, at least 0 and at most 1")
        for name in ("cooldown", "newlines")
        for value in (-0.1, 1.1, math.nan, "0.5", None)
    ],
    *[
        ("weight_decay", value, "expected a finite number, at least 0")
        for value in (-1, math.nan, math.inf, "0")
    ],
    ("betas", (0.9, 1.0), "at least 0 and less than 1, found 1.0"),
    ("betas", (0.9,), "expected two numbers"),
    ("betas", 0.9, "expected a list, found 0.9"),
    ("betas", ("0.9", 0.98), "expected a finite number"),
    ("lengths", (), "expected at least one, found none"),
    ("lengths", (1,), "at least 2"),
    ("lengths", (16, 513), "at most 256"),
    ("lengths", "16", "expected a list, found '16'"),
    ("lengths", 16, "expected a list, found 16"),
    ("heads", 3, "expected a multiple of 6 for 3 heads"),
    ("width", 18, "expected a multiple of 4 for 2 heads"),
]


@pytest.mark.parametrize(
    "name, value, message", BAD, ids=[f"{name}={value!r}" for name, value, _ in BAD]
)
def test_bad_fields_are_named(name, value, message):
    with pytest.raises(ValueError, match=".*") as found:
        PretrainConfig(**vars(SMALL) | {name: value})
    assert message in str(found.value)
    assert str(found.value).startswith(("width" if name == "heads" else name, name))
    assert len(str(found.value)) < 300


def test_numbers_of_other_libraries_are_taken():
    config = PretrainConfig(
        steps=numpy.int64(8), lr=numpy.float32(0.5), lengths=[16], betas=[0, 0.5]
    )
    assert (config.steps, config.lr) == (8, 0.5)
    assert (config.lengths, config.betas) == ((16,), (0.0, 0.5))
    json.dumps(vars(config))


@pytest.mark.parametrize(
    "changes", [{}, {"look_back": (1, 2)}, {"positions": "learned", "layers": 3}]
)
def test_parameters_are_counted_without_a_model(changes):
    config = replace(SMALL, **changes)
    built = build_model(config, 50).num_parameters()
    assert count_parameters(config, 50) == built


def test_a_model_larger_than_the_machine_is_refused_before_it_is_built(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(tensors, "machine_memory", lambda: 2**20)
    monkeypatch.setattr(pretraining, "build_model", None)
    message = "width 256, layers 90, tokens 256: expected at most 0.000977 GiB, .*found"
    with pytest.raises(ValueError, match=message):
        run_pretraining(replace(SMALL, width=256, layers=90), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_positions_are_those_asked_for():
    assert build_model(SMALL, 50).config.model_type == "llama"
    assert (
        build_model(
            PretrainConfig(**vars(SMALL) | {"positions": "learned"}), 50
        ).config.model_type
        == "gpt2"
    )


def test_newlines_lie_between_words_and_separators():
    tokenizer = build_tokenizer()
    model = build_model(SMALL, len(tokenizer) - len(NEWLINES)).eval()
    rows = model.get_input_embeddings().weight.detach().clone()
    words, marks = (
        rows[5:].mean(0),
        rows[tokenizer.convert_tokens_to_ids(PUNCTUATION)].mean(0),
    )
    for familiar, expected in ((0, words), (1, marks), (0.5, (words + marks) / 2)):
        grown = add_newlines(model, tokenizer, familiar)
        torch.testing.assert_close(
            grown.get_input_embeddings().weight[-3:], expected.expand(3, -1)
        )
        torch.testing.assert_close(grown.get_input_embeddings().weight[:-3], rows)
        assert (
            grown.get_output_embeddings().weight is grown.get_input_embeddings().weight
        )
        assert grown.config.vocab_size == len(tokenizer) == len(rows) + 3
    assert torch.equal(model.get_input_embeddings().weight, rows)


def test_rate_and_length_follow_the_schedule():
    config = PretrainConfig(
        steps=1000, warmup=100, lr=1.0, cooldown=0.2, lengths=(8, 16)
    )
    assert [config.rate(s) for s in (0, 99, 500, 900, 999)] == pytest.approx(
        [0.01, 1, 1, 0.5, 0.005]
    )
    assert [config.length(s) for s in (0, 499, 500, 999)] == [8, 8, 16, 16]


@pytest.mark.parametrize("kind", dict.fromkeys(TEXT_KINDS))
def test_texts_have_their_length_and_no_unknown_word(kind):
    tokenizer = build_tokenizer()
    for seed in range(20):
        words = kind(Draw(seed), 77)
        assert len(words) == 77
        ids = tokenizer.convert_tokens_to_ids(words)
        assert tokenizer.unk_token_id not in ids and max(ids) < len(tokenizer) - len(
            NEWLINES
        )


def test_a_batch_is_a_function_of_seed_and_step():
    tokenizer = build_tokenizer()
    assert torch.equal(batch(SMALL, tokenizer, 3), batch(SMALL, tokenizer, 3))
    assert not torch.equal(batch(SMALL, tokenizer, 3), batch(SMALL, tokenizer, 4))
    assert batch(SMALL, tokenizer, 3).shape == (16, 16) and batch(
        SMALL, tokenizer, 20
    ).shape == (8, 32)


def test_the_tokenizer_keeps_what_separates_examples():
    tokenizer = build_tokenizer()
    ids = (
        tokenizer("\n\n\nred dog")["input_ids"]
        + tokenizer("\ngood")["input_ids"]
        + tokenizer("\n\nend")["input_ids"]
    )
    assert tokenizer.convert_ids_to_tokens(ids) == [
        "\n\n\n",
        "red",
        "dog",
        "\n",
        "good",
        "\n\n",
        "[UNK]",
    ]
    assert tokenizer.pad_token == PAD
    assert text(Draw(1), 5) == text(Draw(1), 5)
