"""Prompts: from examples to token ids, exactly as MetaICL builds them (protocol 2).

An example is two *pieces*, each tokenised apart with its separator glued to its front,
then concatenated:

    direct   [Δ + x] [sep + y]      p(y | x): the target is the answer
    channel  [Δ + y] [sep + x]      p(x | y): the target is the text

MetaICT puts the task's instruction, a piece of its own, before all of them; with an
empty one nothing is added. Δ stands before every example but the first of a sequence.
Joining the strings first and tokenising once would give other ids. There is no EOS, and
a BOS only where the format asks for one.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from types import NoneType
from typing import Any

from tokenizers import Tokenizer

from ..errors import shown
from ..tasks.examples import Example
from .batches import Prompt
from .cut import Ids, cut_left
from .encoding import TextEncoder, first_token
from .form import (
    LONGEST_SEPARATOR,
    SPARE,
    Format,
    as_list,
    check_is_example,
    pieces,
)

REMEMBERED = 2**16  # pieces, some hundred MB of long ones


@dataclass
class PromptEncoder:
    """Builds prompts with one tokenizer and one format.

    Pieces of text are remembered once they are tokenised, `REMEMBERED` of them.
    Special tokens that a text spells out, as a chat template's do, are read as plain
    characters (`encoding`). ``beginning`` is what stands before every prompt: the BOS
    that the format asks for, or nothing.

    Raises:
        ValueError: no `Format`; a BOS asked of a tokenizer that has none, newlines of
            one that knows none; a tokenizer that gives a text other ids at every call;
            in every method, examples that are none, or a text that the tokenizer cannot
            stand for (`encoding`).
    """

    tokenizer: Any
    fmt: Format = field(default_factory=Format)
    beginning: Ids = field(default=(), init=False)

    def __post_init__(self):
        if isinstance(self.tokenizer, (str, bytes)) or not hasattr(
            self.tokenizer, "encode"
        ):
            raise ValueError(
                f"tokenizer: expected one (load_tokenizer), found "
                f"{shown(self.tokenizer)}"
            )
        if isinstance(self.tokenizer, Tokenizer):
            raise ValueError(
                "tokenizer: expected one of transformers, found a "
                "tokenizers.Tokenizer; PreTrainedTokenizerFast(tokenizer_object=…)"
            )
        if not isinstance(self.fmt, Format):
            raise ValueError(f"fmt: expected a Format(…), found {shown(self.fmt)}")
        self._encoder = TextEncoder(self.tokenizer)
        self._known: dict[tuple[str, bool], Ids] = {}
        if self.fmt.separator == "newline" and not self._encoder.knows("\n"):
            raise ValueError(
                "separator: expected 'space' for a tokenizer to which a newline is an "
                f"unknown word, found 'newline' ({type(self.tokenizer).__name__})"
            )
        if self.fmt.bos:
            bos = getattr(self.tokenizer, "bos_token_id", None)
            if bos is None:
                raise ValueError(
                    "bos: expected a tokenizer with a beginning-of-text token, found "
                    f"none in {shown(type(self.tokenizer).__name__)}; set bos=False"
                )
            self.beginning = (bos,)
        elif first_token(self.tokenizer) is not None:
            warnings.warn(
                "the tokenizer puts a beginning-of-text token before every text, and "
                "prompts of MetaICL's protocol have none; a model that needs it takes "
                "prompts of Format(bos=True)",
                stacklevel=3,
            )

    def tokens(self, text: str, *, first: bool = False) -> Ids:
        """Ids of one piece, without special tokens.

        ``first`` says that the piece begins a prompt.
        """
        known = isinstance(text, str) and (text, first) in self._known
        if not known:  # what is no text is refused there
            ids = self._encoder.encode(text, first=first)
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[text, first] = ids
        return self._known[text, first]

    def example(self, example: Example, *, first: bool) -> tuple[Ids, Ids]:
        """Ids (context, target) of a demonstration or training example.

        x is cut to fit M, y never (protocol 2.2).
        """
        check_is_example(example)
        ((context, target),) = self._options(example.input, [example.output], first)
        return context, target

    def demonstrations(self, examples: Sequence[Example], instruction: str = "") -> Ids:
        """Ids of the instruction, if any, and of all demonstrations in order."""
        return self._opening(instruction) + tuple(
            i
            for n, example in enumerate(as_list("demonstrations", examples))
            for piece in self.example(example, first=not instruction and n == 0)
            for i in piece
        )

    def training_prompt(
        self, demonstrations: Sequence[Example], query: Example, instruction: str = ""
    ) -> Prompt:
        """One training instance (protocol 3.1).

        Demonstrations, then the query with its own answer as target.
        """
        demonstrations = as_list("demonstrations", demonstrations)
        first = not (demonstrations or instruction)
        context, target = self.example(query, first=first)
        return cut_left(
            self.demonstrations(demonstrations, instruction) + context,
            target,
            self._training_limit(bool(demonstrations), instruction),
            keep=len(self._opening(instruction)),
        )

    def query_prompts(
        self, demonstrations: Sequence[Example], query: Example, instruction: str = ""
    ) -> list[Prompt]:
        """One prompt per option of ``query`` (protocol 2.2, 2.3).

        The cut of x is the same for all of them.
        """
        check_is_example(query)
        demonstrations = as_list("demonstrations", demonstrations)
        if not query.options:
            raise ValueError(
                "query: expected options to choose from, found none for the text "
                f"{shown(query.input)}; free-form examples can be trained on only"
            )
        if not isinstance(query.options, (tuple, list)):
            raise ValueError(
                "query: expected options in a tuple of strings, found "
                f"{shown(query.options)}"
            )
        limit = self._limit(len(demonstrations), instruction)
        prefix = self.demonstrations(demonstrations, instruction)
        first = not (demonstrations or instruction)
        pairs = self._options(query.input, query.options, first)
        keep = len(self._opening(instruction))
        return [
            cut_left(prefix + context, target, limit, keep=keep)
            for context, target in pairs
        ]

    def whole(
        self, demonstrations: Sequence[Example], prompt: Prompt, instruction: str = ""
    ) -> int:
        """How many of its demonstrations a prompt of this encoder holds whole."""
        demonstrations = as_list("demonstrations", demonstrations)
        lengths = (
            sum(map(len, self.example(example, first=not instruction and n == 0)))
            for n, example in enumerate(demonstrations)
        )
        *begins, _ = accumulate(lengths, initial=0)
        return sum(begin >= prompt.dropped for begin in begins)

    def check_target(
        self, example: Example, *, instruction: str = "", first: bool = False
    ) -> None:
        """Raise `ValueError` where ``example`` cannot be a training prompt's query.

        Its target, the answer in direct mode and the text in channel mode, has to fit
        the format. Where the tokenizer surely keeps every text, most examples pass
        without being tokenised: a token has at least one byte. ``first`` says that no
        demonstration stands before the example.
        """
        check_is_example(example)
        if not (first or instruction) and self._surely_fits(example):
            return
        context, target = self.example(example, first=first and not instruction)
        opening = self._opening(instruction)
        limit = self._training_limit(not first, instruction)
        cut_left(opening + context, target, limit, keep=len(opening))

    def misfits(
        self, examples: Iterable[Example], *, instruction: str = "", first: bool = False
    ) -> dict[int, str]:
        """Which of a task's examples `check_target` refuses: their places, and why."""
        found = {}
        for n, example in enumerate(as_list("examples", examples)):
            try:
                self.check_target(example, instruction=instruction, first=first)
            except ValueError as error:
                found[n] = str(error)
        return found

    def _training_limit(self, demonstrations: bool, instruction: str) -> int:
        """Tokens of a training prompt (protocol 2.3).

        The whole length as soon as there are demonstrations, however few.
        """
        if demonstrations:
            return self.fmt.max_length
        return self._limit(0, instruction)

    def _limit(self, demonstrations: int, instruction: str) -> int:
        limit = self.fmt.sequence_limit(demonstrations, instruction)
        return min(limit + len(self.beginning), self.fmt.max_length)

    def _surely_fits(self, example: Example) -> bool:
        """Whether the characters alone say that the example can be encoded and fits.

        What is not ASCII may grow when it is normalised.
        """
        if not self._encoder.keeps_all:
            return False
        text, answer = example.input, example.output
        if not (isinstance(text, str) and isinstance(answer, str)):
            return False
        if not answer.isascii() or self._encoder.marked(text + answer):
            return False
        of_example = self.fmt.max_example_length - SPARE
        of_target = self.fmt.max_length - len(self.beginning) - 1
        longest = len(answer) + LONGEST_SEPARATOR
        if self.fmt.mode == "direct":
            return longest <= min(of_example, of_target)
        return bool(text) and longest < of_example <= of_target

    def _opening(self, instruction: str | None) -> Ids:
        if not isinstance(instruction, (str, NoneType)):
            raise ValueError(
                f"instruction: expected a text, or none, found {shown(instruction)}"
            )
        if not instruction:
            return self.beginning
        ids = self.tokens(instruction, first=True)
        return self.beginning + ids[: self.fmt.max_example_length]

    def _options(
        self, text: str, answers: Sequence[str], first: bool
    ) -> list[tuple[Ids, Ids]]:
        both = []
        for answer in answers:
            context, target = pieces(text, answer, self.fmt, first=first)
            both.append((self.tokens(context, first=first), self.tokens(target)))
        direct = self.fmt.mode == "direct"
        lengths = [len(target if direct else context) for context, target in both]
        longest = max(lengths)
        room = self.fmt.max_example_length - SPARE - longest
        if room < 0:
            raise ValueError(
                f"max_example_length: an answer of {longest} tokens does not fit "
                f"{self.fmt.max_example_length} (at most "
                f"{self.fmt.max_example_length - SPARE}): "
                f"{shown(answers[lengths.index(longest)])}; raise the limit"
            )
        if direct:
            return [(context[:room], target) for context, target in both]
        return [(context, target[:room]) for context, target in both]
