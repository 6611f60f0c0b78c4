"""What a base model can do with texts that training never draws."""

import torch
from torch.nn.functional import cross_entropy

from ..minicrossfit.draw import Draw
from .corpus import (
    MARKS,
    PUNCTUATION,
    categories,
    glossary,
    repeats,
    separated,
    text,
)
from .recipe import PROBED_LENGTH

HELD_OUT = 10**9  # seed of the texts that are never trained on
_KINDS = {
    "repeats": repeats,
    "separated": separated,
    "recall": glossary,
    "categories": categories,
}


def probes(
    model, tokenizer, *, length: int = PROBED_LENGTH, rows: int = 32
) -> dict[str, float]:
    """Loss on unseen text, in nats per token, and shares of right answers.

    "repeats" and "separated": the next word of a row seen before; "recall" and
    "categories": the value of a key seen before.
    """
    found = {"loss": held_out_loss(model, tokenizer, length=length, rows=rows)}
    for name, kind in _KINDS.items():
        draw = Draw(HELD_OUT + 1)
        words = [kind(draw, length) for _ in range(rows)]
        ids = _ids(tokenizer, words, model.device)
        hits = _predictions(model, ids) == ids[:, 1:]
        known = torch.tensor([_asked(name, row) for row in words], device=model.device)
        asked = known[:, 1:]
        found[name] = (hits & asked).sum().item() / asked.sum().item()
    return found


def held_out_loss(
    model, tokenizer, *, length: int = PROBED_LENGTH, rows: int = 32
) -> float:
    """Mean loss, in nats per token, on a fixed text that training never draws."""
    draw = Draw(HELD_OUT)
    words = [text(draw, length) for _ in range(rows)]
    with torch.no_grad():
        return next_word_loss(model, _ids(tokenizer, words, model.device)).item()


def next_word_loss(model, ids: torch.Tensor) -> torch.Tensor:
    """Mean loss, in nats per token, of every word but the first; ids: (B, T)."""
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits  # (B, T − 1, V)
    return cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def _ids(tokenizer, rows: list[list[str]], device) -> torch.Tensor:
    ids = [tokenizer.convert_tokens_to_ids(row) for row in rows]
    return torch.tensor(ids, device=device)


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
