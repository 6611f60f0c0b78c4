"""The kinds of pre-training text by name, and the mixtures that recipes name."""

from collections.abc import Mapping

from ..minicrossfit.draw import Draw
from .corpus import TEXT_KINDS, Kind
from .lists import headed, picked, tailed
from .rebound import sections, slots, turned
from .relations import related, related_first, told, told_first
from .rows import Maker, text_of

MAKERS: Mapping[str, Maker] = {
    maker.__name__: maker
    for maker in (
        *(sections, slots, turned, headed, tailed, picked),
        *(told, told_first, related, related_first),
    )
}


# The share of right answers of a reader who knows the form of a row but not what the
# text says: means, over what a text draws, of 1 / (answers that a row allows).
# `headed` allows any member of the right set even to the best of readers: 0.53.
GUESSES: Mapping[str, float] = {
    "sections": (1 / 2 + 1 / 3 + 1 / 4) / 3,  # values of a row
    "slots": (1 / 2 + 1 / 3) / 2 * (1 / 2 + 1 / 2 + 1 / 3) / 3,  # keys, columns
    "turned": (1 / 2 + 1 / 2 + 1 / 3) / 3,  # keys of a row
    "headed": (1 / 2 + 1 / 2 + 1 / 3) / 3 * (1 + 2 / 2 + 2 / 3) / 5,  # sets, members
    "tailed": (1 / 2 + 1 / 2 + 1 / 3) / 3,  # headings
    "picked": (1 / 2 + 2 / 3 + 1 / 4) / 4,  # words of a row
    "told": (8 / 2 + 3 / 3) / 11,  # answers
    "told_first": 1 / 2,  # the first word again, or its opposite
    "related": (8 / 2 + 3 / 3) / 11,
    "related_first": 1 / 2,
}


def _kind(maker: Maker) -> Kind:
    def kind(draw: Draw, length: int) -> list[str]:
        return text_of(maker, draw, length)[0]

    return kind


TEXTS: Mapping[str, Kind] = {
    **{kind.__name__: kind for kind in TEXT_KINDS},
    **{name: _kind(maker) for name, maker in MAKERS.items()},
}
# a kind is drawn as often as it is named
DENSE = tuple(kind.__name__ for kind in TEXT_KINDS)
BOUND = (*("sections",) * 3, *("slots",) * 3, "turned")
LISTS = (*("headed",) * 3, *("tailed",) * 4, "picked")
RELATIVE = (*("told",) * 2, "told_first", *("related",) * 5, *("related_first",) * 2)
# what a first look at the new kinds is made of, and the whole
EASY = (
    *DENSE,
    *("sections", "sections", "slots", "slots"),
    *LISTS,
    *(*("told",) * 5, *("told_first",) * 2, "related", "related"),
)
WHOLE = (*DENSE[1:], *BOUND, *LISTS, *RELATIVE)
