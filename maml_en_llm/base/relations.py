"""Texts about how two words of a row relate: what a label says is in no single word.

A row holds an answer and two words, adjacent or with one between: whether they are the
same or opposites, which of two comes first, how often one stands there. In `told` and
`told_first` an answer is a word that means it ("same", "two", …), alike in all texts;
in `related` and `related_first` the answers are drawn for each text, so that a row can
be read only from the rows before it. The answer comes last in the first of either pair
and first in the second, where it tells the last of the words.
"""

from collections.abc import Callable

from ..minicrossfit import lexicon as words
from ..minicrossfit.draw import Draw
from .classes import pool, small_class
from .corpus import PUNCTUATION, some_words
from .rows import Row

Related = Callable[[Draw], tuple[list[str], int]]  # words, and the answer's number
_PAIRS = list(words.OPPOSITES.items())
MIDDLES = [[], [], ["[SEP]"], ["and"], [","]]
_SHORT = "same opposite"  # two answers, either of which tells the second word


def told(draw: Draw) -> Row:
    """``words between answer end``; the answers are the words that mean them."""
    relation, meanings = draw.one(RELATIONS)
    return _last(draw, relation(draw), meanings.split())


def related(draw: Draw) -> Row:
    """``words between answer end``; the answers are drawn for the text."""
    relation, meanings = draw.one(RELATIONS)
    return _last(draw, relation(draw), some_words(draw, len(meanings.split())))


def told_first(draw: Draw) -> Row:
    """``answer between words end``; the answers are the words that mean them."""
    relation, meanings = draw.one(RELATIONS_FIRST)
    return _first(draw, relation(draw), meanings.split(), meanings)


def related_first(draw: Draw) -> Row:
    """``answer between words end``; the answers are drawn for the text."""
    relation, meanings = draw.one(RELATIONS_FIRST)
    drawn = some_words(draw, len(meanings.split()))
    return _first(draw, relation(draw), drawn, meanings)


def _last(draw: Draw, relation: Related, answers: list[str]) -> Row:
    between, end = draw.some(PUNCTUATION, 2)
    behind = [pool(draw, 6)] if draw.chance(0.1) else []

    def row(draw: Draw):
        part, answer = relation(draw)
        part += [draw.one(place) for place in behind]
        return [*part, between, answers[answer], end], len(part) + 1

    return row


def _first(draw: Draw, relation: Related, answers: list[str], meanings: str) -> Row:
    between, end = draw.some(PUNCTUATION, 2)

    def row(draw: Draw):
        part, answer = relation(draw)
        place = len(part) + 1 if meanings == _SHORT else None
        return [answers[answer], between, *part, end], place

    return row


def _pair(draw: Draw, pair: Related) -> Related:
    """Rows of two words that ``pair`` draws, and what else the text has in them."""
    middle = draw.one(MIDDLES)
    before = _lead(draw)

    def row(draw: Draw):
        (first, second), answer = pair(draw)
        return [*(draw.one(place) for place in before), first, *middle, second], answer

    return row


def _same(draw: Draw) -> Related:
    """Whether two words of a small class are the same."""
    among = small_class(draw)

    def pair(draw: Draw):
        first, other = draw.some(among, 2)
        answer = draw.one([0, 1])
        return [first, other if answer else first], answer

    return _pair(draw, pair)


def _opposite(draw: Draw) -> Related:
    """Whether a second word is the first again, its opposite, or neither."""
    known = _known(draw)
    others = list(words.OPPOSITES) if draw.chance(0.5) else small_class(draw)

    def pair(draw: Draw):
        word, opposite = draw.one(known)
        answer = draw.one([0, 1, 2])
        neither = draw.one([w for w in others if w not in (word, opposite)])
        return [word, (word, opposite, neither)[answer]], answer

    return _pair(draw, pair)


def _turned(draw: Draw) -> Related:
    """Whether a second word is the first again or its opposite."""
    known = _known(draw)

    def pair(draw: Draw):
        found, answer = draw.one(known), draw.one([0, 1])
        return [found[0], found[answer]], answer

    return _pair(draw, pair)


def _contrast(draw: Draw) -> Related:
    """Whether two words are opposites; they are never the same."""
    known = _known(draw)
    seconds = [opposite for _, opposite in known]

    def pair(draw: Draw):
        word, opposite = draw.one(known)
        answer = draw.one([0, 1])
        other = draw.one([w for w in seconds if w not in (word, opposite)])
        return [word, other if answer else opposite], answer

    return _pair(draw, pair)


def _order(draw: Draw) -> Related:
    """Which of two sets of words comes first."""
    size = draw.one([1, 1, 2, 3])
    drawn = pool(draw, 2 * size)
    sets = drawn[:size], drawn[size:]

    def pair(draw: Draw):
        answer = draw.one([0, 1])
        return [draw.one(sets[answer]), draw.one(sets[1 - answer])], answer

    return _pair(draw, pair)


def _count(draw: Draw) -> Related:
    """How often the text's own word stands in a row of three."""
    return _counted(draw, 3)


def _twice(draw: Draw) -> Related:
    """Whether the text's own word stands once or twice in a row of three."""
    return _counted(draw, 2)


def _counted(draw: Draw, most: int) -> Related:
    counted, *others = pool(draw, draw.one([2, 2, 4]))
    before = _lead(draw)

    def row(draw: Draw):
        answer = draw.one(range(most))
        rest = [draw.one(others) for _ in range(2 - answer)]
        found = draw.shuffled([*[counted] * (answer + 1), *rest])
        return [*(draw.one(place) for place in before), *found], answer

    return row


def _lead(draw: Draw) -> list[list[str]]:
    """The words of the places before those that count."""
    return [pool(draw, 8) for _ in range(draw.one([0, 0, 1, 2, 2]))]


def _known(draw: Draw) -> list[tuple[str, str]]:
    """Some words with their opposites: of the sizes, or any."""
    sizes = [word for group in words.SIZES for word in group]
    pairs = [pair for pair in _PAIRS if pair[0] in sizes]
    return pairs if draw.chance(0.5) else _PAIRS


# how often each is drawn
RELATIONS = [
    *[(_same, "same other")] * 4,
    *[(_opposite, "same opposite other")] * 2,
    *[(_contrast, "opposite other")] * 2,
    (_count, "one two three"),
    (_twice, "one two"),
    (_order, "first second"),
]
RELATIONS_FIRST = [
    *[(_turned, _SHORT)] * 3,
    *[(_same, "same other")] * 2,
    (_contrast, "opposite other"),
    (_order, "first second"),
]
