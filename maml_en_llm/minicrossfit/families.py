"""How MiniCrossFit's records are made: one function a family of tasks.

A family takes a source of random numbers, a domain and a difficulty, fixes what is the task's own (which slot of the sentence
matters, which of its words belong together), and returns a `Recipe`. What word means what is drawn anew for every task.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from . import lexicon as words
from .draw import Draw
from .lexicon import Domain


@dataclass(frozen=True, kw_only=True)
class Difficulty:
    """The knobs: sizes in words, the others are shares of the records."""

    labels: int = 3  # most labels of a classification task
    cues: int = 3  # words that stand for one label
    facts: int = 3  # facts of a question's context
    distractors: float = 0.0  # share with words before, and share with words after, the sentence that say nothing
    foreign: float = (
        0.4  # the same in the domains that are never trained on, if that is more
    )
    swapped: float = (
        0.25  # share with another order of clauses, which moves the word that matters
    )
    noise: float = (
        0.0  # share of training records and demonstrations with a wrong label
    )


DIFFICULTIES = {
    "easy": Difficulty(labels=2, cues=2, facts=2, foreign=0.0, swapped=0.0),
    "normal": Difficulty(),
    "hard": Difficulty(
        labels=6, cues=4, facts=4, distractors=0.5, foreign=1.0, swapped=0.5, noise=0.1
    ),
}


class Recipe(NamedTuple):
    """``make(draw, i)`` gives (input, answer, options) of a record of class i < ``classes``.

    In a classification task the answer is the class number, and the labels are chosen by the caller.
    """

    kind: str  # "classification", "multi-choice", "free-form"
    classes: int
    instruction: str  # with {labels} in it where there are some
    make: Callable


def _framed(draw: Draw, domain: Domain, d: Difficulty, text: str) -> str:
    share = max(d.distractors, d.foreign if domain.foreign else 0.0)
    if draw.chance(share):
        text = f"{draw.one(domain.opening)} , {text}"
    return f"{text} {draw.one(domain.closing)}" if draw.chance(share) else text


def _cues(draw: Draw, groups, n_labels: int, n: int) -> list[list[str]]:
    """n words for each label: a half of each group where there are more labels than groups."""
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


def _by_slot(slot, instruction, first, second, groups_of, most=99):
    """A family in which the words of one slot decide; ``first`` and ``second`` are the two orders of the clauses."""

    def family(draw: Draw, domain: Domain, d: Difficulty) -> Recipe:
        groups = groups_of(domain)
        n_labels = draw.one([n for n in (2, 2, 3, 4, 5, 6) if n <= min(d.labels, most)])
        cues = _cues(draw, groups, n_labels, d.cues)

        def make(draw: Draw, i: int):
            filled = _fillers(draw, domain) | {slot: draw.one(cues[i])}
            text = (second if draw.chance(d.swapped) else first).format(**filled)
            return _framed(draw, domain, d, text), i, ()

        return Recipe("classification", n_labels, instruction, make)

    return family


def _fillers(draw: Draw, domain: Domain) -> dict[str, str]:
    slots = dict(
        noun=_nouns(domain),
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


def _nouns(domain: Domain) -> list[str]:
    return [noun for group in domain.groups for noun in group]


_SIZES_WITH_OPPOSITE = [
    word for word in words.OPPOSITES if word in words.SIZES[0] + words.SIZES[1]
]


def _halves(items):
    return lambda domain: (items[::2], items[1::2])


sentiment = _by_slot(
    "mood",
    "decide by the mood , {labels}",
    "{noun} of {name} is {mood}",
    "{name} has {mood} {noun}",
    lambda domain: words.MOODS,
    most=2,
)


topic = _by_slot(
    "noun",
    "decide by the kind of thing , {labels}",
    "{name} {adverb} {verb} {noun}",
    "{name} {verb} {noun} {adverb}",
    lambda domain: domain.groups,
)


colour = _by_slot(
    "colour",
    "decide by the colour , {labels}",
    "{size} {noun} is {colour}",
    "{size} {colour} {noun}",
    _halves(words.COLOURS),
)


size = _by_slot(
    "size",
    "decide by the size , {labels}",
    "{colour} {noun} is {size}",
    "{colour} {size} {noun}",
    lambda domain: words.SIZES,
    most=4,
)


state = _by_slot(
    "state",
    "decide by how the thing is , {labels}",
    "{noun} of {name} is {state}",
    "{name} has {state} {noun}",
    _halves(words.STATES),
)


action = _by_slot(
    "verb",
    "decide by the word after the name , {labels}",
    "{adverb} {noun} which {name} {verb}",
    "{adverb} {name} {verb} {noun}",
    _halves(words.VERBS),
)


def order(draw: Draw, domain: Domain, d: Difficulty) -> Recipe:
    """Which of two kinds of things comes first; both are in every text."""
    pair = _cues(draw, domain.groups, 2, d.cues)

    def make(draw: Draw, i: int):
        first, second = draw.one(pair[i]), draw.one(pair[1 - i])
        return (
            _framed(
                draw,
                domain,
                d,
                f"{draw.one(words.NAMES)} {draw.one(words.VERBS)} {first} before {second}",
            ),
            i,
            (),
        )

    return Recipe(
        "classification", 2, "decide by which thing comes first , {labels}", make
    )


def agreement(draw: Draw, domain: Domain, d: Difficulty) -> Recipe:
    """Whether two things have the same colour."""

    def make(draw: Draw, i: int):
        things = draw.some(_nouns(domain), 2)
        a, other = draw.some(words.COLOURS, 2)
        b = other if i else a
        return _framed(draw, domain, d, f"{a} {things[0]} and {b} {things[1]}"), i, ()

    return Recipe(
        "classification", 2, "decide whether the colour is the same , {labels}", make
    )


def counting(draw: Draw, domain: Domain, d: Difficulty) -> Recipe:
    """How many times one noun appears among others."""
    counted, *others = draw.shuffled(domain.groups[0])
    n_labels = min(d.labels, 3)

    def make(draw: Draw, i: int):
        row = [counted] * (i + 1) + [
            draw.one([*others, *domain.groups[1]]) for _ in range(3 - i)
        ]
        return " ".join([draw.one(words.NAMES), *draw.shuffled(row)]), i, ()

    return Recipe(
        "classification",
        n_labels,
        f"decide by how many times {counted} appears , {{labels}}",
        make,
    )


def nli(draw: Draw, domain: Domain, d: Difficulty) -> Recipe:
    """Three labels: the second sentence follows, may hold, or cannot hold."""

    def make(draw: Draw, i: int):
        f = _fillers(draw, domain)
        size = draw.one(_SIZES_WITH_OPPOSITE)
        second = (draw.one(["", size]), f["colour"], words.OPPOSITES[size])[i]
        return (
            " ".join(
                f"{f['name']} {size} {f['noun']} [SEP] {second} {f['noun']}".split()
            ),
            i,
            (),
        )

    return Recipe(
        "classification", 3, "decide whether the last sentence follows , {labels}", make
    )


def paraphrase(draw: Draw, domain: Domain, d: Difficulty) -> Recipe:
    """Whether two sentences are about the same thing."""

    def make(draw: Draw, i: int):
        f = _fillers(draw, domain)
        noun = (
            draw.one([n for n in _nouns(domain) if n != f["noun"]]) if i else f["noun"]
        )
        return (
            f"{f['name']} {f['verb']} {f['noun']} [SEP] {noun} , {f['name']} {f['verb']}",
            i,
            (),
        )

    return Recipe(
        "classification",
        2,
        "decide whether the sentences mean the same , {labels}",
        make,
    )


def _by_fact(instruction, fact, question, answers):
    """A family of questions over a context of facts; the options are the ``answers`` that the facts name."""

    def family(draw: Draw, domain: Domain, d: Difficulty) -> Recipe:
        wanted = draw.one(
            answers
        )  # where a fact has two possible answers the task decides which is meant

        def make(draw: Draw, i: int):
            m = draw.one(range(2, d.facts + 1))
            columns = [
                draw.some(pool, m)
                for pool in (_nouns(domain), words.NAMES, words.PLACES, words.COLOURS)
            ]
            rows = [
                dict(zip(("noun", "name", "place", "colour"), row))
                for row in zip(*columns)
            ]
            asked = draw.one(rows)
            text = " . ".join(
                [*(fact.format(**row) for row in rows), question.format(**asked)]
            )
            return (
                text,
                asked[wanted],
                tuple(draw.shuffled([row[slot] for row in rows for slot in answers])),
            )

        return Recipe("multi-choice", 1, instruction, make)

    return family


holder = _by_fact(
    "answer the question from the context", "{noun} , {name}", "{noun}", ["name"]
)


place = _by_fact(
    "answer the question from the context", "{noun} in {place}", "{noun} in", ["place"]
)


shade = _by_fact(
    "answer the question from the context",
    "{noun} is {colour}",
    "{noun} is",
    ["colour"],
)


which = _by_fact(
    "answer the question from the context",
    "{noun} , {name} {colour}",
    "{noun}",
    ["name", "colour"],
)


def pick(draw: Draw, domain: Domain, d: Difficulty) -> Recipe:
    """The one word of a kind that the task has in mind, among words of the other kind."""
    key, rest = draw.some(domain.groups, 2)

    def make(draw: Draw, i: int):
        row = draw.shuffled([draw.one(key), *draw.some(rest, d.facts - 1)])
        answer = next(word for word in row if word in key)
        text = f"{draw.one(words.NAMES)} {' '.join(row)}"
        return text, answer, tuple(draw.shuffled(row))

    return Recipe("multi-choice", 1, "choose the word of the other kind", make)


def _free(instruction, answer):
    def family(draw: Draw, domain: Domain, d: Difficulty) -> Recipe:
        def make(draw: Draw, i: int):
            f = _fillers(draw, domain) | {"size": draw.one(_SIZES_WITH_OPPOSITE)}
            text = "{name} {verb} {size} {colour} {noun}".format(**f)
            return text, answer(f, text), ()

        return Recipe("free-form", 1, instruction, make)

    return family


copy = _free("copy the text", lambda f, text: text)


extract_noun = _free("say the noun", lambda f, text: f["noun"])


extract_name = _free("say the name", lambda f, text: f["name"])


extract_colour = _free("say the colour", lambda f, text: f["colour"])


last = _free("say the last words", lambda f, text: f"{f['colour']} {f['noun']}")


swap = _free(
    "swap the colour and the noun", lambda f, text: f"{f['noun']} {f['colour']}"
)


opposite = _free(
    "say the opposite of the size", lambda f, text: words.OPPOSITES[f["size"]]
)


first = _free(
    "say the name and the word after it", lambda f, text: f"{f['name']} {f['verb']}"
)
