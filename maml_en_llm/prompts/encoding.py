"""From a piece of text to token ids that stand for that text behind another one.

Pieces are tokenised apart and then concatenated. That is right only if the ids, read
together, stand for the texts, read together. GPT-2's byte-level tokenizer and its kin
keep this by themselves. Others put a space before every text (Llama 1 and 2), turn
newlines or runs of spaces into one space (T5, XLNet), or add special tokens. Here a
piece is first tokenised alone, then behind a short text, and the first ids that read
right are taken; if none do, the piece is refused.
"""

import unicodedata
import warnings
from numbers import Integral
from typing import Any, NamedTuple

from ..errors import shown
from .keeping import surely_keeps
from .marks import marks_of, refused_ids

_ANCHORS = ("a", "0", ".", "\n")  # texts to stand before a piece
_SPACES = " \u2581\u0120"  # as tokens spell them: plain, sentencepiece's, GPT-2's
# long words, of several tokens each, so that one left to chance is cut otherwise
_PROBE = "unquestionably, internationally recognised photographers misunderstand " * 4


class _Anchor(NamedTuple):
    text: str
    ids: tuple[int, ...]
    read: str  # what the ids stand for


class TextEncoder:
    """Token ids of texts by one tokenizer, none of them a special token.

    A tokenizer without ``decode`` is taken at its word. ``keeps_all`` says that no text
    without special tokens has to be tried: this tokenizer keeps them all. Raises
    `ValueError` for one that leaves to chance how it cuts a text.
    """

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        self._unknown = getattr(tokenizer, "unk_token_id", None)
        self._marks = frozenset(marks_of(tokenizer))
        self._mark_ids = refused_ids(tokenizer)
        self._warned = False
        self._reads = hasattr(tokenizer, "decode")
        self._check_alike()
        self._no_spaces = self._reads and self._drops_spaces()
        words_only = self._no_spaces and self._unknown is not None
        self.keeps_all = not self._reads or surely_keeps(
            tokenizer, self._marks, words_only=words_only
        )
        self._anchors: list[_Anchor] = []
        if self._reads:
            for text in _ANCHORS:
                ids = self._ids(text)
                self._anchors.append(_Anchor(text, ids, self._decode(ids)))

    def knows(self, text: str) -> bool:
        """Whether no part of ``text`` is an unknown word."""
        return self._unknown is None or self._unknown not in self._ids(text)

    def marked(self, text: str) -> bool:
        """Whether a special token is spelt out in ``text``."""
        return any(mark in text for mark in self._marks)

    def encode(self, text: str, *, first: bool = False) -> tuple[int, ...]:
        """Ids of ``text`` behind another text or, if ``first``, at the beginning.

        Special tokens that are spelt out in the text are tokenised as any other text;
        a warning names the first of them.

        Raises:
            ValueError: no text, or one that this tokenizer cannot stand for.
        """
        if not isinstance(text, str):
            raise ValueError(f"text: expected a string, found {shown(text)}")
        ids = self._ids(text)
        if not self._mark_ids.isdisjoint(ids):
            mark = next(i for i in ids if i in self._mark_ids)
            raise ValueError(
                f"text: expected no special token of the tokenizer, found "
                f"{shown(self._decode((mark,)))} in {shown(text)}; remove it there"
            )
        if self.marked(text) and not self._warned:
            self._warned = True
            mark = next(mark for mark in sorted(self._marks) if mark in text)
            warnings.warn(  # no text: Python shows the same words once
                f"the special token {shown(mark)} is spelt out in a text and is read "
                "as plain characters; for prompts of a chat template make "
                "prompts.Prompt(ids, n_target), and prompts.collate them",
                stacklevel=2,
            )
        if not text or not self._reads:
            return ids
        return self._at_start(text, ids) if first else self._behind(text, ids)

    def _at_start(self, text: str, ids: tuple[int, ...]) -> tuple[int, ...]:
        read = self._decode(ids)
        # Some put a space before a text, and some that do leave it out when they read.
        if not self._stands_for(read.removeprefix(" "), text.removeprefix(" "), ids):
            self._refuse(text, read)
        return ids

    def _behind(self, text: str, alone: tuple[int, ...]) -> tuple[int, ...]:
        first = self._anchors[0]
        if self._decode(first.ids + alone) == first.read + text:
            return alone
        lossy = None
        for anchor in self._anchors:
            joined = self._ids(anchor.text + text)
            n = len(anchor.ids)
            if joined[:n] != anchor.ids:
                continue  # the two texts have grown together
            ids = joined[n:]
            read = self._decode(joined)
            if read == anchor.read + text:
                return ids
            if lossy is None and self._stands_for(read, anchor.read + text, ids):
                lossy = ids
                if self._no_spaces:
                    break  # all it reads are words with a space between, as here
        if lossy is not None:
            return lossy
        read = self._decode(first.ids + alone)
        if not self._stands_for(read, first.read + text, alone):
            self._refuse(text, self._decode(alone))
        return alone

    def _stands_for(self, read: str, meant: str, ids: tuple[int, ...]) -> bool:
        """Whether two texts differ only by what the tokenizer leaves out by design.

        That is canonical equivalence, unknown words and, for a tokenizer of words that
        knows no space, white space.
        """
        if self._no_spaces:
            read, meant = "".join(read.split()), "".join(meant.split())
        read, meant = (unicodedata.normalize("NFC", text) for text in (read, meant))
        if read == meant:
            return True
        if self._unknown is None or self._unknown not in ids:
            return False
        mark = self._decode((self._unknown,)).strip()
        return not mark or _in_order(read.split(mark), meant)

    def _refuse(self, text: str, read: str) -> None:
        raise ValueError(
            f"text: expected a tokenizer that keeps {shown(text)}, found one that "
            f"turns it into {shown(read)}; change the text as it does, use "
            "Format(separator='space') where it loses newlines, or another tokenizer"
        )

    def _ids(self, text: str) -> tuple[int, ...]:
        ordinary = {}
        if self.marked(text):
            ordinary = {"split_special_tokens": True}
        try:
            ids = self.tokenizer.encode(
                text, add_special_tokens=False, verbose=False, **ordinary
            )
        except (TypeError, UnicodeError) as error:
            if text.isascii():
                raise
            raise ValueError(
                f"text: expected text that can be written in UTF-8, found {shown(text)}"
            ) from error
        except Exception as error:
            if type(error) is not Exception:  # `tokenizers` raises no narrower one
                raise
            raise ValueError(
                "tokenizer: expected one with a token for unknown words, found "
                f"{shown(str(error))} at {shown(text)}; name another"
            ) from error
        if not isinstance(ids, (list, tuple)):
            raise ValueError(
                "tokenizer: expected an encode that gives a list of token ids, found "
                f"{shown(ids)} ({type(self.tokenizer).__name__}); make it return a "
                "list, as of ids['input_ids'] or ids.tolist()"
            )
        return tuple(ids)

    def _decode(self, ids: tuple[int, ...]) -> str:
        return self.tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )

    def _check_alike(self) -> None:
        """`ValueError` for a tokenizer that gives a text other ids at another call."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        dropout = getattr(getattr(backend, "model", None), "dropout", None)
        if dropout:
            raise ValueError(
                "tokenizer: expected the same ids of a text at every call, found a "
                f"dropout of merges of {dropout}; "
                "tokenizer.backend_tokenizer.model.dropout = None"
            )
        found = [self._ids(_PROBE) for _ in range(3)] if self._reads else [()]
        odd = [each for each in found[0] if not isinstance(each, Integral)]
        if odd:
            raise ValueError(
                "tokenizer: expected an encode that gives whole numbers, found "
                f"{shown(odd[0])} ({type(self.tokenizer).__name__}); make it return "
                "token ids, of one text at a time"
            )
        if len({*found}) > 1:
            raise ValueError(
                "tokenizer: expected the same ids of a text at every call, found "
                f"others at another one ({type(self.tokenizer).__name__}); load it "
                "without sampling (enable_sampling, dropout)"
            )

    def _drops_spaces(self) -> bool:
        """Whether the tokenizer knows words only, and no space between them."""
        spell = getattr(self.tokenizer, "convert_ids_to_tokens", None)
        if spell is None:
            return False
        tokens = spell(list(self._ids(" a b a")))
        return not any(space in token for token in tokens for space in _SPACES)


def _in_order(parts: list[str], text: str) -> bool:
    """Whether ``text`` is these parts in this order with something between them."""
    parts = ["".join(part.split()) for part in parts]
    text = "".join(text.split())
    *before, last = parts
    place = 0
    for part in before:
        found = text.find(part, place)
        if found < 0 or (place == 0 and part is before[0] and found > 0):
            return False
        place = found + len(part)
    return text.endswith(last) and len(text) - len(last) >= place


def first_token(tokenizer: Any) -> int | None:
    """The id of the token that ``tokenizer`` itself puts before every text, if any."""
    bos = getattr(tokenizer, "bos_token_id", None)
    if bos is None:
        return None
    ids = tokenizer.encode("a")
    return bos if len(ids) > 0 and ids[0] == bos else None
