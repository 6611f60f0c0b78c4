"""The loss of a causal language model as a pure function of its parameters."""

from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from ..prompts import Batch
from ..tensors import Tensors
from . import guards
from .tied_embedding import built_once


def parameters(model: PreTrainedModel) -> Tensors:
    """The model's parameters by name, detached, each tied tensor once (GPT-2's head is ``transformer.wte.weight``)."""
    return {name: p.detach() for name, p in model.named_parameters()}


@torch.no_grad()
def write_back(model: PreTrainedModel, params: Tensors) -> None:
    """Make ``params`` the model's own weights; the inverse of `parameters`."""
    for name, parameter in model.named_parameters():
        parameter.copy_(params[name])


@dataclass(frozen=True)
class PromptLoss:
    """The loss of a prompt batch as a function of the parameters, ready for `meta_gradient`.

        L(θ, batch) = mean over prompts of the mean over target tokens of −log p_θ(token | what precedes it)

    in nats a target token (protocol 3.1). The output head runs at target positions only. With ``prompts_at_once`` a batch
    is differentiated in parts of that many prompts: the same gradient in the memory of one part.
    """

    model: PreTrainedModel
    prompts_at_once: int | None = None

    def split(self, batch: Batch) -> list[tuple[float, Batch]]:
        """Parts of ``prompts_at_once`` prompts and their shares, since the loss is a mean over prompts."""
        total = len(batch.input_ids)
        size = self.prompts_at_once or total
        if batch.input_ids.dim() == 3 or size >= total:
            return [(1.0, batch)]
        parts = [batch.rows(start, start + size) for start in range(0, total, size)]
        return [(len(part.input_ids) / total, part) for part in parts]

    def __call__(self, params: Tensors, batch: Batch) -> torch.Tensor:
        """Loss of ``batch`` at ``params``, a scalar; weights that ``params`` leaves out are the module's, which never change.

        With a stack of batches and of parameters, one a task (n, …), the n losses, computed together.
        """
        positions, valid = target_positions(batch.loss_mask)
        labels = batch.input_ids.gather(-1, positions)
        inputs = (batch.input_ids, batch.attention_mask, positions, labels, valid)
        if batch.input_ids.dim() == 3:
            with using_attention(
                self.model, "eager"
            ):  # the one that `vmap` can see through
                return torch.vmap(self._loss)(params, *inputs)
        with built_once(self.model, params, batch.input_ids) as params:
            return self._loss(params, *inputs)

    def _loss(
        self, params, input_ids, attention_mask, positions, labels, valid
    ) -> torch.Tensor:
        inputs = dict(
            input_ids=input_ids,
            attention_mask=attention_mask,
            use_cache=False,
            logits_to_keep=positions - 1,
        )
        return mean_nll(
            functional_call(self.model, params, (), inputs).logits, labels, valid
        ).mean()

    def check(self, mode: str) -> None:
        """Raise where a derivative of ``mode`` would be impossible or silently wrong, see `guards`."""
        guards.check(self.model, mode)


@contextmanager
def using_attention(model: PreTrainedModel, name: str):
    """``model`` computing its attention another way for a while: the same function of the same weights."""
    before = model.config._attn_implementation
    model.config._attn_implementation = name
    try:
        yield
    finally:
        model.config._attn_implementation = before


def target_positions(loss_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the targets of each prompt stand: positions (…, P) and which of them are real, for a mask (…, T).

    P is the longest target of the batch; shorter ones are filled up with position 1, marked not real.
    """
    count = loss_mask.sum(-1, keepdim=True)
    order = loss_mask.int().argsort(dim=-1, descending=True, stable=True)[
        ..., : int(count.max())
    ]
    valid = torch.arange(order.shape[-1], device=order.device) < count
    return order.where(valid, order.new_ones(())), valid


def mean_nll(
    logits: torch.Tensor, labels: torch.Tensor, valid: torch.Tensor
) -> torch.Tensor:
    """Mean −log p of each prompt's target tokens, (B,) nats, from logits (B, P, V), labels (B, P) and mask (B, P)."""
    nll = cross_entropy(
        precise(logits.flatten(0, 1)), labels.flatten(), reduction="none"
    ).view_as(labels)
    return (nll * valid).sum(1) / valid.sum(1)


def precise(logits: torch.Tensor) -> torch.Tensor:
    """Logits in float32 at least: in half precision a score would be rounded to hundredths of a nat."""
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
