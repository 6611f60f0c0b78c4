"""How the examples of tasks with a cue are made: one word of the text says the label.

A family takes a source of random numbers, a domain, a difficulty and the task's turn,
fixes what is the task's own (which words mean the same label), and returns a `Recipe`.
Which word means which label is drawn anew for every task. A cue stands at the start and
at the end of most texts, next to the label on either side: behind the text, where the
label is asked, or before it, where texts are scored by their label.
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
    instruction: str, groups_of, middle: str = "{noun} {name}", most: int = 99
) -> Family:
    """A family in which the words of one slot decide: two of them and a ``middle``."""

    def family(draw: Draw, domain: Domain, d: Difficulty, turn: int) -> Recipe:
        groups = groups_of(domain)
        counts = [n for n in (2, 3, 2, 4, 5, 6) if n <= min(d.labels, most)]
        n_labels = counts[turn % len(counts)]
        cues = _cues(draw, groups, n_labels, d.cues)

        def make(draw: Draw, i: int):
            between = middle.format(**fillers(draw, domain))
            first, last = draw.one(cues[i]), draw.one(cues[i])
            text = f"{first} {between} {last}"
            if draw.chance(d.swapped):  # both before, or both after
                text = draw.one(
                    [f"{first} {last} {between}", f"{between} {first} {last}"]
                )
            return _framed(draw, domain, d, text), i, ()

        return Recipe("classification", n_labels, instruction, make)

    return family


def _halves(items: list[str]):
    return lambda _domain: (items[::2], items[1::2])


def _order(draw: Draw, domain: Domain, d: Difficulty, _turn: int) -> Recipe:
    """Which of two kinds of things comes first; both are in every text."""
    pair = _cues(draw, domain.groups, 2, d.cues)

    def make(draw: Draw, i: int):
        first, second = draw.one(pair[i]), draw.one(pair[1 - i])
        who = f"{draw.one(words.NAMES)} {draw.one(words.VERBS)}"
        text = f"{first} {who} {second}"
        if draw.chance(d.swapped):
            text = draw.one([f"{first} {second} {who}", f"{who} {first} {second}"])
        return _framed(draw, domain, d, text), i, ()

    instruction = "decide by which thing comes first , {labels}"
    return Recipe("classification", 2, instruction, make)


CUED: dict[str, Family] = {
    "sentiment": _by_slot(
        "decide by the mood , {labels}", lambda _: words.MOODS, most=2
    ),
    "topic": _by_slot(
        "decide by the kind of thing , {labels}",
        lambda domain: domain.groups,
        "{name} {mood}",
    ),
    "colour": _by_slot("decide by the colour , {labels}", _halves(words.COLOURS)),
    "size": _by_slot("decide by the size , {labels}", lambda _: words.SIZES, most=4),
    "state": _by_slot("decide by how the thing is , {labels}", _halves(words.STATES)),
    "action": _by_slot(
        "decide by what is with the name , {labels}", _halves(words.VERBS)
    ),
    "order": _order,
}

LABELLED: dict[str, Family] = CUED | RELATED
