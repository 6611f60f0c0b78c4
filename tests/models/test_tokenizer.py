"""Which tokenizer a folder gives, and whether its ids are the model's."""

import json

import pytest
import torch
from helpers import small_model, write_bpe, write_model
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import AutoTokenizer, GPT2Tokenizer, PreTrainedTokenizerFast

from maml_en_llm import (
    SGD,
    Benchmark,
    Example,
    Task,
    TrainConfig,
    evaluate,
    load_model,
    meta_train,
    score_options,
)
from maml_en_llm.evaluation import evaluate_adapted, held_out
from maml_en_llm.evaluation.inner_step import StepOptions, inner_steps
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


MERGES = [("t", "h"), ("1", "2"), ("'", "s"), ("Ġ", "1")]
TEXTS = ["hello 123 World", "a  b\n\nc", "it's (12)", " lead", "naïve Ü 5,000.00 th"]
CUTS = {
    "plain": {},
    "digits": {
        "pre_tokenizer": pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
    },
    "seven parts": {
        "pre_tokenizer": pre_tokenizers.Sequence(
            [
                *(pre_tokenizers.Split(each, "isolated") for each in "123.,"),
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
    },
    "prefix": {"pre_tokenizer": pre_tokenizers.ByteLevel(add_prefix_space=True)},
    "spaces": {
        "pre_tokenizer": pre_tokenizers.WhitespaceSplit(),
        "decoder": decoders.WordPiece(),
    },
    "lower case": {"normalizer": normalizers.Lowercase()},
}


def write_words(folder, *, dropout=None, merges=MERGES, **parts):
    """A tokenizer.json of bytes and merges; returns it."""
    words = [*ALPHABET, *("".join(pair) for pair in merges), "<|endoftext|>"]
    vocab = {word: n for n, word in enumerate(words)}
    own = Tokenizer(models.BPE(vocab=vocab, merges=list(merges), dropout=dropout))
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    for name, part in parts.items():
        setattr(own, name, part)
    folder.mkdir(exist_ok=True)
    own.save(str(folder / "tokenizer.json"))
    return own


@pytest.mark.parametrize("named", ["GPT2Tokenizer", "GPTNeoXTokenizerFast", None])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2", "gpt_neox", None])
@pytest.mark.parametrize("parts", CUTS.values(), ids=CUTS)
def test_texts_are_cut_as_tokenizer_json_says(tmp_path, parts, kind, named):
    """Whatever the class that a folder names has of its own."""
    own = write_words(tmp_path, **parts)
    given = {"eos_token": "<|endoftext|>"} | (
        {"tokenizer_class": named} if named else {}
    )
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(given))
    if kind:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    found = load_tokenizer(tmp_path)
    for text in TEXTS:
        ids = found.encode(text, add_special_tokens=False)
        assert ids == own.encode(text, add_special_tokens=False).ids, text


def test_bytes_after_many_other_cuts_are_found(tmp_path):
    """DeepSeek's kind, under a class that reads no bytes by itself."""
    own = write_words(tmp_path, **CUTS["seven parts"])
    named = {"tokenizer_class": "GemmaTokenizer"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(named))
    found = load_tokenizer(tmp_path)
    for text in TEXTS:
        ids = found.encode(text, add_special_tokens=False)
        assert ids == own.encode(text, add_special_tokens=False).ids, text


SPACED = normalizers.Replace(" ", "▁")
PREFIXED = normalizers.Prepend("▁")


def metaspace(scheme: str):
    return pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)


OF_SENTENCES = {  # parts of files that were made from SentencePiece's
    "no prefix": {"normalizer": SPACED},
    "prefix": {"normalizer": normalizers.Sequence([PREFIXED, SPACED])},
    "forms": {"normalizer": normalizers.Sequence([normalizers.NFKC(), SPACED])},
    "never": {"pre_tokenizer": metaspace("never")},
    "first": {"pre_tokenizer": metaspace("first")},
    "always": {"pre_tokenizer": metaspace("always")},
}
SENTENCES = ["the cat sat", " the ① ﬁsh ", "two  spaces\nand a line", "12 cats"]


