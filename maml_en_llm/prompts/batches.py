"""Batches: padded prompts, stacked by task or merged by length."""

from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass
from numbers import Integral

import torch

from ..errors import check_integer, shown
from .device import as_device


@dataclass(frozen=True)
class Prompt:
    """Token ids of one prompt: context, then a target of ``n_target`` tokens.

    ``dropped`` tokens of the demonstrations are not among them, for want of room.
    """

    ids: tuple[int, ...]
    n_target: int
    dropped: int = 0


@dataclass(frozen=True)
class Batch:
    """Right-padded prompts.

    ``input_ids``, ``attention_mask`` and ``loss_mask`` are each (B, T): int64, int64,
    bool. A stack of one batch per task, from `stack`, has (n, B, T). The attention mask
    is 1 on real tokens, 0 on padding; the loss refuses any other number.

    ``loss_mask`` is true on target tokens only. Padding goes to the longest prompt of
    the batch, not further: under causal attention what stands to the right of a target
    cannot change its loss.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    loss_mask: torch.Tensor

    @property
    def n_tokens(self) -> int:
        """Real (unpadded) tokens."""
        return int((self.attention_mask != 0).sum())

    def rows(self, start: int, stop: int) -> "Batch":
        """Some of the prompts, without the padding that only the others needed.

        Raises `ValueError` for none of them.
        """
        start = check_integer("start", start, most=len(self.input_ids) - 1)
        stop = check_integer("stop", stop, start + 1)
        width = int((self.attention_mask[start:stop] != 0).sum(1).max())
        return self.each(lambda part: part[start:stop, :width])

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        """The batch of its three changed tensors."""
        parts = self.input_ids, self.attention_mask, self.loss_mask
        return Batch(*map(change, parts))

    def to(self, device) -> "Batch":
        """The same batch on another device; `ValueError` where that is not there."""
        device = as_device(device)
        return self.each(lambda part: part.to(device))


def collate(prompts: Iterable[Prompt]) -> Batch:
    """Right-pad prompts to the longest of them with id 0 and mark their targets.

    Raises `ValueError` for no prompt, or one without a target, or without a token
    before it, which would predict its first one, or with ids that are no whole numbers.
    """
    if isinstance(prompts, Prompt) or not isinstance(prompts, Iterable):
        raise ValueError(f"prompts: expected a list of them, found {shown(prompts)}")
    prompts = list(prompts)
    ids_of = checked_ids(prompts)
    width = max(len(prompt.ids) for prompt in prompts)
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    real = torch.zeros(len(prompts), width, dtype=torch.long)
    target = torch.zeros(len(prompts), width, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        n = len(prompt.ids)
        ids[row, :n] = ids_of[row]
        real[row, :n] = 1
        target[row, n - prompt.n_target : n] = True
    return Batch(ids, real, target)


def checked_ids(prompts: Sequence) -> list[torch.Tensor]:
    """The ids of every prompt; `ValueError` as `collate` says."""
    if not prompts:
        raise ValueError("prompts: expected at least one, found none")
    for n, prompt in enumerate(prompts):
        _check_target(n, prompt)
    return [_as_ids(n, prompt) for n, prompt in enumerate(prompts)]


def _check_target(n: int, prompt: Prompt) -> None:
    sized = isinstance(prompt, Prompt) and isinstance(prompt.ids, Sized)
    if not sized or not isinstance(prompt.n_target, Integral):
        raise ValueError(
            f"prompts[{n}]: expected a Prompt of token ids and a whole number, found "
            f"{shown(prompt)}"
        )
    if not 0 < prompt.n_target < len(prompt.ids):
        raise ValueError(
            f"prompts[{n}]: expected a target of at least one token after at least one "
            f"token of context, found n_target {shown(prompt.n_target)} of "
            f"{len(prompt.ids)} tokens"
        )


def _as_ids(n: int, prompt: Prompt) -> torch.Tensor:
    try:
        ids = torch.as_tensor(prompt.ids)
    except (TypeError, ValueError, RuntimeError):  # of text, too large, ragged
        ids = torch.empty(0)
    whole = torch.can_cast(ids.dtype, torch.long) and ids.dtype != torch.bool
    if ids.dim() != 1 or not whole:
        raise ValueError(
            f"prompts[{n}].ids: expected whole numbers, found {shown(prompt.ids)}"
        )
    return ids


def bucket(batches: Sequence[Batch], tokens: int) -> list[tuple[float, Batch]]:
    """The prompts of several batches in fewer ones, of neighbours in length.

    Each comes with its share of the old batches, whose prompts weigh alike only if they
    are as many: others are not joined. A new batch holds at most ``tokens`` tokens with
    its padding, or a single old batch. Raises `ValueError` for what is no `Batch`.
    """
    batches = _checked(batches)
    check_integer("tokens", tokens)
    groups: list[list[Batch]] = []
    by_length = sorted(batches, key=lambda batch: batch.input_ids.shape[-1])
    for batch in by_length:  # the last of a group is its widest
        rows, width = batch.input_ids.shape
        last = groups[-1] if groups else []
        alike = bool(last) and len(last[0].input_ids) == rows
        if alike and (len(last) + 1) * rows * width <= tokens:
            last.append(batch)
        else:
            groups.append([batch])
    return [(len(group) / len(batches), _flat(stack(group))) for group in groups]


def _checked(batches) -> list[Batch]:
    """Batches in a list; `ValueError` for anything else."""
    if isinstance(batches, Batch) or not isinstance(batches, Iterable):
        raise ValueError(f"batches: expected a list of Batch, found {shown(batches)}")
    found = list(batches)
    for batch in found:
        if not isinstance(batch, Batch):
            raise ValueError(
                "batches: expected each a Batch, as collate makes them, found "
                f"{shown(batch)}; stack your own, or choose together=False and "
                "tokens_at_once=0"
            )
    return found


def _flat(batch: Batch) -> Batch:
    """(n, B, T) as (n · B, T)."""
    return batch.each(lambda part: part.flatten(0, 1))


def stack(batches: Sequence[Batch]) -> Batch:
    """One batch per task, each with the same number of prompts, as one (n, B, T).

    All are padded to the longest. Raises `ValueError` for none, or other numbers, and
    for what is no `Batch`.
    """
    batches = _checked(batches)
    rows = [len(batch.input_ids) for batch in batches]
    if len({*rows}) != 1:
        raise ValueError(
            "batches: expected at least one, all of one number of prompts, found "
            f"numbers of prompts {shown(rows)}"
        )
    width = max(batch.input_ids.shape[-1] for batch in batches)

    def padded(part: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(part, (0, width - part.shape[-1]))

    return Batch(
        torch.stack([padded(batch.input_ids) for batch in batches]),
        torch.stack([padded(batch.attention_mask) for batch in batches]),
        torch.stack([padded(batch.loss_mask) for batch in batches]),
    )
