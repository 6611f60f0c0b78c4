"""What a model reads decodes to what was meant, or the text is refused.

Tokenizers that put a space before every text, that change white space, that add special
tokens; and any texts at all.
"""

import string
from random import Random

import pytest
import torch
from helpers import CharTokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from maml_en_llm import Example, Format, PromptEncoder
from maml_en_llm.base.corpus import build_tokenizer
from maml_en_llm.prompts import pieces

OPTIONS = ("positive", "negative")
DEMONSTRATIONS = [
    Example("a fine film", "positive", OPTIONS),
    Example("dull  and\nlong", "negative", OPTIONS),
]
PLAIN = Example("a bad film", "negative", OPTIONS)
PIECES = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "\u2581"]
MERGED = [("\u2581", "a"), ("\u2581", "p"), ("\u2581", "\u2581")]


def bytes_tokenizer(normalizer=None, space=False) -> PreTrainedTokenizerFast:
    """GPT-2's kind, with single bytes."""
    alphabet = sorted(ByteLevel.alphabet())
    words = {word: n for n, word in enumerate([*alphabet, "<bos>", "<|end|>"])}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<|end|>"
    )


def test_a_tokenizer_without_its_wrapping_is_refused():
    bare = bytes_tokenizer().backend_tokenizer
    with pytest.raises(ValueError, match=r"PreTrainedTokenizerFast\(tokenizer_object="):
        PromptEncoder(bare)
    wrapped = PromptEncoder(PreTrainedTokenizerFast(tokenizer_object=bare))
    assert wrapped.tokens("a b") == PromptEncoder(bytes_tokenizer()).tokens("a b")


def llama_tokenizer(scheme=None) -> PreTrainedTokenizerFast:
    """Llama 1 and 2's kind: a space before every text, unknown letters as bytes."""
    letters = [chr(i) for i in range(33, 127)]
    joined = ["".join(pair) for pair in MERGED]
    words = {word: n for n, word in enumerate([*PIECES, *letters, *joined])}
    model = models.BPE(
        vocab=words, merges=MERGED, unk_token="<unk>", fuse_unk=True, byte_fallback=True
    )
    tokenizer = Tokenizer(model)
    if scheme is None:
        replace = normalizers.Replace(" ", "\u2581")
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("\u2581"), replace]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
            prepend_scheme=scheme, split=False
        )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


FAITHFUL = {
    "GPT-2": bytes_tokenizer,
    "GPT-2 with a space in front": lambda: bytes_tokenizer(space=True),
    "Qwen": lambda: bytes_tokenizer(normalizers.NFC()),
    "Llama": llama_tokenizer,
    "Metaspace always": lambda: llama_tokenizer("always"),
    "Metaspace first": lambda: llama_tokenizer("first"),
}


def meant(demonstrations, query, answer, fmt) -> str:
    shown = [*demonstrations, Example(query.input, answer)]
    return "".join(
        "".join(pieces(e.input, e.output, fmt, first=n == 0))
        for n, e in enumerate(shown)
    )