def write_pieces(folder, model, trainer, **parts):
    """A tokenizer.json of pieces with a sign for a space; returns it."""
    own = Tokenizer(model)
    for name, part in parts.items():
        setattr(own, name, part)
    own.train_from_iterator(SENTENCES * 20, trainer)
    own.save(str(folder / "tokenizer.json"))
    return own


SPECIAL = ["<unk>", "<s>", "</s>", "<pad>"]
PIECES = {
    "merges": lambda: (
        models.BPE(unk_token="<unk>", fuse_unk=True),
        trainers.BpeTrainer(vocab_size=90, special_tokens=SPECIAL),
    ),
    "unigram": lambda: (
        models.Unigram(),
        trainers.UnigramTrainer(
            vocab_size=60, special_tokens=SPECIAL, unk_token="<unk>"
        ),
    ),
}


@pytest.mark.parametrize(
    ("named", "kind"),
    [
        *(("LlamaTokenizer", kind) for kind in PIECES),
        ("GemmaTokenizer", "merges"),
        ("T5Tokenizer", "unigram"),
        ("XGLMTokenizer", "unigram"),
    ],
)
@pytest.mark.parametrize("parts", OF_SENTENCES.values(), ids=OF_SENTENCES)
def test_pieces_are_cut_as_tokenizer_json_says(tmp_path, parts, kind, named):
    own = write_pieces(tmp_path, *PIECES[kind](), **parts)
    given = {"tokenizer_class": named, "unk_token": "<unk>", "eos_token": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(given))
    found = load_tokenizer(tmp_path)
    for text in SENTENCES:
        ids = found.encode(text, add_special_tokens=False)
        assert ids == own.encode(text, add_special_tokens=False).ids, text


@pytest.mark.parametrize("space", [True, False])
@pytest.mark.parametrize("kind", ["prefix", "never", "first", "always"])
def test_a_prefix_of_pieces_that_the_folder_asks_for_holds(tmp_path, kind, space):
    write_pieces(tmp_path, *PIECES["merges"](), **OF_SENTENCES[kind])
    given = {"tokenizer_class": "LlamaTokenizer", "unk_token": "<unk>"}
    given |= {"add_prefix_space": space}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(given))
    found = load_tokenizer(tmp_path)
    pieces = found.convert_ids_to_tokens(found.encode("cat", add_special_tokens=False))
    assert "".join(pieces) == ("▁cat" if space else "cat")


