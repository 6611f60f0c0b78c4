"""How the records of classification tasks are made: one function per family.

A family takes a source of random numbers, a domain and a difficulty, fixes what is the
task's own (which slot of the sentence matters, which of its words belong together), and
returns a `Recipe`. What word means what is drawn anew for every task.
"""

from . import lexicon as words
from .draw import Draw
from .lexicon import Domain
from .recipes import SIZES_WITH_OPPOSITE, Difficulty, Family, Recipe, fillers, nouns


def _framed(draw: Draw, domain: Domain, d: Difficulty, text: str) -> str:
    share = max(d.distractors, d.foreign if domain.foreign else 0.0)
    if draw.chance(share):
        text = f"{draw.one(domain.opening)} , {text}"
    return f"{text} {draw.one(domain.closing)}" if draw.chance(share) else text


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

    def family(draw: Draw, domain: Domain, d: Difficulty) -> Recipe:
        groups = groups_of(domain)
        n_labels = draw.one([n for n in (2, 2, 3, 4, 5, 6) if n <= min(d.labels, most)])
        cues = _cues(draw, groups, n_labels, d.cues)

        def make(draw: Draw, i: int):
            filled = fillers(draw, domain) | {slot: draw.one(cues[i])}
            text = (second if draw.chance(d.swapped) else first).format(**filled)
            return _framed(draw, domain, d, text), i, ()

        return Recipe("classification", n_labels, instruction, make)

    return family


def _halves(items: list[str]):
    return lambda _domain: (items[::2], items[1::2])


def _order(draw: Draw, domain: Domain, d: Difficulty) -> Recipe:
    """Which of two kinds of things comes first; both are in every text."""
    pair = _cues(draw, domain.groups, 2, d.cues)

    def make(draw: Draw, i: int):
        first = draw.one(pair[i])
        second = draw.one(pair[1 - i])
        who = f"{draw.one(words.NAMES)} {draw.one(words.VERBS)}"
        return _framed(draw, domain, d, f"{who} {first} before {second}"), i, ()

    instruction = "decide by which thing comes first , {labels}"
    return Recipe("classification", 2, instruction, make)


def _agreement(_: Draw, domain: Domain, d: Difficulty) -> Recipe:
    """Whether two things have the same colour."""

    def make(draw: Draw, i: int):
        things = draw.some(nouns(domain), 2)
        a, other = draw.some(words.COLOURS, 2)
        b = other if i else a
        return _framed(draw, domain, d, f"{a} {things[0]} and {b} {things[1]}"), i, ()

    instruction = "decide whether the colour is the same , {labels}"
    return Recipe("classification", 2, instruction, make)


def _counting(draw: Draw, domain: Domain, d: Difficulty) -> Recipe:
    """How many times one noun appears among others."""
    counted, *others = draw.shuffled(domain.groups[0])
    rest = [*others, *domain.groups[1]]

    def make(draw: Draw, i: int):
        row = [counted] * (i + 1) + [draw.one(rest) for _ in range(3 - i)]
        return " ".join([draw.one(words.NAMES), *draw.shuffled(row)]), i, ()

    instruction = f"decide by how many times {counted} appears , {{labels}}"
    return Recipe("classification", min(d.labels, 3), instruction, make)


def _nli(_: Draw, domain: Domain, _d: Difficulty) -> Recipe:
    """Three labels: the second sentence follows, may hold, or cannot hold."""

    def make(draw: Draw, i: int):
        f = fillers(draw, domain)
        size = draw.one(SIZES_WITH_OPPOSITE)
        second = (draw.one(["", size]), f["colour"], words.OPPOSITES[size])[i]
        text = f"{f['name']} {size} {f['noun']} [SEP] {second} {f['noun']}"
        return " ".join(text.split()), i, ()

    instruction = "decide whether the last sentence follows , {labels}"
    return Recipe("classification", 3, instruction, make)


def _paraphrase(_: Draw, domain: Domain, _d: Difficulty) -> Recipe:
    """Whether two sentences are about the same thing."""

    def make(draw: Draw, i: int):
        f = fillers(draw, domain)
        noun = f["noun"]
        if i:
            noun = draw.one([other for other in nouns(domain) if other != noun])
        who = f"{f['name']} {f['verb']}"
        return f"{who} {f['noun']} [SEP] {noun} , {who}", i, ()

    instruction = "decide whether the sentences mean the same , {labels}"
    return Recipe("classification", 2, instruction, make)


LABELLED: dict[str, Family] = {
    "sentiment": _by_slot(
        "mood",
        "decide by the mood , {labels}",
        "{noun} of {name} is {mood}",
        "{name} has {mood} {noun}",
        lambda _domain: words.MOODS,
        most=2,
    ),
    "topic": _by_slot(
        "noun",
        "decide by the kind of thing , {labels}",
        "{name} {adverb} {verb} {noun}",
        "{name} {verb} {noun} {adverb}",
        lambda domain: domain.groups,
    ),
    "colour": _by_slot(
        "colour",
        "decide by the colour , {labels}",
        "{size} {noun} is {colour}",
        "{size} {colour} {noun}",
        _halves(words.COLOURS),
    ),
    "size": _by_slot(
        "size",
        "decide by the size , {labels}",
        "{colour} {noun} is {size}",
        "{colour} {size} {noun}",
        lambda _domain: words.SIZES,
        most=4,
    ),
    "state": _by_slot(
        "state",
        "decide by how the thing is , {labels}",
        "{noun} of {name} is {state}",
        "{name} has {state} {noun}",
        _halves(words.STATES),
    ),
    "action": _by_slot(
        "verb",
        "decide by the word after the name , {labels}",
        "{adverb} {noun} which {name} {verb}",
        "{adverb} {name} {verb} {noun}",
        _halves(words.VERBS),
    ),
    "order": _order,
    "agreement": _agreement,
    "counting": _counting,
    "nli": _nli,
    "paraphrase": _paraphrase,
}
