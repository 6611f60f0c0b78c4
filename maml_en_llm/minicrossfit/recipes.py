"""What a family of tasks is made of: how hard, and how an example comes about."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple

from ..errors import check_integer, check_number
from . import lexicon as words
from .draw import Draw
from .lexicon import Domain

_COUNTS = {  # least, most
    "labels": (2, 6),
    "cues": (1, 6),
    "facts": (2, 7),
    "gap": (0, 3),
}


@dataclass(frozen=True, kw_only=True)
class Difficulty:
    """The knobs: sizes in words, the others are shares of the examples.

    Raises:
        ValueError: names the field, what was expected and what was found.
    """

    labels: int = 3  # most labels of a classification task
    cues: int = 3  # words that stand for one label
    facts: int = 3  # most facts of a question's context; words of a row to pick from
    gap: int = 0  # words that say nothing between two words that are to be compared
    # share with words before, and share with words after, the sentence that say nothing
    distractors: float = 0.0
    # the same in the domains that are never trained on, if that is more
    foreign: float = 0.4
    # share with another order of clauses, which moves the word that matters
    swapped: float = 0.25
    # share of a relation's examples in which no word is one label's own
    shared: float = 0.3
    # share of a relation's examples in which its words stand far from the text's end
    once: float = 0.4
    # share of training examples and demonstrations with a wrong label
    noise: float = 0.0

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _COUNTS:
                value = check_integer(field.name, value, *_COUNTS[field.name])
            else:
                value = check_number(field.name, value, 0, 1)
            object.__setattr__(self, field.name, value)


DIFFICULTIES = {
    "easy": Difficulty(
        labels=2, cues=2, facts=2, foreign=0.0, swapped=0.0, shared=0.0, once=0.2
    ),
    "normal": Difficulty(),
    "hard": Difficulty(
        labels=6,
        cues=4,
        facts=4,
        gap=1,
        distractors=0.5,
        foreign=1.0,
        swapped=0.5,
        shared=0.7,
        once=0.7,
        noise=0.1,
    ),
}


class Recipe(NamedTuple):
    """``make(draw, i)`` gives (input, answer, options) of an example of class i.

    i < ``classes``. In a classification task the answer is the class number, and the
    labels are chosen by the caller.
    """

    kind: str  # "classification", "multi-choice", "free-form"
    classes: int
    instruction: str  # with {labels} in it where there are some
    make: Callable


# The last argument is the task's turn: variants and targets of a family take what it
# can ask for in turn, so that no question is asked more often than another.
Family = Callable[[Draw, Domain, Difficulty, int], Recipe]


def fillers(draw: Draw, domain: Domain) -> dict[str, str]:
    """A word for every slot of a sentence, by slot."""
    slots = dict(
        noun=nouns(domain),
        name=words.NAMES,
        verb=words.VERBS,
        place=words.PLACES,
        adverb=words.ADVERBS,
        size=[w for g in words.SIZES for w in g],
        colour=words.COLOURS,
        state=words.STATES,
        mood=[w for g in words.MOODS for w in g],
    )
    return {slot: draw.one(items) for slot, items in slots.items()}


def before(draw: Draw, domain: Domain, d: Difficulty, text: str) -> str:
    """The text, at times after words that say nothing."""
    if draw.chance(share_of_frames(domain, d)):
        return f"{draw.one(domain.opening)} , {text}"
    return text


def share_of_frames(domain: Domain, d: Difficulty) -> float:
    """How often a text of this domain has words around it that say nothing."""
    return max(d.distractors, d.foreign if domain.foreign else 0.0)


def nouns(domain: Domain) -> list[str]:
    """The nouns of both groups of a domain."""
    return [noun for group in domain.groups for noun in group]


# the sizes that have an opposite
OPPOSED = [word for pair in words.SIZES for word in pair if word in words.OPPOSITES]
