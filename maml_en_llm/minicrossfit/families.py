"""How the records of tasks with a cue are made: one word of the text says the label.

A family takes a source of random numbers, a domain, a difficulty and the task's turn,
fixes what is the task's own (which words mean the same label), and returns a `Recipe`.
What word means what is drawn anew for every task. Texts are short, and the cue comes
first in most of them, so that it follows the label where texts are scored by labels.
"""

from . import lexicon as words
from .draw import Draw
from .lexicon import Domain
from .recipes import Difficulty, Family, Recipe, before, fillers, share_of_frames
from .relations import RELATED


def _framed(draw: Draw, domain: Domain, d: Difficulty, text: str) -> str:
    text = before(draw, domain, d, text)
    if draw.chance(share_of_frames(domain, d)):
        return f"{text} {draw.one(domain.closing)}"
    return text


def _cues(draw: Draw, groups, n_labels: int, n: int) -> list[list[str]]:
    """n words for each label.

    A half of each group where there are more labels than groups.
    """
    if n_labels <= len(groups):
        return [
            draw.some(group, min(n, len(group)))
            for group in draw.some(groups, n_labels)
        ]
    parts = -(-n_labels // len(groups))
    split = [
        row[i::parts][:n] for row in map(draw.shuffled, groups) for i in range(parts)
    ]
    return draw.some(split, n_labels)


def _by_slot(
    slot: str, instruction: str, first: str, second: str, groups_of, most: int = 99
) -> Family:
    """A family in which the words of one slot decide.

    ``first`` and ``second`` are the two orders of the clauses.
    """

    def family(draw: Draw, domain: Domain, d: Difficulty, turn: int) -> Recipe:
        groups = groups_of(domain)
        counts = [n for n in (2, 3, 2, 4, 5, 6) if n <= min(d.labels, most)]
        n_labels = counts[turn % len(counts)]
        cues = _cues(draw, groups, n_labels, d.cues)

        def make(draw: Draw, i: int):
            filled = fillers(draw, domain) | {slot: draw.one(cues[i])}
            text = (second if draw.chance(d.swapped) else first).format(**filled)
            return _framed(draw, domain, d, text), i, ()

        return Recipe("classification", n_labels, instruction, make)

    return family


def _halves(items: list[str]):
    return lambda _domain: (items[::2], items[1::2])


def _order(draw: Draw, domain: Domain, d: Difficulty, _turn: int) -> Recipe:
    """Which of two kinds of things comes first; both are in every text."""
    pair = _cues(draw, domain.groups, 2, d.cues)

    def make(draw: Draw, i: int):
        things = f"{draw.one(pair[i])} before {draw.one(pair[1 - i])}"
        who = f"{draw.one(words.NAMES)} {draw.one(words.VERBS)}"
        text = f"{who} {things}" if draw.chance(d.swapped) else f"{things} {who}"
        return _framed(draw, domain, d, text), i, ()

    instruction = "decide by which thing comes first , {labels}"
    return Recipe("classification", 2, instruction, make)


CUED: dict[str, Family] = {
    "sentiment": _by_slot(
        "mood",
        "decide by the mood , {labels}",
        "{mood} {noun} {name}",
        "{name} {mood} {noun}",
        lambda _domain: words.MOODS,
        most=2,
    ),
    "topic": _by_slot(
        "noun",
        "decide by the kind of thing , {labels}",
        "{noun} {mood} {name}",
        "{mood} {noun} {name}",
        lambda domain: domain.groups,
    ),
    "colour": _by_slot(
        "colour",
        "decide by the colour , {labels}",
        "{colour} {noun} {size}",
        "{size} {colour} {noun}",
        _halves(words.COLOURS),
    ),
    "size": _by_slot(
        "size",
        "decide by the size , {labels}",
        "{size} {noun} {colour}",
        "{colour} {size} {noun}",
        lambda _domain: words.SIZES,
        most=4,
    ),
    "state": _by_slot(
        "state",
        "decide by how the thing is , {labels}",
        "{state} {noun} {name}",
        "{name} {state} {noun}",
        _halves(words.STATES),
    ),
    "action": _by_slot(
        "verb",
        "decide by what is with the name , {labels}",
        "{verb} {noun} {name}",
        "{name} {verb} {noun}",
        _halves(words.VERBS),
    ),
    "order": _order,
}

LABELLED: dict[str, Family] = CUED | RELATED