def read(tokenizer, ids) -> str:
    return tokenizer.decode(ids, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("make", FAITHFUL.values(), ids=FAITHFUL)
@pytest.mark.parametrize("mode", ["direct", "channel"])
@pytest.mark.parametrize("separator", ["space", "newline"])
def test_a_prompt_reads_as_it_was_meant(make, mode, separator):
    tokenizer, fmt = make(), Format(mode=mode, separator=separator)
    prompts = PromptEncoder(tokenizer, fmt).query_prompts(DEMONSTRATIONS, PLAIN)
    for prompt, option in zip(prompts, OPTIONS, strict=True):
        text = meant(DEMONSTRATIONS, PLAIN, option, fmt)
        assert read(tokenizer, prompt.ids).removeprefix(" ") == text


LOSSY = {
    "newlines to spaces": normalizers.Replace("\n", " "),
    "runs of white space": normalizers.Replace(Regex(r"\s+"), " "),
    "CR and LF": normalizers.Replace(Regex("\n\n"), "\n"),
    "small letters": normalizers.Lowercase(),
    "stripped": normalizers.Strip(),
    "NFKC": normalizers.NFKC(),
}


@pytest.mark.parametrize("normalizer", LOSSY.values(), ids=LOSSY)
def test_a_text_that_would_be_changed_is_refused(normalizer):
    encoder = PromptEncoder(bytes_tokenizer(normalizer))
    query = Example("A ﬁne  text\n\nof ² lines ", "yes", ("yes", "no"))
    with pytest.raises(ValueError, match="text: expected a tokenizer that") as caught:
        encoder.query_prompts(DEMONSTRATIONS, query)
    assert len(str(caught.value)) < 500


def test_words_without_spaces_are_read_as_they_are():
    # By design no space is kept, and words that are unknown are.
    tokenizer = build_tokenizer()
    query = Example("ann sees xyz", "red", ("red", "blue"))
    prompt = PromptEncoder(tokenizer).query_prompts([], query)[0]
    assert prompt.ids == tuple(tokenizer.encode("ann sees xyz\nred"))


def with_special(**words) -> PreTrainedTokenizerFast:
    tokenizer = bytes_tokenizer()
    tokenizer.add_special_tokens(words)
    return tokenizer


SPECIAL = {
    "GPT-2": (bytes_tokenizer, "<|end|>"),
    "Llama": (llama_tokenizer, "</s>"),
    "GPT-2's end, its unknown word too": (
        lambda: with_special(unk_token="<|end|>"),
        "<|end|>",
    ),
    "an unknown word": (llama_tokenizer, "<unk>"),
    "Falcon": (
        lambda: with_special(extra_special_tokens=[">>ANSWER<<"]),
        ">>ANSWER<<",
    ),
}


@pytest.mark.parametrize(("make", "mark"), SPECIAL.values(), ids=SPECIAL)
def test_a_special_token_in_a_text_is_ordinary_text(make, mark):
    tokenizer = make()
    query = Example(f"so {mark} it ends", f"a{mark}", (f"a{mark}", "b"))
    encoder = PromptEncoder(tokenizer)
    with pytest.warns(UserWarning, match="special token .* is spelt out") as told:
        prompt = encoder.query_prompts([], query)[0]
    assert len(told) == 1  # once, and never again
    assert encoder.query_prompts([query], query)
    assert tokenizer.convert_tokens_to_ids(mark) not in prompt.ids
    assert read(tokenizer, prompt.ids) == f"so {mark} it ends\na{mark}"


@pytest.mark.parametrize("word", ["!", "..."])
def test_a_word_that_is_padding_too_stays_a_word(word):
    words = {**bytes_tokenizer().get_vocab(), "..": 258, "...": 259}
    model = models.BPE(vocab=words, merges=[(".", "."), ("..", ".")])
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=word)
    ids = PromptEncoder(tokenizer).tokens(f"so{word}{word}")
    assert ids == tuple(tokenizer.encode(f"so{word}{word}"))
    assert ids[-1] == tokenizer.pad_token_id


def test_a_special_token_that_is_a_word_is_refused():
    encoder = PromptEncoder(build_tokenizer())
    query = Example("ann sees [PAD]", "red", ("red", "blue"))
    for call in (encoder.query_prompts, encoder.training_prompt):
        with pytest.raises(ValueError, match="no special token .*PAD.*; remove it"):
            call([], query)
    with pytest.raises(ValueError, match="no special token"):
        encoder.check_target(query)


def with_bos() -> PreTrainedTokenizerFast:
    tokenizer = bytes_tokenizer()
    bos = ("<bos>", tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[bos]
    )
    return tokenizer


