"""How the records of questions and of free-form tasks are made, by family."""

from collections.abc import Callable, Mapping

from . import lexicon as words
from .draw import Draw
from .lexicon import Domain
from .recipes import SIZES_WITH_OPPOSITE, Difficulty, Family, Recipe, fillers, nouns

_COLUMNS: tuple[str, ...] = ("noun", "name", "place", "colour")


def _by_fact(fact: str, question: str, answers: list[str]) -> Family:
    """A family of questions over a context of facts.

    The options are the ``answers`` that the facts name.
    """

    def family(draw: Draw, domain: Domain, d: Difficulty) -> Recipe:
        # Where a fact has two possible answers the task decides which is meant.
        wanted = draw.one(answers)
        pools = (nouns(domain), words.NAMES, words.PLACES, words.COLOURS)

        def make(draw: Draw, _: int):
            m = draw.one(range(2, d.facts + 1))
            columns = [draw.some(pool, m) for pool in pools]
            rows = [
                dict(zip(_COLUMNS, row, strict=True))
                for row in zip(*columns, strict=True)
            ]
            asked = draw.one(rows)
            facts = [fact.format(**row) for row in rows]
            text = " . ".join([*facts, question.format(**asked)])
            options = draw.shuffled([row[slot] for row in rows for slot in answers])
            return text, asked[wanted], tuple(options)

        instruction = "answer the question from the context"
        return Recipe("multi-choice", 1, instruction, make)

    return family


def _pick(draw: Draw, domain: Domain, d: Difficulty) -> Recipe:
    """The one word of a kind that the task has in mind, among words of the other."""
    key, rest = draw.some(domain.groups, 2)

    def make(draw: Draw, _: int):
        row = draw.shuffled([draw.one(key), *draw.some(rest, d.facts - 1)])
        answer = next(word for word in row if word in key)
        text = f"{draw.one(words.NAMES)} {' '.join(row)}"
        return text, answer, tuple(draw.shuffled(row))

    return Recipe("multi-choice", 1, "choose the word of the other kind", make)


def _free(instruction: str, answer: Callable[[Mapping[str, str]], str]) -> Family:
    """A family that writes a part of the text; ``answer`` takes its words by slot."""

    def family(_draw: Draw, domain: Domain, _d: Difficulty) -> Recipe:
        def make(draw: Draw, _: int):
            f = fillers(draw, domain) | {"size": draw.one(SIZES_WITH_OPPOSITE)}
            f["text"] = "{name} {verb} {size} {colour} {noun}".format(**f)
            return f["text"], answer(f), ()

        return Recipe("free-form", 1, instruction, make)

    return family


QUESTIONS: dict[str, Family] = {
    "holder": _by_fact("{noun} , {name}", "{noun}", ["name"]),
    "place": _by_fact("{noun} in {place}", "{noun} in", ["place"]),
    "shade": _by_fact("{noun} is {colour}", "{noun} is", ["colour"]),
    "which": _by_fact("{noun} , {name} {colour}", "{noun}", ["name", "colour"]),
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