@pytest.mark.parametrize("space", [True, False])
def test_a_space_before_a_text_that_the_folder_asks_for_is_put_there(tmp_path, space):
    write_words(tmp_path, **CUTS["digits"])
    given = {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": space}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(given))
    found = load_tokenizer(tmp_path)
    # a digit is a word of its own
    assert found.encode("12", add_special_tokens=False) == found.convert_tokens_to_ids(
        ["Ġ1", "Ġ", "2"] if space else ["1", "2"]
    )


@pytest.mark.parametrize("named", ["GPT2Tokenizer", "PreTrainedTokenizerFast"])
def test_no_merge_is_left_out_at_random(tmp_path, named):
    write_words(tmp_path, dropout=0.5)
    given = {"tokenizer_class": named, "eos_token": "<|endoftext|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(given))
    found, whole = load_tokenizer(tmp_path), tmp_path / "whole"
    expected = write_words(whole).encode("the 12 that's the 12").ids
    assert all(found.encode("the 12 that's the 12") == expected for _ in range(20))


@pytest.mark.parametrize(("rows", "fits"), [(257, True), (769, True), (770, False)])
@pytest.mark.parametrize("trained", [True, False])
def test_weights_of_another_vocabulary_do_not_get_gpt2s_words(
    tmp_path, monkeypatch, rows, fits, trained
):
    monkeypatch.setenv("GPT2_BPE", str(write_bpe(tmp_path / "words")))
    folder = write_model(tmp_path / "model", words=rows)
    if trained:
        load_model(folder)[0].save_pretrained(folder)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    if fits or not trained:
        assert len(load_model(folder)[1]) == 257
        return
    with pytest.raises(ValueError, match="that of a model of 770 token ids .* has 257"):
        load_model(folder)
    load_model(folder, tokenizer=tmp_path / "words")  # named


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
    with pytest.warns(UserWarning, match="special token .* is spelt out"):
        try:
            score_options(model, tokenizer, (), [QUERY, written])
        except ValueError as error:
            assert "queries[1]: expected token ids below 256" in str(error)


MANY = [Example(f"text {n}", "yes", ("yes", "no")) for n in range(9)]
TASKS = [
    Task(
        name, "classification", train=MANY, demonstrations={0: MANY[:4]}, test=MANY[4:]
    )
    for name in "ab"
]
CONFIG = TrainConfig(steps=1, tasks_per_step=1, prompts=2, demonstrations=1, lr=1e-3)
TARGETS = Benchmark(train=(), test=TASKS)
ONE_STEP = {"steps": [1], "optimizer": SGD(1e-3)}
ONE_INNER_STEP = StepOptions(supports=[1], rates=[1e-3], queries=1, demonstrations=1)
LONG_WORKS = {
    "evaluate": lambda *have: evaluate(*have, TARGETS, k=1, seeds=[0]),
    "evaluate_adapted": lambda *have: evaluate_adapted(
        *have, TARGETS, **ONE_STEP, k=1, seeds=[0]
    ),
    "held_out": lambda *have: held_out(*have, TASKS, demonstrations=1),
    "inner_steps": lambda *have: inner_steps(*have, TASKS, options=ONE_INNER_STEP),
    "meta_train": lambda *have: meta_train(*have, TASKS, CONFIG),
}
ADDED = {
    "zebra": lambda words: words.add_tokens(["zebra"]),
    "PAD": lambda words: words.add_special_tokens({"pad_token": "PAD"}),
    "UNK": lambda words: words.add_special_tokens({"unk_token": "UNK"}),
    "[PAD]": lambda words: words.add_special_tokens({"pad_token": "[PAD]"}),
    "<unk>": lambda words: words.add_special_tokens({"unk_token": "<unk>"}),
}


@pytest.mark.parametrize("work", LONG_WORKS.values(), ids=LONG_WORKS)
@pytest.mark.parametrize(("word", "add"), ADDED.items(), ids=ADDED)
def test_a_word_beyond_the_embedding_is_found_before_any_work(
    tmp_path, word, add, work
):
    """Though no text has it: the next might. No text may have a mark, ``[PAD]``."""
    model, words = load_model(write_model(tmp_path / "model"))
    add(words)
    assert words.convert_tokens_to_ids(word) == 257 == model.config.vocab_size
    if word[0] in "<[":
        assert work(model, words)
        return
    with pytest.raises(ValueError, match=f"below 257, .* 257, .*{word}") as found:
        work(model, words)
    assert len(str(found.value)) < 480
    assert "resize_token_embeddings(258)" in str(found.value)
    model.resize_token_embeddings(258)
    assert work(model, words)


def test_a_padding_word_beyond_the_embedding_is_refused_when_loading(tmp_path):
    """It is written as a word is, and is read as one where a text has it."""
    folder = write_model(tmp_path / "model", words=256)
    byte_tokenizer(pad_token="PAD").save_pretrained(tmp_path / "words")
    with pytest.raises(ValueError, match="token ids below 256, .* of 'PAD'"):
        load_model(folder, tokenizer=tmp_path / "words")


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


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("kind", ["folder", "link to nothing"])
def test_a_tokenizers_file_that_is_no_file_is_refused(tmp_path, file, kind):
    """Counted as not there, it would take its special tokens with it."""
    _, tokenizer = load_model("tiny-base")
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / file).unlink()
    if kind == "folder":
        (tmp_path / file).mkdir()
    else:
        (tmp_path / file).symlink_to(tmp_path / "gone")
    with pytest.raises(ValueError, match=f"{file}: expected a file of the tokenizer"):
        load_tokenizer(tmp_path)
