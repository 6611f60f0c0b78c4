"""Rows in which a key is bound again: what counts is what the nearest facts say.

A row says facts about a few of the text's keys, asks for one of them and ends with a
mark of its own; the next row binds the keys anew. The marks are drawn for each text.
"""

from ..minicrossfit.draw import Draw
from .classes import pool, small_class
from .corpus import PUNCTUATION, some_words
from .rows import Row

MOST_FACTS = 4  # of a row


def sections(draw: Draw) -> Row:
    """``key between value after`` some times, then a key again with its own value."""
    keys = _keys(draw)
    between, after, ask, end = _marks(draw)

    def row(draw: Draw):
        own = draw.some(keys, draw.one(range(2, MOST_FACTS + 1)))
        values = some_words(draw, len(own))
        found: list[str] = []
        for key, value in zip(own, values, strict=True):
            found += [*key, between, value, after]
        asked = draw.one(range(len(own)))
        found += [*own[asked], ask, values[asked], end]
        return found, len(found) - 2

    return row


def slots(draw: Draw) -> Row:
    """As sections, with 2 or 3 values to a key; the text decides which is asked."""
    keys = pool(draw, draw.one(range(4, 11)))
    pools = _columns(draw, draw.one([2, 2, 3]))
    between, after, ask, end = _marks(draw)
    wanted = draw.one(range(len(pools)))

    def row(draw: Draw):
        own = draw.some(keys, draw.one([2, 3]))
        columns = [draw.some(pool, len(own)) for pool in pools]
        values = list(zip(*columns, strict=True))
        found: list[str] = []
        for key, part in zip(own, values, strict=True):
            found += [key, between, *part, after]
        asked = draw.one(range(len(own)))
        found += [own[asked], ask, values[asked][wanted], end]
        return found, len(found) - 2

    return row


def turned(draw: Draw) -> Row:
    """As sections, with the value before the facts and its key behind them."""
    keys = _keys(draw)
    between, after, ask, end = _marks(draw)

    def row(draw: Draw):
        own = draw.some(keys, draw.one([2, 2, 3]))
        values = some_words(draw, len(own))
        asked = draw.one(range(len(own)))
        found = [values[asked], ask]
        for key, value in zip(own, values, strict=True):
            found += [*key, between, value, after]
        return [*found, *own[asked], end], len(found)

    return row


def _keys(draw: Draw) -> list[list[str]]:
    return [
        some_words(draw, draw.one([1, 1, 2])) for _ in range(draw.one(range(4, 11)))
    ]


def _columns(draw: Draw, n: int) -> list[list[str]]:
    """The words of n columns: each a class of its own, or any words."""
    if draw.chance(0.4):
        return [some_words(draw, 8) for _ in range(n)]
    found: list[list[str]] = []
    while len(found) < n:
        column = list(small_class(draw))
        if column not in found:
            found.append(column)
    return found


def _marks(draw: Draw) -> list[str]:
    """What stands between key and value, after a fact, in a question, at the end."""
    between, after, ask, end = draw.some(PUNCTUATION, 4)
    return [between, after, between if draw.chance(0.5) else ask, end]
