"""Prompts: from examples to token ids, exactly as MetaICL builds them (protocol section 2).

An example is two *pieces*, each tokenised alone with its separator glued to its front, then concatenated:

    direct   [Δ + x] [sep + y]      p(y | x): the target is the answer
    channel  [Δ + y] [sep + x]      p(x | y): the target is the text

MetaICT puts the task's instruction, a piece of its own, before all of them; with an empty one nothing is added. Δ stands
before every example but the first of a sequence. Joining the strings first and tokenising once would give other ids. There is no BOS and no EOS.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from .errors import check_choice
from .tasks.examples import Example

MODES = ("direct", "channel")


SEPARATORS = {"newline": ("\n\n\n", "\n"), "space": (" ", " ")}  # Δ, sep


_LONGEST_SEPARATOR = 4  # tokens: three newlines, and a space of the tokenizer's own


_RESERVED = 2  # room the reference leaves for BOS and EOS in the per-example limit, though it adds neither


@dataclass(frozen=True, kw_only=True)
class Format:
    """How examples become a prompt.

    Meta-trained models use the newline separator, raw GPT-2 the space (protocol 2.1). Lengths are in tokens:
    ``max_example_length`` is M = 256, ``max_length`` the limit of a whole sequence, 1,024.
    """

    mode: str = "direct"
    separator: str = "newline"
    max_length: int = 1024
    max_example_length: int = 256

    def __post_init__(self):
        for name, known in (("mode", MODES), ("separator", tuple(SEPARATORS))):
            check_choice(name, getattr(self, name), known)
        if min(self.max_length, self.max_example_length) <= _RESERVED:
            raise ValueError(
                f"max_length, max_example_length: expected more than {_RESERVED} tokens, found {self}"
            )

    def sequence_limit(self, k: int, instruction: str = "") -> int:
        """L = min(M·k, max_length) tokens with k demonstrations, M without (protocol 2.3); an instruction has M of its own."""
        return min(
            self.max_example_length * (max(k, 1) + bool(instruction)), self.max_length
        )


@dataclass(frozen=True)
class Prompt:
    """Token ids of one prompt; the last ``n_target`` of them are the target, all others context."""

    ids: tuple[int, ...]
    n_target: int


@dataclass(frozen=True)
class Batch:
    """Right-padded prompts: ``input_ids``, ``attention_mask``, ``loss_mask``, each (B, T), int64, int64, bool.

    A stack of one batch a task, from `stack`, has (n, B, T).

    ``loss_mask`` is true on target tokens only. Padding goes to the longest prompt of the batch, not further: under
    causal attention what stands to the right of a target cannot change its loss.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    loss_mask: torch.Tensor

    @property
    def n_tokens(self) -> int:
        """Real (unpadded) tokens."""
        return int(self.attention_mask.sum())

    def rows(self, start: int, stop: int) -> "Batch":
        """Some of the prompts, without the padding that only the others needed."""
        width = int(self.attention_mask[start:stop].sum(1).max())
        return Batch(
            *(
                part[start:stop, :width]
                for part in (self.input_ids, self.attention_mask, self.loss_mask)
            )
        )

    def to(self, device) -> "Batch":
        """The same batch on another device."""
        return Batch(
            self.input_ids.to(device),
            self.attention_mask.to(device),
            self.loss_mask.to(device),
        )


def pieces(text: str, answer: str, fmt: Format, *, first: bool) -> tuple[str, str]:
    """The two pieces of an example as strings: (context piece, target piece).

    Two empty-text quirks of the newline format are kept: Δ is two newlines before an empty x in direct mode, and an
    empty x gets no newline in channel mode.
    """
    delta, sep = SEPARATORS[fmt.separator]
    newline = fmt.separator == "newline"
    if fmt.mode == "direct":
        delta = "\n\n" if newline and not text else delta
        return ("" if first else delta) + text, sep + answer
    return ("" if first else delta) + answer, (
        "" if newline and not text else sep
    ) + text


