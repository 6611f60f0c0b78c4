"""How the records of tasks about a relation are made: no word says the label alone.

Two words at fixed places, near the end of a short text, are the same or
neither; or a word stands there once or more often. Each word is as frequent under one
label as under another, but for the third label of `nli`.
"""

from . import lexicon as words
from .draw import Draw
from .lexicon import Domain
from .recipes import OPPOSED, Difficulty, Family, Recipe, before, nouns

_ROW = 4  # words of a row in which one is counted


def _joined(draw: Draw, d: Difficulty, first: str, second: str) -> str:
    """The two parts of a text, and between them words that say nothing."""
    between = [draw.one(words.ADVERBS) for _ in range(d.gap)]
    return " ".join([first, *between, second])


def _agreement(_: Draw, domain: Domain, d: Difficulty, _turn: int) -> Recipe:
    """Whether two things have the same colour."""

    def make(draw: Draw, i: int):
        thing = f"{draw.one(words.NAMES)} {draw.one(nouns(domain))}"
        a, other = draw.some(words.COLOURS, 2)
        b = other if i else a
        text = _joined(draw, d, f"{thing} {a} and", b)
        return before(draw, domain, d, text), i, ()

    instruction = "decide whether the colour is the same , {labels}"
    return Recipe("classification", 2, instruction, make)


def _contrast(_: Draw, domain: Domain, d: Difficulty, _turn: int) -> Recipe:
    """Whether the second of two words is the opposite of the first."""

    def make(draw: Draw, i: int):
        thing = f"{draw.one(words.NAMES)} {draw.one(nouns(domain))}"
        a = draw.one(OPPOSED)
        b = words.OPPOSITES[a]
        if i:
            b = draw.one([size for size in OPPOSED if size != b])
        text = _joined(draw, d, f"{thing} {a} ,", b)
        return before(draw, domain, d, text), i, ()

    instruction = "decide whether it is the opposite , {labels}"
    return Recipe("classification", 2, instruction, make)


def _counting(draw: Draw, domain: Domain, d: Difficulty, turn: int) -> Recipe:
    """How many times one noun stands in a row; one other noun fills it."""
    counted, other = draw.some(nouns(domain), 2)
    counts = (1, 2, 3) if d.labels > 2 and turn % 2 else (1, 3)

    def make(draw: Draw, i: int):
        row = [counted] * counts[i] + [other] * (_ROW - counts[i])
        who = [draw.one(words.NAMES), draw.one(words.VERBS)]
        text = " ".join([*who, *draw.shuffled(row)])
        return before(draw, domain, d, text), i, ()

    instruction = f"decide by how many times {counted} appears , {{labels}}"
    return Recipe("classification", len(counts), instruction, make)


def _nli(_: Draw, domain: Domain, d: Difficulty, _turn: int) -> Recipe:
    """Three labels: the second sentence follows, may hold, or cannot hold."""

    def make(draw: Draw, i: int):
        size = draw.one(OPPOSED)
        second = (size, draw.one(words.COLOURS), words.OPPOSITES[size])[i]
        thing = f"{draw.one(words.NAMES)} {draw.one(nouns(domain))}"
        text = _joined(draw, d, f"{thing} is {size} [SEP]", second)
        return before(draw, domain, d, text), i, ()

    instruction = "decide whether the last sentence follows , {labels}"
    return Recipe("classification", 3, instruction, make)


def _paraphrase(_: Draw, domain: Domain, d: Difficulty, _turn: int) -> Recipe:
    """Whether two sentences are about the same thing."""

    def make(draw: Draw, i: int):
        name, verb = draw.one(words.NAMES), draw.one(words.VERBS)
        noun, other = draw.some(nouns(domain), 2)
        second = other if i else noun
        text = _joined(draw, d, f"{name} {verb} {noun} [SEP]", f"{verb} {second}")
        return before(draw, domain, d, text), i, ()

    instruction = "decide whether the sentences mean the same , {labels}"
    return Recipe("classification", 2, instruction, make)


RELATED: dict[str, Family] = {
    "agreement": _agreement,
    "contrast": _contrast,
    "counting": _counting,
    "nli": _nli,
    "paraphrase": _paraphrase,
}
