"""How the examples of tasks about a relation are made.

Two words are the same, opposite or neither, or a word stands there once or twice. The
two stand at the start of the text, and in most examples (but for a share ``once``)
again at its end. In a share of the examples (``shared``) nothing but the relation tells
the label; in the others the label has words of its own, too, drawn for the task, so
that a reader of words gets somewhere as well.
"""

from . import lexicon as words
from .draw import Draw
from .lexicon import Domain
from .recipes import OPPOSED, Difficulty, Family, Recipe, before, nouns


def _said(draw: Draw, domain: Domain, d: Difficulty, pair, middle: str = "") -> str:
    """The pair, a thing of somebody's, and in most texts the pair again."""
    gap = [draw.one(words.ADVERBS) for _ in range(d.gap)]
    said = " ".join([pair[0], *gap, pair[1]])
    thing = f"{draw.one(nouns(domain))} {middle} {draw.one(words.NAMES)}"
    again = "" if draw.chance(d.once) else said
    return before(draw, domain, d, " ".join(f"{said} {thing} {again}".split()))


def _same(pool: list[str], instruction: str, middle: str) -> Family:
    """Whether two words of a pool are the same."""

    def family(draw: Draw, domain: Domain, d: Difficulty, _turn: int) -> Recipe:
        mixed = draw.shuffled(pool)
        n = max(2, d.cues - 1)  # words of a label's own
        own = mixed[:n], mixed[n : 2 * n]

        def make(draw: Draw, i: int):
            a, other = draw.some(pool if draw.chance(d.shared) else own[i], 2)
            pair = (a, other if i else a)
            return _said(draw, domain, d, pair, middle), i, ()

        return Recipe("classification", 2, instruction, make)

    return family


def _contrast(draw: Draw, domain: Domain, d: Difficulty, _turn: int) -> Recipe:
    """Whether the second of two sizes is the opposite of the first."""
    own = _opposites(draw)

    def make(draw: Draw, i: int):
        shared = draw.chance(d.shared)
        a = draw.one(OPPOSED if shared else own[i])
        b = words.OPPOSITES[a]
        if i:
            b = draw.one([s for s in OPPOSED if s != b]) if shared else a
        return _said(draw, domain, d, (a, b)), i, ()

    instruction = "decide whether it is the opposite , {labels}"
    return Recipe("classification", 2, instruction, make)


def _opposites(draw: Draw) -> list[list[str]]:
    """The pairs of opposite sizes, in the task's order."""
    pairs = [[a, words.OPPOSITES[a]] for a in OPPOSED if a in words.SIZES[0]]
    return draw.shuffled(pairs)


def _nli(draw: Draw, domain: Domain, d: Difficulty, _turn: int) -> Recipe:
    """Three labels: what is said next follows, may hold, or cannot hold."""
    own = _opposites(draw)

    def make(draw: Draw, i: int):
        size = draw.one(OPPOSED if draw.chance(d.shared) else own[i])
        second = (size, draw.one(words.COLOURS), words.OPPOSITES[size])[i]
        return _said(draw, domain, d, (size, second), "[SEP]"), i, ()

    instruction = "decide whether the last sentence follows , {labels}"
    return Recipe("classification", 3, instruction, make)


def _counting(draw: Draw, domain: Domain, d: Difficulty, _turn: int) -> Recipe:
    """Whether the task's word stands once or twice in a pair of words."""
    counted, *others = draw.shuffled(words.STATES)

    def make(draw: Draw, i: int):
        pair = [counted, counted if i else draw.one(others)]
        return _said(draw, domain, d, draw.shuffled(pair)), i, ()

    instruction = f"decide by how many times {counted} appears , {{labels}}"
    return Recipe("classification", 2, instruction, make)


RELATED: dict[str, Family] = {
    "agreement": _same(
        words.COLOURS, "decide whether the colour is the same , {labels}", ""
    ),
    "contrast": _contrast,
    "counting": _counting,
    "nli": _nli,
    "paraphrase": _same(
        words.VERBS, "decide whether the sentences mean the same , {labels}", "[SEP]"
    ),
}
