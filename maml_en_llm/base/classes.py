"""Classes of words: what the rows of a text are filled from.

A small class holds every word that can stand in a place (eight colours, say), so that
what is true of two of its words can be learned for each pair and used in every text.
"""

from collections.abc import Sequence

from ..minicrossfit import lexicon as words
from ..minicrossfit.draw import Draw
from .corpus import domain, some_words

SMALL: Sequence[Sequence[str]] = (
    words.COLOURS,
    words.STATES,
    words.NAMES,
    words.PLACES,
    words.VERBS,
    [word for group in words.SIZES for word in group],
    [word for group in words.MOODS for word in group],
)


def small_class(draw: Draw) -> Sequence[str]:
    """A class of 8 to 12 words: one of `SMALL`, or the nouns of a domain."""
    if draw.chance(0.6):
        return draw.one(SMALL)
    first, second = domain(draw).groups
    return [*first, *second]


def pool(draw: Draw, n: int) -> list[str]:
    """n different words: of one small class, or any."""
    if n <= 8 and draw.chance(0.5):
        return draw.some(small_class(draw), n)
    return some_words(draw, n)
