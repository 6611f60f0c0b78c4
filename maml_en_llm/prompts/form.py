"""The format of a prompt: its mode, its separators, its limits, its pieces."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import check_choice, check_integer, check_truth, shown
from ..protocol import MODES, SEPARATORS
from ..tasks.examples import Example

# Room that the reference leaves for BOS and EOS in M, though it adds neither.
SPARE = 2
LONGEST_SEPARATOR = 4  # tokens: three newlines, and a space of the tokenizer's own


@dataclass(frozen=True, kw_only=True)
class Format:
    """How examples become a prompt.

    Meta-trained models use the newline separator, raw GPT-2 the space (protocol 2.1).
    Lengths are in tokens: ``max_example_length`` is M = 256, ``max_length`` the limit
    of a whole sequence, 1,024. ``bos`` puts the tokenizer's beginning-of-text token
    before every prompt, within ``max_length``: MetaICL has none, but models that have
    seen one before every text need it.

    Raises:
        ValueError: names the field, what was expected and what was found.
    """

    mode: str = "direct"
    separator: str = "newline"
    max_length: int = 1024
    max_example_length: int = 256
    bos: bool = False

    def __post_init__(self):
        check_choice("mode", self.mode, MODES)
        check_choice("separator", self.separator, SEPARATORS)
        check_truth("bos", self.bos)
        for name in ("max_length", "max_example_length"):
            length = check_integer(name, getattr(self, name), SPARE + 1)
            object.__setattr__(self, name, length)

    def sequence_limit(self, demonstrations: int, instruction: str = "") -> int:
        """L = min(M · demonstrations, max_length) tokens, and M without any.

        An instruction has M of its own (protocol 2.3).
        """
        parts = max(demonstrations, 1) + bool(instruction)
        return min(self.max_example_length * parts, self.max_length)


def pieces(text: str, answer: str, fmt: Format, *, first: bool) -> tuple[str, str]:
    """The two pieces of an example as strings: (context piece, target piece).

    Two empty-text quirks of the newline format are kept: Δ is two newlines before an
    empty x in direct mode, and an empty x gets no newline in channel mode. Raises
    `ValueError` for what is no text.
    """
    if not (isinstance(text, str) and isinstance(answer, str)):
        raise ValueError(
            "example: expected strings as input, output and options, found "
            f"{shown(answer if isinstance(text, str) else text)}"
        )
    if not isinstance(fmt, Format):
        raise ValueError(f"fmt: expected a Format, found {shown(fmt)}")
    delta, sep = SEPARATORS[fmt.separator]
    empty = fmt.separator == "newline" and not text
    if fmt.mode == "direct":
        if empty:
            delta = "\n\n"
        if first:
            delta = ""
        return delta + text, sep + answer
    if first:
        delta = ""
    return delta + answer, ("" if empty else sep) + text


def as_list(argument: str, examples) -> Sequence[Example]:
    """A list of examples, of which an iterator may have been one."""
    if isinstance(examples, (tuple, list)):
        return examples
    if isinstance(examples, (str, bytes)) or not isinstance(examples, Iterable):
        raise ValueError(
            f"{argument}: expected a list of Example, found {shown(examples)}"
        )
    return tuple(examples)


def check_is_example(example, argument: str = "example") -> None:
    """Raise `ValueError` for what is no `Example`."""
    if not isinstance(example, Example):
        raise ValueError(
            f"{argument}: expected an Example of input, output and options, found "
            f"{shown(example)}"
        )