def test_a_beginning_that_the_tokenizer_adds_is_said_and_can_be_had():
    tokenizer = with_bos()
    with pytest.warns(UserWarning, match=r"Format\(bos=True\)"):
        plain = PromptEncoder(tokenizer).query_prompts(DEMONSTRATIONS, PLAIN)
    encoder = PromptEncoder(tokenizer, Format(bos=True))
    for told, prompt in zip(
        encoder.query_prompts(DEMONSTRATIONS, PLAIN), plain, strict=True
    ):
        assert told.ids == (tokenizer.bos_token_id, *prompt.ids)
    short = PromptEncoder(tokenizer, Format(max_length=30, bos=True))
    ids = short.training_prompt(DEMONSTRATIONS, PLAIN).ids
    assert len(ids) == 30 and ids[0] == tokenizer.bos_token_id


def test_no_beginning_to_be_had():
    with pytest.raises(ValueError, match="bos: expected a tokenizer with"):
        PromptEncoder(build_tokenizer(), Format(bos=True))


BAD_TEXTS = {"half a pair": "dog \ud800", "number": 3, "none": None, "bytes": b"dog"}


@pytest.mark.parametrize("text", BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_what_is_no_text_is_named(text):
    with pytest.raises(ValueError, match="text: expected"):
        PromptEncoder(bytes_tokenizer()).tokens(text)


BAD_FORMATS = {
    "mode none": dict(mode=None),
    "mode a list": dict(mode=["direct"]),
    "mode long": dict(mode="d" * 10**5),
    "separator a newline": dict(separator="\n"),
    "length a string": dict(max_length="1024"),
    "length a float": dict(max_length=1024.0),
    "length NaN": dict(max_length=float("nan")),
    "length infinite": dict(max_length=float("inf")),
    "length true": dict(max_length=True),
    "length negative": dict(max_length=-1),
    "example length none": dict(max_example_length=None),
    "example length 2": dict(max_example_length=2),
}


@pytest.mark.parametrize("fields", BAD_FORMATS.values(), ids=BAD_FORMATS)
def test_bad_formats_are_named(fields):
    (name,) = fields
    with pytest.raises(ValueError, match=f"{name}: expected .*, found ") as caught:
        Format(**fields)
    assert len(str(caught.value)) < 500


def test_examples_that_do_not_fit_are_counted():
    fits, long = Example("x", "yes"), Example("x", "y" * 50)
    foreign = Example("x", "ü" * 24)  # 48 bytes
    fmt = Format(max_example_length=40, max_length=100)
    encoder = PromptEncoder(bytes_tokenizer(), fmt)
    found = encoder.misfits([fits, long, fits, foreign])
    assert list(found) == [1, 3] and "an answer of 51 tokens" in found[1]
    channel = PromptEncoder(
        bytes_tokenizer(), Format(mode="channel", max_example_length=40, max_length=30)
    )
    assert list(channel.misfits([fits, Example("x" * 40, "yes")])) == [1]
    for n, example in enumerate([fits, long, fits, foreign]):
        try:
            encoder.training_prompt([fits], example)
        except ValueError:
            assert n in found
        else:
            assert n not in found


def test_a_text_that_is_not_kept_does_not_fit():
    """Short texts too: what `check_target` passes, `training_prompt` can encode."""
    spaces = normalizers.Replace(Regex(r"\s+"), " ")
    fmt = Format(separator="space")
    changed, whole = Example("a\nb", "yes"), Example("a b", "yes")
    for tokenizer in (letters_tokenizer(spaces), bytes_tokenizer(spaces)):
        encoder = PromptEncoder(tokenizer, fmt)
        with pytest.raises(ValueError, match="text: expected a tokenizer that keeps"):
            encoder.training_prompt([whole], changed)
        assert list(encoder.misfits([changed, whole])) == [0]
        assert encoder.training_prompt([whole], whole)


def without_a_byte() -> PreTrainedTokenizerFast:
    tokenizer = bytes_tokenizer()
    words = {word: n for word, n in tokenizer.get_vocab().items() if word != "q"}
    tokenizer.backend_tokenizer.model = models.BPE(vocab=words, merges=[])
    return tokenizer


def deaf_to_commas() -> PreTrainedTokenizerFast:
    tokenizer = build_tokenizer()
    cut = pre_tokenizers.Split(",", "removed")
    tokenizer.backend_tokenizer.pre_tokenizer = cut
    return tokenizer


def cut_by(*parts) -> PreTrainedTokenizerFast:
    """GPT-2's kind, whose texts are cut in these ways before they become bytes."""
    tokenizer = bytes_tokenizer()
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    cut = pre_tokenizers.Sequence([*parts, to_bytes])
    tokenizer.backend_tokenizer.pre_tokenizer = cut
    return tokenizer


def with_word(word: str, special=False, **how) -> PreTrainedTokenizerFast:
    tokenizer = bytes_tokenizer()
    added = AddedToken(word, special=special, **how)
    tokenizer.add_tokens([added], special_tokens=special)
    return tokenizer


def in_words_of_bytes() -> PreTrainedTokenizerFast:
    tokenizer = bytes_tokenizer()
    words = models.WordLevel(tokenizer.get_vocab(), unk_token="<bos>")
    tokenizer.backend_tokenizer.model = words
    return tokenizer


def without_a_way_back() -> PreTrainedTokenizerFast:
    tokenizer = bytes_tokenizer()
    tokenizer.backend_tokenizer.decoder = decoders.Fuse()
    return tokenizer


SCRIPTS = [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"\s+$", "[\u4e00-\u9fa5]+"]
DEEPSEEK = [pre_tokenizers.Split(Regex(cut), "isolated") for cut in SCRIPTS]


KEEPING = {
    "GPT-2": (bytes_tokenizer, True),
    "GPT-2 with a space in front": (FAITHFUL["GPT-2 with a space in front"], False),
    "DeepSeek": (lambda: cut_by(*DEEPSEEK, pre_tokenizers.Digits(True)), True),
    "bytes, spaces removed": (
        lambda: cut_by(pre_tokenizers.Split(" ", "removed")),
        False,
    ),
    "bytes, all but letters removed": (
        lambda: cut_by(pre_tokenizers.Whitespace()),
        False,
    ),
    "bytes, words of them": (in_words_of_bytes, False),
    "bytes, not read back": (without_a_way_back, False),
    "a word added": (lambda: with_word("zebra"), True),
    "a word alone added": (lambda: with_word("zebra", single_word=True), True),
    "a word that takes the space before": (lambda: with_word("a", lstrip=True), False),
    "a word that takes the space behind": (lambda: with_word("a", rstrip=True), False),
    "a word that is a byte's name": (lambda: with_word("\xe9"), False),
    "RoBERTa": (lambda: with_word("<mask>", special=True, lstrip=True), True),
    "Qwen": (FAITHFUL["Qwen"], True),
    "words": (build_tokenizer, True),
    "characters": (CharTokenizer, True),
    "a byte is lacking": (without_a_byte, False),
    "words without commas": (deaf_to_commas, False),
    "Llama": (llama_tokenizer, False),
}


@pytest.mark.parametrize(("make", "keeps"), KEEPING.values(), ids=KEEPING)
def test_where_all_is_kept_short_examples_are_not_tokenised(make, keeps, monkeypatch):
    encoder = PromptEncoder(make())
    asked = []
    monkeypatch.setattr(encoder, "tokens", lambda text, **_: asked.append(text) or (1,))
    encoder.check_target(Example("ann sees", "red"))
    assert (not asked) == keeps


DIFFICULT = [
    " a  b ",
    "so a zebra",
    "zebras\n\n a",
    "caf\xe9 e\u0301",
    "x\u3000\u4e00 12, a.",
]


@pytest.mark.parametrize(("make", "keeps"), KEEPING.values(), ids=KEEPING)
def test_what_cannot_be_a_query_is_known_before_it_is_drawn(make, keeps):
    """Also where no text is tokenised for it."""
    encoder = PromptEncoder(make())
    if isinstance(encoder.tokenizer, CharTokenizer):  # knows ASCII, and no other text
        return
    examples = [Example(text, "yes", ("yes", "no")) for text in DIFFICULT]
    left_out = encoder.misfits(examples)
    for n, example in enumerate(examples):
        if n in left_out:
            assert not keeps
            with pytest.raises(ValueError, match="text: expected"):
                encoder.training_prompt(DEMONSTRATIONS[:1], example)
        else:
            encoder.training_prompt(examples[n : n + 1], example)


def left_to_chance() -> PreTrainedTokenizerFast:
    """Of BPE, half of all merges are left out at each call."""
    tokenizer = bytes_tokenizer()
    words = tokenizer.get_vocab() | {"th": 258, "in": 259, "re": 260}
    merges = [("t", "h"), ("i", "n"), ("r", "e")]
    model = models.BPE(vocab=words, merges=merges, dropout=0.5)
    tokenizer.backend_tokenizer.model = model
    return tokenizer


def test_a_tokenizer_that_leaves_out_merges_is_refused():
    """One that was handed in; `load_tokenizer` switches this off."""
    tokenizer = left_to_chance()
    with pytest.raises(ValueError, match=r"a dropout .* of 0.5; tokenizer\.backend"):
        PromptEncoder(tokenizer)
    tokenizer.backend_tokenizer.model.dropout = None  # as the message says
    assert PromptEncoder(tokenizer).tokens("a thin thread")


class Sampling:
    """A tokenizer of one's own that draws its ids, as SentencePiece can."""

    def __init__(self):
        self.drawn = Random(0)

    def encode(self, text: str, **_) -> list[int]:
        return [2 * ord(letter) + (self.drawn.random() < 0.02) for letter in text]

    def decode(self, ids: list[int], **_) -> str:
        return "".join(chr(id // 2) for id in ids)


def test_a_tokenizer_that_draws_its_ids_is_refused():
    with pytest.raises(ValueError, match="same ids of a text .*Sampling.; load it"):
        PromptEncoder(Sampling())


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda ids: {"input_ids": ids}, "a list of token ids, found {'input_ids'"),
        (torch.tensor, r"a list of token ids, found tensor\("),
        (lambda ids: [ids], r"whole numbers, found \["),
        (lambda ids: list(map(str, ids)), "whole numbers, found '"),
    ],
    ids=["dict", "tensor", "nested", "text"],
)
def test_a_tokenizer_that_gives_no_list_of_ids_is_refused(change, found):
    class Changed(CharTokenizer):
        def encode(self, text, **how):
            return change(super().encode(text))

        def decode(self, ids, **how):
            return "".join(list(self.words)[i] for i in ids)

    with pytest.raises(ValueError, match=f"tokenizer: expected .* {found}") as caught:
        PromptEncoder(Changed())
    assert len(str(caught.value)) < 300


