"""Which tokenizer a folder gives, and whether its ids are the model's."""

import json

import pytest
import torch
from helpers import small_model, write_bpe, write_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, GPT2Tokenizer, PreTrainedTokenizerFast

from maml_en_llm import Example, load_model, score_options
from maml_en_llm.models import load_tokenizer

ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
QUERY = Example("a text", "yes", ("yes", "no"))


def byte_tokenizer(ids=None, **special):
    words = ids or {word: n for n, word in enumerate(ALPHABET)}
    words |= {word: len(words) + n for n, word in enumerate(special.values())}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def test_a_folder_that_names_its_tokenizer_gives_it(tmp_path):
    """Qwen2's slow class saves vocab.json and merges.txt as GPT-2 does."""
    folder = tmp_path / "qwen2"
    folder.mkdir()
    pairs = [("1", "2"), ("Ġ", "a")]
    words = [*ALPHABET, *("".join(pair) for pair in pairs), "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({w: n for n, w in enumerate(words)}))
    merges = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in pairs)])
    (folder / "merges.txt").write_text(merges + "\n")
    named = {"tokenizer_class": "Qwen2Tokenizer", "unk_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    expected, found = AutoTokenizer.from_pretrained(folder), load_tokenizer(folder)
    assert type(found) is type(expected)
    for text in ("12 a", "in 2012", "(a) \n\n b"):
        assert found.encode(text) == expected.encode(text)
    # Qwen2 takes digits one by one, GPT-2 does not
    gpt2 = GPT2Tokenizer.from_pretrained(folder)
    assert found.encode("12") != gpt2.encode("12")


def test_bare_files_are_gpt2s_only_if_they_can_be(tmp_path):
    folder = write_bpe(tmp_path / "bare")
    assert type(load_tokenizer(folder)) is GPT2Tokenizer
    words = {"a</w>": 0, "b</w>": 1, "<unk>": 2}
    (folder / "vocab.json").write_text(json.dumps(words))
    with pytest.raises(ValueError, match="GPT-2's words, .* found 256 bytes missing"):
        load_tokenizer(folder)


@pytest.mark.parametrize("content", ["version https://git-lfs", "{", "[]", "{}", ""])
def test_damaged_tokenizers_are_refused(tmp_path, content):
    folder = write_model(tmp_path / "model")
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(ValueError, match="tokenizer: expected a folder or a name"):
        load_model(folder)


def test_ids_beyond_the_embedding_are_refused_when_loading(tmp_path):
    """257 words fit a model of 257 rows by number; 37 of their ids do not."""
    folder = write_model(tmp_path / "model")
    ids = {word: n if n < 220 else n + 1000 for n, word in enumerate(ALPHABET)}
    words = tmp_path / "words"
    byte_tokenizer(ids).save_pretrained(words)
    with pytest.raises(ValueError, match="token ids below 257, .* found 1255, one of"):
        load_model(folder, tokenizer=words)


def test_an_unused_padding_word_beyond_the_embedding_is_fine(tmp_path):
    folder = write_model(tmp_path / "model", words=256)
    words = tmp_path / "words"
    byte_tokenizer(pad_token="[PAD]").save_pretrained(words)
    model, tokenizer = load_model(folder, tokenizer=words)
    assert tokenizer.pad_token_id == 256 == model.config.vocab_size
    assert len(score_options(model, tokenizer, (), [QUERY])[0]) == 2
    # written out it is a text like others, or refused with its query
    written = Example("a [PAD] b", "yes", ("yes", "no"))
    try:
        score_options(model, tokenizer, (), [QUERY, written])
    except ValueError as error:
        assert "queries[1]: expected token ids below 256" in str(error)


def test_half_an_emoji_is_a_query_s_own_trouble(tmp_path):
    model, words = load_model(write_model(tmp_path / "model"))
    broken = Example("so happy \ud83d", "yes", ("yes", "no"))
    with pytest.raises(ValueError, match=r"queries\[1\]: ") as found:
        score_options(model, words, (), [QUERY, broken])
    assert len(str(found.value)) < 500


@pytest.mark.parametrize("name", [None, 3, "", "a\0b", "x" * 5000])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(ValueError, match="expected a .*found") as found:
        load_tokenizer(name)
    assert len(str(found.value)) < 500


def test_weights_of_another_kind_do_not_get_gpt2s_words(tmp_path, monkeypatch):
    monkeypatch.setenv("GPT2_BPE", str(write_bpe(tmp_path / "words")))
    small_model("llama", dtype=torch.float32).save_pretrained(tmp_path / "llama")
    with pytest.raises(ValueError, match="tokenizer: expected that of a 'llama' model"):
        load_model(tmp_path / "llama")
