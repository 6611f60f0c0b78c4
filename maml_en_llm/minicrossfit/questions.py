"""How the examples of questions and of free-form tasks are made, by family."""

from collections.abc import Callable, Mapping

from . import lexicon as words
from .draw import Draw
from .lexicon import DOMAINS, Domain
from .recipes import OPPOSED, Difficulty, Family, Recipe, fillers, nouns

_SLOTS: dict[str, list[str]] = {
    "name": words.NAMES,
    "place": words.PLACES,
    "colour": words.COLOURS,
    "state": words.STATES,
}


_MARKS = ["with", "at", "of", "to", "by", "from", "in"]


def _about(*slots: str) -> Family:
    """Facts about nouns, one word for each of ``slots``, then one of the nouns.

    The answer is a word of that noun's fact. Which of its slots is meant is fixed for
    the task, and nothing in a text says it. Options are the words of all facts.
    """

    def family(_: Draw, domain: Domain, d: Difficulty, turn: int) -> Recipe:
        wanted = slots[turn % len(slots)]
        # more facts where a frequent answer would tell the slot, and so half the rest
        fewest = d.facts if len(slots) > 1 else 2

        def make(draw: Draw, _: int):
            n = draw.one(range(fewest, d.facts + 1))
            things = draw.some(nouns(domain), n)
            columns = {slot: draw.some(_SLOTS[slot], n) for slot in slots}
            facts = []
            for i, thing in enumerate(things):
                about = " ".join(columns[slot][i] for slot in slots)
                facts.append(f"{thing} , {about}")
            asked = draw.one(range(n))
            text = " . ".join([*facts, things[asked]])
            options = draw.shuffled([w for slot in slots for w in columns[slot]])
            return text, columns[wanted][asked], tuple(options)

        instruction = "answer the question from the context"
        return Recipe("multi-choice", 1, instruction, make)

    return family


def _pick(draw: Draw, domain: Domain, d: Difficulty, turn: int) -> Recipe:
    """The part of a text that begins with the task's mark; its words may be any."""
    marks = draw.some(_MARKS, d.facts)
    wanted = marks[turn % len(marks)]
    others = [other for other in DOMAINS.values() if not other.foreign]
    pool = sorted({word for field in (domain, *others) for word in nouns(field)})

    def make(draw: Draw, _: int):
        picked = zip(marks, draw.some(pool, len(marks)), strict=True)
        parts = {mark: f"{mark} {word}" for mark, word in picked}
        row = draw.shuffled(list(parts.values()))
        return " ".join(row), parts[wanted], tuple(draw.shuffled(row))

    return Recipe("multi-choice", 1, "choose the words of the place", make)


def _free(instruction: str, answer: Callable[[Mapping[str, str]], str]) -> Family:
    """A family that writes a part of the text; ``answer`` takes its words by slot."""

    def family(_draw, domain: Domain, _d: Difficulty, _turn: int) -> Recipe:
        def make(draw: Draw, _: int):
            f = fillers(draw, domain) | {"size": draw.one(OPPOSED)}
            f["text"] = "{name} {verb} {size} {colour} {noun}".format(**f)
            return f["text"], answer(f), ()

        return Recipe("free-form", 1, instruction, make)

    return family


QUESTIONS: dict[str, Family] = {
    "holder": _about("name"),
    "place": _about("place"),
    "shade": _about("colour"),
    "which": _about("name", "colour"),
    "feature": _about("state", "place"),
    "trio": _about("name", "place", "colour"),
    "pick": _pick,
}

FREE_FORM: dict[str, Family] = {
    "copy": _free("copy the text", lambda f: f["text"]),
    "extract_noun": _free("say the noun", lambda f: f["noun"]),
    "extract_name": _free("say the name", lambda f: f["name"]),
    "extract_colour": _free("say the colour", lambda f: f["colour"]),
    "last": _free("say the last words", lambda f: f"{f['colour']} {f['noun']}"),
    "swap": _free(
        "swap the colour and the noun", lambda f: f"{f['noun']} {f['colour']}"
    ),
    "opposite": _free(
        "say the opposite of the size", lambda f: words.OPPOSITES[f["size"]]
    ),
    "first": _free(
        "say the name and the word after it", lambda f: f"{f['name']} {f['verb']}"
    ),
}
