"""Rows about sets of words: a heading stands for a few members, at a distance.

Which words belong to which heading is the text's own. A row holds one member, at a
place that is the text's own too, among words that say nothing.
"""

from typing import NamedTuple

from ..minicrossfit.draw import Draw
from .corpus import PUNCTUATION, some_words
from .rows import Row


def headed(draw: Draw) -> Row:
    """``heading between words member words end``: the heading tells the member."""
    sets, (between, end) = _sets(draw), draw.some(PUNCTUATION, 2)

    def row(draw: Draw):
        heading, part = sets.row(draw)
        return [heading, between, *part, end], 2 + sets.before

    return row


def tailed(draw: Draw) -> Row:
    """``words member words between heading end``: the member tells the heading."""
    sets, (between, end) = _sets(draw), draw.some(PUNCTUATION, 2)

    def row(draw: Draw):
        heading, part = sets.row(draw)
        return [*part, between, heading, end], len(part) + 1

    return row


def picked(draw: Draw) -> Row:
    """A few words, one of which is said again: that of the text's own set or place."""
    between, end = draw.some(PUNCTUATION, 2)
    size, beside = draw.one([2, 3, 4, 6]), draw.one([1, 2, 2, 3])
    pool = some_words(draw, 4 * size)
    place = draw.one([*range(beside + 1), None, None])  # None: the set decides
    own, others = (pool[:size], pool[size:]) if place is None else (pool, pool)

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
    before: int  # words before the member
    behind: int
    filler: list[str]

    def row(self, draw: Draw) -> tuple[str, list[str]]:
        """A heading, and words with one of its members among them."""
        which = draw.one(range(len(self.headings)))
        before = [draw.one(self.filler) for _ in range(self.before)]
        member = draw.one(self.members[which])
        behind = [draw.one(self.filler) for _ in range(self.behind)]
        return self.headings[which], [*before, member, *behind]


def _sets(draw: Draw) -> _Sets:
    n, size = draw.one([2, 2, 3]), draw.one([1, 2, 3, 3, 4])
    before, behind = draw.one([0, 0, 1, 1, 2, 3]), draw.one([0, 0, 1, 2])
    drawn = some_words(draw, n * (size + 1) + draw.one([4, 8, 16]))
    headings, drawn = drawn[:n], drawn[n:]
    members = [drawn[i * size : (i + 1) * size] for i in range(n)]
    return _Sets(headings, members, before, behind, drawn[n * size :])