def test_the_answer_of_most_tokens_is_named():
    """It has most bytes, and fewer letters than the other, which fits."""
    encoder = PromptEncoder(bytes_tokenizer(), Format(max_example_length=40))
    letters, tokens = "y" * 30, "ü" * 24
    query = Example("x", letters, (letters, tokens))
    with pytest.raises(ValueError, match="an answer of 49 tokens .*: 'ü+'; raise"):
        encoder.query_prompts([], query)


TEXTS = st.text(st.characters(codec=None), max_size=30) | st.text(
    "a \n<|end|>", max_size=9
)


@pytest.mark.parametrize("name", ["GPT-2", "Qwen", "Llama", "Metaspace first"])
@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(TEXTS, TEXTS, st.sampled_from(["direct", "channel"]))
def test_any_texts(name, text, answer, mode):
    import unicodedata

    tokenizer, fmt = FAITHFUL[name](), Format(mode=mode)
    query = Example(text, answer, (answer,))
    try:
        (prompt,) = PromptEncoder(tokenizer, fmt).query_prompts(DEMONSTRATIONS, query)
    except ValueError as error:
        assert "expected" in str(error) and len(str(error)) < 500
    else:
        text = meant(DEMONSTRATIONS, query, answer, fmt)
        found = read(tokenizer, prompt.ids)
        assert unicodedata.normalize("NFC", found) == unicodedata.normalize("NFC", text)


