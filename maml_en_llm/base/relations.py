"""Texts about how the words of a row relate: what a label says is in no single word.

Every row ends with an answer: whether two words are the same, how often one stands
there, which comes first, whether two are opposites. In `told` an answer is a word that
means it ("same", "two", …), alike in all texts; in `relations` the answers are drawn
for each text, so that a row can be answered only from the rows before it.
"""

from collections.abc import Callable

from ..minicrossfit import lexicon as words
from ..minicrossfit.draw import Draw
from .corpus import PUNCTUATION, some_words
from .rows import Row

Related = Callable[[Draw], tuple[list[str], int]]  # words, and the answer's number
OPPOSITES = list(words.OPPOSITES.items())


def relations(draw: Draw) -> Row:
    """Rows of one relation; its answers are drawn for the text."""
    relation, meanings = draw.one(RELATIONS)
    return _answered(draw, relation(draw), some_words(draw, len(meanings.split())))


def told(draw: Draw) -> Row:
    """Rows of one relation; its answers are the words that mean them."""
    relation, meanings = draw.one(RELATIONS)
    return _answered(draw, relation(draw), meanings.split())


def _answered(draw: Draw, related: Related, answers: list[str]) -> Row:
    between, end = draw.some(PUNCTUATION, 2)

    def row(draw: Draw):
        part, answer = related(draw)
        return [*part, between, answers[answer], end], len(part) + 1

    return row


def _same(draw: Draw) -> Related:
    """Whether the words in two places are the same; other places say nothing.

    A place that says nothing has one word in all rows of a text, or any of a pool.
    """
    pool = some_words(draw, draw.one([3, 4, 6, 8, 16]))
    idle = [_idle(draw) for _ in range(draw.one([0, 0, 1, 2, 3]))]
    first, second = sorted(draw.some(range(len(idle) + 2), 2))

    def row(draw: Draw):
        other = draw.one([0, 1])
        pair = draw.some(pool, 2)
        found = [draw.one(place) for place in idle]
        found.insert(first, pair[0])
        found.insert(second, pair[other])
        return found, other

    return row


def _count(draw: Draw) -> Related:
    """How often the text's own word stands in a row of a fixed length."""
    counted, *others = some_words(draw, draw.one([2, 2, 4, 10]))
    size = draw.one([3, 4, 4])
    lead = [_idle(draw)] if draw.chance(0.3) else []

    def row(draw: Draw):
        times = draw.one([0, 1, 2])
        rest = [draw.one(others) for _ in range(size - times - 1)]
        found = draw.shuffled([*[counted] * (times + 1), *rest])
        return [*(draw.one(place) for place in lead), *found], times

    return row


def _order(draw: Draw) -> Related:
    """Which of two sets of words comes first."""
    size = draw.one([1, 1, 2, 3])
    pool = some_words(draw, 2 * size)
    sets = pool[:size], pool[size:]
    idle = [_idle(draw) for _ in range(draw.one([0, 1, 2]))]
    first, second = sorted(draw.some(range(len(idle) + 2), 2))

    def row(draw: Draw):
        which = draw.one([0, 1])
        found = [draw.one(place) for place in idle]
        found.insert(first, draw.one(sets[which]))
        found.insert(second, draw.one(sets[1 - which]))
        return found, which

    return row


def _opposite(draw: Draw) -> Related:
    """Whether a second word is the first again, its opposite, or neither."""
    return _opposed(draw)


def _contrast(draw: Draw) -> Related:
    """Whether two words are opposites; they are never the same."""
    related = _opposed(draw)

    def row(draw: Draw):
        found, answer = related(draw)
        while not answer:
            found, answer = related(draw)
        return found, answer - 1

    return row


def _opposed(draw: Draw) -> Related:
    idle = [_idle(draw) for _ in range(draw.one([0, 1, 1, 2]))]
    split = draw.one(range(len(idle) + 1))
    middle = [draw.one([*PUNCTUATION, "[SEP]", "and"])] if draw.chance(0.7) else []
    known = draw.some(OPPOSITES, draw.one([2, 4, len(OPPOSITES)]))
    others = some_words(draw, 8) if draw.chance(0.5) else list(words.OPPOSITES)

    def row(draw: Draw):
        word, opposite = draw.one(known)
        which = draw.one([0, 1, 2])
        neither = draw.one([w for w in others if w not in (word, opposite)])
        before, behind = (
            [draw.one(place) for place in part] for part in (idle[:split], idle[split:])
        )
        second = (word, opposite, neither)[which]
        return [*before, word, *middle, second, *behind], which

    return row


def _again(draw: Draw) -> Related:
    """Whether a group of words is repeated whole, or with one word changed."""
    pool = some_words(draw, draw.one([6, 12, 24]))
    size = draw.one([1, 2, 2, 3])
    changed = draw.one(range(size))
    middle = draw.one([*PUNCTUATION, "[SEP]", "and"])
    turned = draw.chance(0.3)  # the changed word comes first the second time

    def row(draw: Draw):
        *group, new = draw.some(pool, size + 1)
        other = draw.one([0, 1])
        second = list(group)
        if other:
            second[changed] = new
        if turned:
            second.insert(0, second.pop(changed))
        return [*group, middle, *second], other

    return row


def _idle(draw: Draw) -> list[str]:
    return some_words(draw, draw.one([1, 1, 8]))


SAME = _same, "same other"
AGAIN = _again, "same other"
COUNT = _count, "one two three"
ORDER = _order, "first second"
OPPOSITE = _opposite, "same opposite other"
CONTRAST = _contrast, "opposite other"
RELATIONS = [
    SAME,
    SAME,
    AGAIN,
    COUNT,
    ORDER,
    OPPOSITE,
    CONTRAST,
]  # how often each is drawn
