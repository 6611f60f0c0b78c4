"""What a base model can do with texts that training never draws."""

from collections.abc import Sequence

import torch
from torch.nn.functional import cross_entropy

from ..minicrossfit.draw import Draw
from .corpus import MARKS, PUNCTUATION, text
from .mixtures import DENSE, MAKERS, TEXTS
from .recipe import PROBED_LENGTH
from .rows import text_of

HELD_OUT = 10**9  # seed of the texts that are never trained on
_NAMES = {"glossary": "recall"}  # of a probe, where it is not that of its kind


def probes(
    model,
    tokenizer,
    *,
    length: int = PROBED_LENGTH,
    rows: int = 32,
    kinds: Sequence[str] = DENSE,
) -> dict[str, float]:
    """Loss on unseen text, in nats per token, and shares of right answers.

    "repeats" and "separated": the next word of a row seen before; "recall" and
    "categories": the value of a key seen before; of a kind made of rows: the word that
    the text so far tells, in its second half; `GUESSES` says what is reached without
    reading the text.
    """
    found = {"loss": held_out_loss(model, tokenizer, length=length, rows=rows)}
    for kind in dict.fromkeys(kinds):
        if kind == "document":
            continue
        ids, asked = probed(kind, tokenizer, length=length, rows=rows)
        hits = _predictions(model, ids.to(model.device)).cpu() == ids[:, 1:]
        right = (hits & asked[:, 1:]).sum().item()
        found[_NAMES.get(kind, kind)] = right / asked[:, 1:].sum().item()
    return found


def probed(
    kind: str, tokenizer, *, length: int = PROBED_LENGTH, rows: int = 32
) -> tuple[torch.Tensor, torch.Tensor]:
    """The texts of a probe, and which of their words count: both (rows, length)."""
    draw = Draw(HELD_OUT + 1)
    if kind in MAKERS:
        texts = [text_of(MAKERS[kind], draw, length) for _ in range(rows)]
        asked = [
            [place in told and place >= length // 2 for place in range(length)]
            for _, told in texts
        ]
        return _ids(tokenizer, [row for row, _ in texts]), torch.tensor(asked)
    words = [TEXTS[kind](draw, length) for _ in range(rows)]
    asked = [_asked(kind, row) for row in words]
    return _ids(tokenizer, words), torch.tensor(asked)


def held_out_loss(
    model, tokenizer, *, length: int = PROBED_LENGTH, rows: int = 32
) -> float:
    """Mean loss, in nats per token, on a fixed text that training never draws."""
    draw = Draw(HELD_OUT)
    words = [text(draw, length) for _ in range(rows)]
    with torch.no_grad():
        ids = _ids(tokenizer, words).to(model.device)
        return next_word_loss(model, ids).item()


def next_word_loss(model, ids: torch.Tensor) -> torch.Tensor:
    """Mean loss, in nats per token, of every word but the first; ids: (B, T)."""
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits  # (B, T − 1, V)
    return cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def _ids(tokenizer, rows: list[list[str]]) -> torch.Tensor:
    return torch.tensor([tokenizer.convert_tokens_to_ids(row) for row in rows])


@torch.no_grad()
def _predictions(model, ids: torch.Tensor) -> torch.Tensor:
    return model(input_ids=ids[:, :-1], use_cache=False).logits.argmax(-1)


def _asked(kind: str, row: list[str]) -> list[bool]:
    """Which words of a row can be known from what precedes them."""
    if kind not in ("repeats", "separated"):
        return _values_seen_before(row)
    period = next(p for p in range(1, len(row)) if row[p:] == row[: len(row) - p])
    every = 2 if kind == "separated" else 1  # every second word is a separator
    return [i >= period + 1 and i % every == 0 for i in range(len(row))]


def _values_seen_before(row: list[str]) -> list[bool]:
    between_or_after = {*PUNCTUATION, *MARKS}
    asked, key, seen, expects_value = [], [], {}, False
    for word in row:
        asked.append(expects_value and seen.get(tuple(key)) == word)
        if expects_value:
            seen[tuple(key)] = word
            key, expects_value = [], False
        elif word not in between_or_after:
            key.append(word)
        elif key:
            expects_value = True
    return asked
