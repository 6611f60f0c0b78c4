"""Labels: when two texts are one label, and what the options of examples say."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from ..errors import DataError, listed

# categories of signs without a width, such as U+200B, or that need one before them
_NO_WIDTH = ("Cc", "Cf", "Mn", "Me")
_EMPTY = "\u115f\u1160\u2800\u3164\uffa0"  # letters and a pattern of nothing
# Marks of breaks, directions and byte order, which nobody sees. Not all of "Cf": flags
# are spelt in it, and joiners (U+200C, U+200D) change how their neighbours look.
_UNSEEN = dict.fromkeys(
    [
        *(0xAD, 0x180E, 0xFEFF),
        *(0x200B, 0x200E, 0x200F),
        *range(0x202A, 0x202F),
        *range(0x2060, 0x206A),
    ]
)


class _WithOptions(Protocol):
    """Anything with options, as an example."""

    @property
    def options(self) -> Sequence[str]: ...


def label_of(text: str) -> str:
    """The form in which labels are compared.

    NFC, without marks of breaks, directions and byte order, and without blanks at its
    ends: texts that look the same are one label to the kind of a task and to the
    metric. Prompts have the text as it is.
    """
    if text.isascii():
        return text.strip()
    return unicodedata.normalize("NFC", text.translate(_UNSEEN)).strip()


def alike_among(text: str, options: Sequence[str]) -> list[int]:
    """Where the options stand that are one label with ``text``; doubled ones are."""
    label = label_of(text)
    return [n for n, option in enumerate(options) if label_of(option) == label]


def _spelt_out(option: str) -> str:
    """As a message has it: what nobody sees is spelt out."""
    return repr(option) if option.translate(_UNSEEN) == option else ascii(option)


def is_blank(text: str) -> bool:
    """Whether a text shows nothing of its own."""
    return all(
        sign.isspace() or sign in _EMPTY or unicodedata.category(sign) in _NO_WIDTH
        for sign in text
    )


def check_labels(examples: Sequence[tuple[str, _WithOptions]]) -> None:
    """Refuse doubled options where they are labels; ``examples`` with their places.

    Options of one `label_of` are doubled.

    Questions that bring their own options have some that are doubled, published ones
    too (1 in 1,000). A list of labels that most examples of a file share has none.
    """
    sets = [frozenset(map(label_of, example.options)) for _, example in examples]
    _, count = Counter(sets).most_common(1)[0]
    shared = 2 * count > len(examples)
    for (where, example), options in zip(examples, sets, strict=True):
        doubled = len(options) < len(example.options)
        if doubled and (shared or len(options) == 1):
            raise DataError(
                f"{where}: expected different strings in 'options', found "
                f"{listed(map(_spelt_out, example.options[:6]))}; labels "
                "that differ by blanks at their ends or by signs without a width are "
                "one"
            )


def kind_of(examples: Iterable[_WithOptions]) -> str:
    """The kind of a task by its options.

    Those of a classification task are one fixed list, in whatever order; a multi-choice
    question brings its own; a free-form task has none.
    """
    lists = {frozenset(map(label_of, example.options)) for example in examples}
    if not any(lists):
        return "free-form"
    return "classification" if len(lists) == 1 else "multi-choice"


def checked_kind(
    given: str | None, examples: Iterable[_WithOptions], where: str = "kind"
) -> str:
    """The kind that is given, where the options allow it, or that which they say."""
    found = kind_of(examples)
    if given is None:
        return found
    if (given == "free-form") != (found == "free-form"):
        fits = "'free-form', as no example has options"
        if found != "free-form":
            fits = "a kind with options, as the examples have"
        raise DataError(
            f"{where}: expected {fits}, found {given!r}; leave kind out, or give other "
            "options"
        )
    return given
