"""Rows about sets of words: a heading stands for a few members, close to it.

Which words belong to which heading is the text's own. A row holds one member and few
words that say nothing; where the member stands is the text's own too, or changes from
row to row. The heading comes last in `tailed` and first in `headed`: what is read from
a label to a word, and from a word to a label, is learned from either.
"""

from typing import NamedTuple

from ..minicrossfit.draw import Draw
from .classes import pool
from .corpus import PUNCTUATION, some_words
from .rows import Row


def headed(draw: Draw) -> Row:
    """``heading between words member words end``: the heading tells the member."""
    sets, (between, end) = _sets(draw), draw.some(PUNCTUATION, 2)

    def row(draw: Draw):
        heading, part, where = sets.row(draw)
        return [heading, between, *part, end], 2 + where

    return row


def tailed(draw: Draw) -> Row:
    """``words member words between heading end``: the member tells the heading."""
    sets, (between, end) = _sets(draw), draw.some(PUNCTUATION, 2)

    def row(draw: Draw):
        heading, part, _ = sets.row(draw)
        return [*part, between, heading, end], len(part) + 1

    return row


def picked(draw: Draw) -> Row:
    """A few words, one of which is said again: that of the text's own set or place."""
    between, end = draw.some(PUNCTUATION, 2)
    size, beside = draw.one([2, 3, 4, 6]), draw.one([1, 2, 2, 3])
    drawn = some_words(draw, 4 * size)
    place = draw.one([*range(beside + 1), None, None])  # None: the set decides
    own, others = (drawn[:size], drawn[size:]) if place is None else (drawn, drawn)

    def row(draw: Draw):
        member = draw.one(own)
        part = draw.some([word for word in others if word != member], beside)
        where = draw.one(range(beside + 1)) if place is None else place
        part.insert(where, member)
        return [*part, between, member, end], len(part) + 1

    return row


class _Sets(NamedTuple):
    headings: list[str]
    members: list[list[str]]  # one list per heading
    places: list[int]  # where a member may stand; one of them is drawn for each row
    fillers: list[list[str]]  # the words of each other place

    def row(self, draw: Draw) -> tuple[str, list[str], int]:
        """A heading, words with one of its members among them, and its place."""
        which, where = draw.one(range(len(self.headings))), draw.one(self.places)
        part = [draw.one(filler) for filler in self.fillers]
        part.insert(where, draw.one(self.members[which]))
        return self.headings[which], part, where


def _sets(draw: Draw) -> _Sets:
    n, size = draw.one([2, 2, 3]), draw.one([1, 2, 2, 3, 3])
    beside = draw.one([0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3])
    place = 1 if beside == 2 and draw.chance(0.6) else draw.one(range(beside + 1))
    places = (
        [place, place, draw.one(range(beside + 1))] if draw.chance(0.35) else [place]
    )
    drawn = pool(draw, n * size)
    members = [drawn[i * size : (i + 1) * size] for i in range(n)]
    fillers = [pool(draw, draw.one([2, 4, 8])) for _ in range(beside)]
    headings = some_words(draw, n)
    return _Sets(headings, members, places, fillers)