def letters_tokenizer(normalizer=None, letters="\n") -> PreTrainedTokenizerFast:
    """SentencePiece's Unigram kind, of single letters; others are unknown words."""
    words = ["<unk>", "</s>", "\u2581", *string.ascii_letters, *letters]
    model = models.Unigram([(word, -1.0) for word in words], unk_id=0)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>"
    )


def test_an_unknown_word_is_one_and_excuses_no_other_change():
    query = Example("A bad \u2603 Film", "No", ("No", "Yes"))
    tokenizer = letters_tokenizer()
    prompt = PromptEncoder(tokenizer).query_prompts([], query)[0]
    assert read(tokenizer, prompt.ids) == "A bad <unk> Film\nNo"
    for normalizer in (normalizers.Lowercase(), normalizers.Replace("Film", "Fil")):
        encoder = PromptEncoder(letters_tokenizer(normalizer))
        with pytest.raises(ValueError, match="text: expected a tokenizer that keeps"):
            encoder.query_prompts([], query)


def test_a_newline_that_is_an_unknown_word_separates_nothing():
    tokenizer = letters_tokenizer(letters="")
    with pytest.raises(ValueError, match="separator: expected 'space' for a tokenizer"):
        PromptEncoder(tokenizer)
    encoder = PromptEncoder(tokenizer, Format(separator="space"))
    prompt = encoder.query_prompts([], Example("ab", "no", ("no", "yes")))[0]
    assert read(tokenizer, prompt.ids) == "ab no"


