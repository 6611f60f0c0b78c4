"""Prompts that are too long: the cut from the left, and what it leaves."""

from collections.abc import Iterable
from statistics import fmean
from typing import NamedTuple

from .batches import Prompt

Ids = tuple[int, ...]


class Cut(NamedTuple):
    """What the limit of length does to prompts, a mean over some of them.

    ``prompts`` is the share of them that were cut, ``whole`` the number of
    demonstrations of which nothing was cut, per prompt.
    """

    prompts: float
    whole: float

    @classmethod
    def of(cls, found: Iterable[tuple[Prompt, int]]) -> "Cut":
        """Of prompts, each with the number of its whole demonstrations."""
        prompts, whole = zip(*found, strict=True)
        return cls(fmean(prompt.dropped > 0 for prompt in prompts), fmean(whole))


def cut_left(context: Ids, target: Ids, limit: int, *, keep: int) -> Prompt:
    """Drop tokens from the left of the context until the prompt has ``limit`` tokens.

    The target stays whole, and so do the first ``keep`` tokens, an instruction. The cut
    may fall inside a demonstration (protocol 2.3). Raises `ValueError` where no context
    token beyond the first ``keep`` would be left, since the first target token could
    then not be predicted.
    """
    room = limit - len(target) - keep
    if not target:
        raise ValueError(
            "prompt: expected a target of at least one token, found an empty one: in "
            "channel mode no text, or none that max_example_length leaves room for; "
            "leave the example out, or raise the limit"
        )
    if not context:
        raise ValueError(
            "prompt: expected at least one token before the target, found none: an "
            "empty text without demonstrations; give it a text, or demonstrations"
        )
    if room < 1:
        raise ValueError(
            f"prompt: expected a target of 1 to {limit - keep - 1} tokens after at "
            f"least one token of context, found {len(target)} after {len(context)}; "
            "raise max_length or shorten the target"
        )
    rest = context[keep:]
    dropped = max(len(rest) - room, 0)
    return Prompt(context[:keep] + rest[dropped:] + target, len(target), dropped)
