"""Special tokens that are written as no word is: ``<s>``, ``[PAD]``, ``>>ANSWER<<``."""

import unicodedata
from typing import Any


def marks_of(tokenizer: Any) -> dict[str, int]:
    """The ids of a tokenizer's marks by how they are written.

    A word of the language that serves as padding too, such as "!", stays a word.
    """
    added = getattr(tokenizer, "added_tokens_decoder", {})
    found = {token.content: id for id, token in added.items() if token.special}
    texts = getattr(tokenizer, "all_special_tokens", [])
    ids = getattr(tokenizer, "all_special_ids", [])
    found.update(zip(texts, ids, strict=False))
    return {text: id for text, id in found.items() if _is_mark(tokenizer, text, id)}


def refused_ids(tokenizer: Any) -> frozenset[int]:
    """The ids of marks that no text may have: all but that of an unknown word.

    GPT-2's kind names such a word, and has no text that it does not know.
    """
    unknown = getattr(tokenizer, "unk_token_id", None)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    knows_all = getattr(getattr(backend, "model", None), "unk_token", unknown) is None
    ids = frozenset(marks_of(tokenizer).values())
    return ids if knows_all else ids - {unknown}


def _is_mark(tokenizer: Any, text: str, id: int) -> bool:
    """Whether a special token is written as no word is: ``<s>``, ``>>ANSWER<<``."""
    if len(text) < 3:
        return False
    if text[0] in "<[" and text[-1] in ">]":
        return True
    if any(unicodedata.category(end)[0] not in "PS" for end in (text[0], text[-1])):
        return False
    ordinary = {"add_special_tokens": False, "split_special_tokens": True}
    try:
        return all(
            id not in tokenizer.encode(part, verbose=False, **ordinary)
            for part in (text, f"a{text}")
        )
    except TypeError:  # one that knows no such argument
        return False
