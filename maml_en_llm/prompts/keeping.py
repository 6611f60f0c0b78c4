"""Whether a tokenizer's parts alone say that it keeps every text: none has to be tried.

A tokenizer of which they do not say so may keep every text too.
"""

import json
from collections.abc import Container
from typing import Any

from tokenizers import decoders
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import ByteLevel

# as GPT-2 spells them; eleven others, in no text, are left out by some vocabularies
_BYTES = {*ByteLevel.alphabet()} - {*"\xc0\xc1", *map(chr, range(0xF5, 0x100))}
_CUTS = {"ByteLevel", "Digits", "Punctuation", "Split", "UnicodeScripts"}  # not more
_DROPPED_SPACE = {
    "type": "Split",
    "pattern": {"String": " "},
    "behavior": "Removed",
    "invert": False,
}


def surely_keeps(tokenizer: Any, marks: Container[str], *, words_only: bool) -> bool:
    """Whether tokens are bytes, or words with one for all others, of texts as is.

    NFC alone may come before, which changes no text into another one. A text in which
    one of the ``marks`` stands has to be tried nevertheless. ``words_only`` says that
    the tokenizer knows no spaces, and has a token for unknown words.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or str(backend.normalizer) not in ("None", "NFC()"):
        return False
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    if any(_changes_text(word) for word in added if word.content not in marks):
        return False
    parts = cuts_of(backend.pre_tokenizer)
    if words_only and isinstance(backend.model, WordLevel):
        return backend.decoder is None and not any(map(_removes_words, parts))
    return _keeps_bytes(backend, parts)


def cuts_of(pre_tokenizer: Any) -> list[dict]:
    """The parts of one of `tokenizers`, in order, as a tokenizer.json has them.

    Written as a string it has its first five alone.
    """
    if pre_tokenizer is None:
        return []
    return _flat(json.loads(pre_tokenizer.__getstate__()))


def _flat(part: dict) -> list[dict]:
    if part["type"] != "Sequence":
        return [part]
    return [each for inner in part["pretokenizers"] for each in _flat(inner)]


def _changes_text(word) -> bool:
    """Whether an added word takes white space with it, or may be read as bytes.

    The decoder takes "é" for GPT-2's name of a byte; ASCII stands for itself there.
    """
    return word.lstrip or word.rstrip or not word.content.isascii()


def _keeps_bytes(backend: Any, parts: list[dict]) -> bool:
    model, to_bytes = backend.model, [p for p in parts if p["type"] == "ByteLevel"]
    if not isinstance(model, BPE) or len(to_bytes) != 1:
        return False
    if model.continuing_subword_prefix or model.end_of_word_suffix:
        return False
    # it would stand before each part of a text
    if to_bytes[0]["add_prefix_space"] or not {p["type"] for p in parts} <= _CUTS:
        return False
    if any(part.get("behavior") == "Removed" for part in parts):
        return False
    read_back = isinstance(backend.decoder, decoders.ByteLevel)
    return read_back and all(backend.token_to_id(b) is not None for b in _BYTES)


def _removes_words(part: dict) -> bool:
    if part["type"] == "CharDelimiterSplit":
        return True
    return part.get("behavior") == "Removed" and part != _DROPPED_SPACE