@pytest.mark.parametrize("tokenizer", [None, "gpt2", 3])
def test_no_tokenizer(tokenizer):
    with pytest.raises(ValueError, match="tokenizer: expected one .load_tokenizer"):
        PromptEncoder(tokenizer)


def test_a_format_asks_for_a_beginning():
    tokenizer = bytes_tokenizer()
    plain = PromptEncoder(tokenizer).query_prompts(DEMONSTRATIONS, PLAIN)
    encoder = PromptEncoder(tokenizer, Format(bos=True))
    assert encoder.beginning == (tokenizer.bos_token_id,)
    told = encoder.query_prompts(DEMONSTRATIONS, PLAIN)
    for ours, theirs in zip(told, plain, strict=True):
        assert ours.ids == encoder.beginning + theirs.ids
    with pytest.raises(ValueError, match="bos: expected True or False, found 1"):
        Format(bos=1)


@pytest.mark.parametrize("make", [models.WordLevel, models.WordPiece])
def test_a_word_that_no_token_stands_for_is_named(make):
    words = {"yes": 0, "no": 1, "good": 2}
    tokenizer = Tokenizer(make(words, unk_token="[UNK]"))  # which is no word of it
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    whole = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    with pytest.raises(ValueError, match="tokenizer: expected .*Missing .UNK. token"):
        PromptEncoder(whole, Format(separator="space"))


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr("maml_en_llm.prompts.encoder.REMEMBERED", 2)
    encoder = PromptEncoder(CharTokenizer())
    texts = ("one", "two", "three", "one")
    ids = [encoder.tokens(text) for text in texts]
    assert ids == [PromptEncoder(CharTokenizer()).tokens(text) for text in texts]
    assert len(encoder._known) <= 2
