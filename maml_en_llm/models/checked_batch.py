"""Whether a batch, made by whatever means, is one that the loss is right for."""

import torch

from ..errors import shown
from ..prompts import Batch


def check_batch(batch: Batch, rows: int, positions: int | None) -> None:
    """Refuse a batch for a model of so many ``rows`` of words and ``positions``.

    Raises `ValueError` for tensors of other types or shapes than a `Batch` has, token
    ids that the embedding has not, prompts that are too long, an attention mask of
    other numbers than 0 and 1, padding on the left, and a prompt without a target
    behind its first token. All that lies on the device is asked of it at once.
    """
    _check_form(batch)
    longest = batch.input_ids.shape[-1]
    if positions is not None and longest > positions:
        raise ValueError(
            f"max_length: expected prompts of at most {positions} tokens, the model's "
            f"positions, found {longest}; shorten them"
        )
    real, target = batch.attention_mask, batch.loss_mask
    least, largest = batch.input_ids.aminmax()
    left = (real[..., 1:] > real[..., :-1]).any()
    # padding and the first token cannot be predicted
    outside = (target & (real == 0)).any() | target[..., 0].any()
    without = ~target.any(-1).all()
    lost, odd = outside | without, ((real != 0) & (real != 1)).any()
    facts = torch.stack([least, largest, left.long(), lost.long(), odd.long()])
    low, high, left, lost, odd = facts.tolist()
    if low < 0 or high >= rows:
        raise ValueError(
            f"tokenizer: expected token ids below {rows}, the rows of the model's "
            f"embedding and head, found {low if low < 0 else high}; name the "
            "tokenizer that belongs to the model"
        )
    if odd:
        raise ValueError(
            "batch.attention_mask: expected 1 on real tokens and 0 on padding, found "
            f"{_first_odd(real)}; collate makes it"
        )
    if left:
        raise ValueError(
            "batch: expected prompts padded on the right, found an attention_mask that "
            "begins with padding; collate pads them"
        )
    if lost:
        raise ValueError(
            "batch: expected a target in every prompt, behind its first token and "
            "before its padding, found a loss_mask without; collate marks them"
        )


def _first_odd(mask: torch.Tensor) -> float:
    return mask[(mask != 0) & (mask != 1)][0].item()


def _check_form(batch: Batch) -> None:
    if not isinstance(batch, Batch):
        raise ValueError(
            f"batch: expected a Batch of prompts (collate), found {shown(batch)}"
        )
    ids, parts = batch.input_ids, vars(batch)
    kinds = {"input_ids": (torch.long,), "loss_mask": (torch.bool,)}
    for name, part in parts.items():
        if not isinstance(part, torch.Tensor):
            raise ValueError(f"batch.{name}: expected a tensor, found {shown(part)}")
        if part.dtype not in kinds.get(name, (part.dtype,)):
            raise ValueError(
                f"batch.{name}: expected a tensor of {kinds[name][0]}, found "
                f"{part.dtype}; collate makes it"
            )
        if part.is_meta:
            raise ValueError(
                f"batch.{name}: expected a tensor in memory, found one on 'meta'; "
                "make the batch on the model's device"
            )
        if part.shape != ids.shape or part.device != ids.device:
            raise ValueError(
                f"batch.{name}: expected the shape and device of input_ids, "
                f"{tuple(ids.shape)} on {ids.device}, found {tuple(part.shape)} on "
                f"{part.device}"
            )
    if ids.dim() not in (2, 3) or not ids.numel():
        raise ValueError(
            "batch: expected at least one prompt, as (B, T), or (n, B, T) of n tasks, "
            f"found {tuple(ids.shape)}"
        )
