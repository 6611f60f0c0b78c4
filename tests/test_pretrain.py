"""tiny-base: the shipped weights are the published ones, and its pre-training is reproducible and resumable."""

import json
import sys
from pathlib import Path

import pytest
import torch

from maml_en_llm import load_model
from maml_en_llm.base import SHIPPED, PretrainConfig
from maml_en_llm.base import pretrain as run_pretraining
from maml_en_llm.base.corpus import (
    KINDS,
    NEWLINES,
    PAD,
    SEPARATORS,
    build_tokenizer,
    text,
)
from maml_en_llm.base.pretrain import (
    add_newlines,
    batch,
    build_model,
    held_out_loss,
    probes,
)
from maml_en_llm.minicrossfit import Draw
from maml_en_llm.provenance import weights_hash

pretraining = sys.modules["maml_en_llm.base.pretrain"]

RECORD = Path(__file__).parents[1] / "results/tiny-base.json"
SMALL = PretrainConfig(
    layers=1, width=16, heads=2, steps=24, tokens=256, lengths=(16, 32), warmup=5
)


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text())


@pytest.fixture(scope="module")
def tiny():
    return load_model("tiny-base")


def test_the_shipped_weights_are_those_of_the_record(tiny, record):
    model, tokenizer = tiny
    assert weights_hash(model) == record["weights"]
    assert held_out_loss(model, tokenizer) == pytest.approx(
        record["probes"][-1]["loss"], abs=1e-3
    )
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


def test_twenty_steps_repeat_the_first_losses_of_the_record(record):
    config = PretrainConfig(
        **record["config"]
        | {k: tuple(v) for k, v in record["config"].items() if isinstance(v, list)}
    )
    tokenizer = build_tokenizer()
    model = build_model(config, len(tokenizer) - len(NEWLINES))
    optimizer = torch.optim.AdamW(
        model.parameters(), betas=config.betas, weight_decay=config.weight_decay
    )
    losses = [
        pretraining._step(
            model, optimizer, batch(config, tokenizer, step), config, step
        )
        for step in range(20)
    ]
    assert losses == pytest.approx(record["losses"][:20], abs=2e-3)


def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path, monkeypatch):
    monkeypatch.setattr(pretraining, "EVERY", 8)
    whole = run_pretraining(SMALL, tmp_path / "whole")
    run_pretraining(SMALL, tmp_path / "cut", stop=13)
    assert (tmp_path / "cut/checkpoint.pt").is_file() and not (
        tmp_path / "cut/record.json"
    ).exists()
    cut = run_pretraining(SMALL, tmp_path / "cut")
    assert (
        cut["weights"] == whole["weights"]
        and cut["losses"] == whole["losses"]
        and cut["probes"] == whole["probes"]
    )
    assert [row["step"] for row in whole["probes"]] == [0, 8, 16, 24]
    model, tokenizer = load_model(tmp_path / "whole")
    assert weights_hash(model) == whole["weights"] and len(tokenizer) == whole["words"]
    assert not (tmp_path / "cut/checkpoint.pt").exists()


def test_a_run_of_another_configuration_is_not_continued(tmp_path, monkeypatch):
    monkeypatch.setattr(pretraining, "EVERY", 8)
    run_pretraining(SMALL, tmp_path, stop=9)
    with pytest.raises(
        ValueError, match="checkpoint.pt is of another configuration; name a new folder"
    ):
        run_pretraining(PretrainConfig(**vars(SMALL) | {"seed": 1}), tmp_path)


def test_positions_are_those_asked_for():
    assert build_model(SMALL, 50).config.model_type == "llama"
    assert (
        build_model(
            PretrainConfig(**vars(SMALL) | {"positions": "learned"}), 50
        ).config.model_type
        == "gpt2"
    )
    with pytest.raises(
        ValueError, match="positions: expected one of rotary, learned, found 'absolute'"
    ):
        PretrainConfig(positions="absolute")


def test_newlines_lie_between_words_and_separators():
    tokenizer = build_tokenizer()
    model = build_model(SMALL, len(tokenizer) - len(NEWLINES)).eval()
    rows = model.get_input_embeddings().weight.detach().clone()
    words, marks = (
        rows[5:].mean(0),
        rows[tokenizer.convert_tokens_to_ids(SEPARATORS)].mean(0),
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


@pytest.mark.parametrize("kind", dict.fromkeys(KINDS))
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