@dataclass
class PromptEncoder:
    """Builds prompts with one tokenizer and one format; every piece of text is tokenised once and remembered."""

    tokenizer: object
    fmt: Format = field(default_factory=Format)
    _known: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False)

    def tokens(self, text: str) -> tuple[int, ...]:
        """Ids of one piece, without special tokens."""
        if text not in self._known:
            self._known[text] = tuple(
                self.tokenizer.encode(text, add_special_tokens=False, verbose=False)
            )
        return self._known[text]

    def example(
        self, example: Example, *, first: bool
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Ids (context, target) of a demonstration or training example; x is cut to fit M, y never (protocol 2.2)."""
        ((context, target),) = self._options(example.input, [example.output], first)
        return context, target

    def demonstrations(
        self, examples: Sequence[Example], instruction: str = ""
    ) -> tuple[int, ...]:
        """Ids of the instruction, if any, and of all demonstrations in order."""
        return self._told(instruction) + tuple(
            i
            for n, e in enumerate(examples)
            for piece in self.example(e, first=not instruction and n == 0)
            for i in piece
        )

    def training_prompt(
        self, demonstrations: Sequence[Example], query: Example, instruction: str = ""
    ) -> Prompt:
        """One training instance: demonstrations, then the query with its own answer as target (protocol 3.1)."""
        context, target = self.example(query, first=not (demonstrations or instruction))
        # Training always has the whole length, however few the demonstrations (protocol 2.3).
        limit = (
            self.fmt.max_length
            if demonstrations
            else self.fmt.sequence_limit(0, instruction)
        )
        told = self._told(instruction)
        return cut_left(
            self.demonstrations(demonstrations, instruction) + context,
            target,
            limit,
            keep=len(told),
        )

    def query_prompts(
        self, demonstrations: Sequence[Example], query: Example, instruction: str = ""
    ) -> list[Prompt]:
        """One prompt an option of ``query``; the same cut of x for all of them (protocol 2.2, 2.3)."""
        limit = self.fmt.sequence_limit(len(demonstrations), instruction)
        prefix = self.demonstrations(demonstrations, instruction)
        pairs = self._options(
            query.input, query.options, not (demonstrations or instruction)
        )
        return [
            cut_left(prefix + context, target, limit, keep=len(self._told(instruction)))
            for context, target in pairs
        ]

    def check_target(
        self, example: Example, *, instruction: str = "", first: bool = False
    ) -> None:
        """Raise `ValueError` where the target of ``example`` cannot fit the format.

        The target is the answer in direct mode and the text in channel mode. Most
        examples are passed without tokenising them: a token has at least one byte.
        ``first`` says that no demonstration stands before the example.
        """
        if not (first or instruction) and self._surely_fits(example):
            return
        context, target = self.example(example, first=first)
        told = self._told(instruction)
        limit = self.fmt.max_length
        if first:
            limit = self.fmt.sequence_limit(0, instruction)
        cut_left(told + context, target, limit, keep=len(told))

    def _surely_fits(self, example: Example) -> bool:
        """Whether the bytes alone say that the target fits, demonstrations before it."""
        answer, text = example.output, example.input
        if not answer.isascii():
            return False  # what is not ASCII may grow when it is normalised
        limits = self.fmt.max_length, self.fmt.max_example_length - _RESERVED + 1
        room = min(limits) - 1
        longest = len(answer) + _LONGEST_SEPARATOR
        if self.fmt.mode == "direct":
            return longest <= room
        return bool(text) and longest < room and limits[1] <= limits[0]

    def _told(self, instruction: str) -> tuple[int, ...]:
        return (
            self.tokens(instruction)[: self.fmt.max_example_length]
            if instruction
            else ()
        )

    def _options(self, text: str, answers: Sequence[str], first: bool):
        both = [
            tuple(map(self.tokens, pieces(text, answer, self.fmt, first=first)))
            for answer in answers
        ]
        x = (
            0 if self.fmt.mode == "direct" else 1
        )  # which of the two pieces holds the text
        longest = max(len(pair[1 - x]) for pair in both)
        room = self.fmt.max_example_length - _RESERVED - longest
        if room < 0:
            raise ValueError(
                f"max_example_length: an answer of {longest} tokens does not fit {self.fmt.max_example_length} "
                f"(at most {self.fmt.max_example_length - _RESERVED}): {max(answers, key=len)[:60]!r}; raise the limit"
            )
        return [
            tuple(ids[:room] if side == x else ids for side, ids in enumerate(pair))
            for pair in both
        ]


def cut_left(
    context: tuple[int, ...], target: tuple[int, ...], limit: int, *, keep: int = 0
) -> Prompt:
    """Drop tokens from the left of the context until the prompt has ``limit`` tokens; the target stays whole.

    The cut may fall inside a demonstration (protocol 2.3). The first ``keep`` tokens, an instruction, are not cut. Raises `ValueError` where not one context token would be
    left, since the first target token could then not be predicted.
    """
    room = limit - len(target) - keep
    if room < 1 or not context or not target:
        raise ValueError(
            f"prompt: expected a target of 1 to {limit - keep - 1} tokens after at least one token of context, "
            f"found {len(target)} after {len(context)}; raise max_length or shorten the target"
        )
    return Prompt(context[:keep] + context[keep:][-room:] + target, len(target))


def collate(prompts: Sequence[Prompt]) -> Batch:
    """Right-pad prompts to the longest of them with id 0 and mark their targets."""
    width = max(len(prompt.ids) for prompt in prompts)
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    real = torch.zeros(len(prompts), width, dtype=torch.long)
    target = torch.zeros(len(prompts), width, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        n = len(prompt.ids)
        ids[row, :n] = torch.tensor(prompt.ids)
        real[row, :n] = 1
        target[row, n - prompt.n_target : n] = True
    return Batch(ids, real, target)


def bucket(batches: Sequence[Batch], tokens: int) -> list[tuple[float, Batch]]:
    """The prompts of several batches in fewer ones, of neighbours in length, and each one's share of all prompts.

    A new batch holds at most ``tokens`` tokens with its padding, or a single old batch.
    """
    groups: list[list[Batch]] = []
    for batch in sorted(
        batches, key=lambda batch: batch.input_ids.shape[-1]
    ):  # the last of a group is its widest
        rows = (
            len(batch.input_ids) + sum(len(b.input_ids) for b in groups[-1])
            if groups
            else 0
        )
        if groups and rows * batch.input_ids.shape[-1] <= tokens:
            groups[-1].append(batch)
        else:
            groups.append([batch])
    total = sum(len(batch.input_ids) for batch in batches)
    merged = [
        Batch(*(part.flatten(0, 1) for part in vars(stack(group)).values()))
        for group in groups
    ]
    return [(len(batch.input_ids) / total, batch) for batch in merged]


def stack(batches: Sequence[Batch]) -> Batch:
    """One batch a task, each with the same number of prompts, as one (n, B, T), padded to the longest."""
    width = max(batch.input_ids.shape[-1] for batch in batches)

    def padded(part: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(part, (0, width - part.shape[-1]))

    return Batch(
        *(
            torch.stack([padded(getattr(batch, name)) for batch in batches])
            for name in ("input_ids", "attention_mask", "loss_mask")
        )
    )
