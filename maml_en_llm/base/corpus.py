"""The text that the base model is pre-trained on.

It is made from MiniCrossFit's words but not from its prompts. What makes in-context
learning emerge is dense repetition: rows of words with a short period, the same with
separators, and glossaries, in which a word seen before is followed by the same answer
as before. Sentences and topical documents show which words are alike. A newline, which
separates the examples of a prompt, stands in none of them.
"""

from collections.abc import Callable, Sequence

from ..minicrossfit import lexicon as words
from ..minicrossfit.draw import Draw

Kind = Callable[[Draw, int], list[str]]  # a text of so many words

PAD, UNKNOWN = "[PAD]", "[UNK]"
EQUALS, UNUSED, BAR = MARKS = ["=", "_", "|"]
PUNCTUATION = [":", ";", ",", "."]
# the last of the lexicon: a model is given them after its training
NEWLINES = ["\n", "\n\n", "\n\n\n"]
RARE = 0.25  # share of draws that may fall on a domain no meta-training task has
MARKED = 0.02  # share of the glossaries written as key = value | key = value


def build_tokenizer():
    """A fast tokenizer with one token per word.

    Spaces are dropped; runs of newlines, which separate examples, are kept.
    """
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    lexicon = [PAD, UNKNOWN, *MARKS, *words.vocabulary(), *NEWLINES]
    ids = {word: i for i, word in enumerate(lexicon)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(" ", "removed"),
            pre_tokenizers.Split(Regex("\n+"), "isolated"),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
    )


def text(draw: Draw, length: int, kinds: Sequence[Kind] | None = None) -> list[str]:
    """One training sequence of ``length`` words, of a kind drawn from `TEXT_KINDS`."""
    return draw.one(TEXT_KINDS if kinds is None else kinds)(draw, length)


def repeats(draw: Draw, length: int) -> list[str]:
    """A row of 3 to 21 random words over and over.

    What follows a word is what followed it before.
    """
    row = some_words(draw, draw.one(range(3, 22)))
    return (row * length)[:length]


def separated(draw: Draw, length: int) -> list[str]:
    """The same with a separator after every word."""
    row, separator = some_words(draw, draw.one(range(3, 11))), draw.one(PUNCTUATION)
    return ([part for word in row for part in (word, separator)] * length)[:length]


def glossary(draw: Draw, length: int) -> list[str]:
    """Pairs of a key, of 1 to 3 words, and a value, in random order, repeated."""
    size = draw.one([1, 1, 2, 3])
    keys = [some_words(draw, size) for _ in range(draw.one(range(3, 8)))]
    return _pairs(draw, length, keys, some_words(draw, len(keys)))


def categories(draw: Draw, length: int) -> list[str]:
    """As a glossary, with fewer values than keys: words that share a value."""
    keys, values = some_words(draw, draw.one(range(4, 9))), some_words(draw, 2)
    return _pairs(
        draw, length, [[key] for key in keys], [draw.one(values) for _ in keys]
    )


def document(draw: Draw, length: int) -> list[str]:
    """Sentences about one domain, in one mood, about things of one kind and size."""
    about = domain(draw)
    nouns = draw.one(about.groups)
    moods = draw.one(words.MOODS)
    sizes = draw.one(words.SIZES)
    found = []
    while len(found) < length:
        name = draw.one(words.NAMES)
        verb = draw.one(words.VERBS)
        noun = draw.one(nouns)
        found += draw.one(
            [
                [name, verb, "the", draw.one(sizes), noun, "."],
                ["the", noun, "was", draw.one(moods), "."],
                [
                    *draw.one(about.opening).split(),
                    ",",
                    name,
                    "has",
                    "a",
                    draw.one(words.COLOURS),
                    noun,
                    ".",
                ],
                [
                    name,
                    "is",
                    "in",
                    "the",
                    draw.one(words.PLACES),
                    "with",
                    "the",
                    draw.one(words.STATES),
                    noun,
                    ".",
                ],
                [
                    name,
                    draw.one(words.ADVERBS),
                    verb,
                    "the",
                    noun,
                    *draw.one(about.closing).split(),
                    ".",
                ],
            ]
        )
    return found[:length]


TEXT_KINDS = [
    repeats,
    repeats,
    separated,
    separated,
    glossary,
    glossary,
    categories,
    document,
]


def _pairs(
    draw: Draw, length: int, keys: list[list[str]], values: list[str]
) -> list[str]:
    between, after = _separators(draw)
    found = []
    while len(found) < length:
        i = draw.one(range(len(keys)))
        found += [*keys[i], between, values[i], after]
    return found[:length]


def _separators(draw: Draw) -> tuple[str, str]:
    if draw.chance(MARKED):
        return EQUALS, BAR
    return (":", ";") if draw.chance(0.5) else tuple(draw.some(PUNCTUATION, 2))


def some_words(draw: Draw, n: int) -> list[str]:
    """n different words that are no separators; rare ones in a share `RARE`."""
    return draw.some(_ALL if draw.chance(RARE) else _COMMON, n)


def domain(draw: Draw) -> words.Domain:
    """A field of life; one that no meta-training task has in a share `RARE`."""
    names = list(words.DOMAINS)
    if not draw.chance(RARE):
        names = [name for name in names if name not in words.UNSEEN]
    return words.DOMAINS[draw.one(names)]


_ALL = [word for word in words.vocabulary() if word not in PUNCTUATION]
_RARE_WORDS = {
    noun
    for domain in words.UNSEEN
    for group in words.DOMAINS[domain].groups
    for noun in group
}
_COMMON = [word for word in _ALL if word not in _RARE_WORDS]
