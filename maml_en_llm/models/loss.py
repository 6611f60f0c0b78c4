"""The loss of a causal language model as a pure function of its parameters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from ..errors import check_integer, shown
from ..meta.calculus import in_parts
from ..prompts import Batch
from ..tensors import Tensors, check_named
from . import failing, guards, safe
from .attention import using_attention
from .checked_batch import check_batch
from .complete import check_causal
from .lookups import constant_padding, looks_up_otherwise
from .sizes import (
    attention_of,
    keeps_logits,
    positions_of,
    rows_of,
    text_config,
    virtual_tokens,
    width_of,
    windows,
)
from .tied_embedding import built_once
from .weight_guards import check_rescaled

# Up to so many numbers in one layer's hidden states of a batch (tokens × width), and so
# many parameters, n = 4 tasks are faster together on a CPU, in 0.43 to 0.95 of the
# time; beyond, the stacked tensors leave the cache. Measured by benchmarks/together.py.
# Frozen parameters count: beside adapters stand the activations of the whole model
TOGETHER = 2**15
PARAMETERS = 2**22
# On CUDA a small model's time is that of starting kernels, n times fewer together. Not
# tuned: so many numbers fill a device
TOGETHER_ON_CUDA = 2**20


@dataclass(frozen=True)
class PromptLoss:
    """The loss of a prompt batch as a function of parameters, for `meta_gradient`.

        L(θ, batch) = mean over prompts of the mean over target tokens
                      of −log p_θ(token | what precedes it)

    in nats per target token (protocol 3.1). The output head runs at target positions
    only. With ``prompts_at_once`` a batch is differentiated in parts of that many
    prompts: the same gradient in the memory of one part.
    """

    model: PreTrainedModel
    prompts_at_once: int | None = None

    def __post_init__(self):
        guards.check_kind(self.model)
        check_rescaled(self.model)
        if self.prompts_at_once is not None:
            check_integer("prompts_at_once", self.prompts_at_once, 1)

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of the model's weights when it was first called."""
        return guards.names_of(self.model)

    @cached_property
    def tied(self) -> list[list[str]]:
        """Names by tensor, of the tensors that had several when it was first called."""
        return guards.tied_names(self.model)

    @cached_property
    def positions(self) -> int | None:
        """Tokens of the longest prompt that the model takes, see `positions_of`."""
        return positions_of(self.model)

    def split(self, batch: Batch) -> list[tuple[float, Batch]]:
        """Parts of ``prompts_at_once`` prompts, and their shares of the mean."""
        if self.prompts_at_once is None:
            return [(1.0, batch)]
        check_batch(batch, rows_of(self.model), self.positions)
        total = len(batch.input_ids)
        size = self.prompts_at_once
        if batch.input_ids.dim() == 3 or size >= total:
            return [(1.0, batch)]
        parts = [batch.rows(start, start + size) for start in range(0, total, size)]
        return [(len(part.input_ids) / total, part) for part in parts]

    def __call__(self, params: Tensors, batch: Batch) -> torch.Tensor:
        """Loss of ``batch`` at ``params``, a scalar.

        Weights that ``params`` leaves out are the module's own. With a stack of batches
        (n, B, T) and of parameters (n, …), the n losses, computed together. Raises
        `ValueError` for what `check_batch` refuses, for a name that the model does not
        have, and for two names of one tensor.
        """
        check_named(params=params)
        if not params.keys() <= self.names:
            guards.check_names(self.model, params)
        if self.tied:
            guards.check_tied(self.tied, params)
        check_batch(batch, rows_of(self.model), self.positions)
        if batch.input_ids.dim() == 3:
            return self._stacked(params, batch)
        if safe.pads(self.model) or bool(batch.attention_mask.all()):
            with built_once(self.model, params, batch.input_ids) as params:
                return self._loss(params, *_inputs(batch))
        rows = [batch.rows(n, n + 1) for n in range(len(batch.input_ids))]
        return torch.stack([self._loss(params, *_inputs(row)) for row in rows]).mean()

    def _stacked(self, params: Tensors, batch: Batch) -> torch.Tensor:
        """The losses (n,) of n tasks, together where that is known to be right."""
        if not safe.stacks(self.model) or looks_up_otherwise(self.model):
            losses = []
            for task in range(len(batch.input_ids)):
                own = {name: stacked[task] for name, stacked in params.items()}
                one = batch.each(lambda part, task=task: part[task])
                losses.append(self(own, one))
            return torch.stack(losses)
        # "eager" is the one that `vmap` can see through
        with using_attention(self.model, "eager"), constant_padding(self.model):
            return torch.vmap(self._loss)(params, *_inputs(batch))

    def _loss(
        self, params, input_ids, attention_mask, positions, labels, valid
    ) -> torch.Tensor:
        inputs = inputs_for(self.model, input_ids, attention_mask)

        def call(**more):
            with failing.named(self.model, input_ids.shape[-1]):
                return functional_call(self.model, params, (), inputs | more)

        logits = target_logits(self.model, call, positions)
        return mean_nll(logits, labels, valid).mean()

    def check(self, derivative: str) -> None:
        """Raise `ValueError` where ``derivative`` would be impossible or wrong.

        See `guards.check`; `check_causal` refuses a model that sees later words.
        """
        guards.check(self.model, derivative)
        check_causal(self.model)

    def faster_together(
        self, params: Tensors, batches: Sequence[Batch | Sequence[Batch]]
    ) -> bool:
        """Whether n tasks are better computed as one stack than one by one.

        ``batches`` holds the batches of each task, in one order, or its only one. True
        where they can be stacked, are small (`TOGETHER`, `PARAMETERS`), the model is on
        a CPU or CUDA, and it is known to be right over stacked parameters; of
        another one a warning says so, once. Never where ``prompts_at_once`` splits a
        batch: a stack is computed whole, in more memory.
        """
        bounds = {"cpu": TOGETHER, "cuda": TOGETHER_ON_CUDA}
        bound = bounds.get(self.model.device.type, 0)
        tasks = [(task,) if isinstance(task, Batch) else task for task in batches]
        alike = {tuple(len(batch.input_ids) for batch in task) for task in tasks}
        tokens = max(batch.input_ids.numel() for task in tasks for batch in task)
        every = {**dict(self.model.named_parameters()), **params}
        total = sum(parameter.numel() for parameter in every.values())
        small = tokens * width_of(self.model) <= bound and total <= PARAMETERS
        if len(tasks) < 2 or len(alike) != 1 or not small:
            return False
        if in_parts(self, (batch for task in tasks for batch in task)):
            return False
        if looks_up_otherwise(self.model):
            return False
        if not safe.stacks(self.model):
            name = safe.known_as(self.model)
            safe.say_once(
                "stacking",
                name,
                f"tasks are computed one by one: {name} is not known to be right over "
                f"stacked parameters of {self.model.dtype}",
            )
            return False
        return True


def inputs_for(
    model: PreTrainedModel, input_ids: torch.Tensor, attention_mask: torch.Tensor
) -> Tensors:
    """What to call ``model`` with, for right-padded ids (B, T) and their mask.

    Explicit attention takes its softmax in float32, where float64's mask is −∞: a query
    of padding, which sees no key of a sliding window, would be 0/0. There padding is
    left unmasked: it comes last, and no real token sees it.
    """
    inputs = {"input_ids": input_ids}
    explicit = windows(model) and attention_of(model) == "eager"
    # XLNet's own mask of what is to come does not fit one of padding
    own = getattr(text_config(model), "attn_type", None) == "uni"
    if not own and not (explicit and model.dtype == torch.float64):
        inputs["attention_mask"] = attention_mask
    return inputs


def _inputs(batch: Batch) -> tuple[torch.Tensor, ...]:
    positions, valid = target_positions(batch.loss_mask)
    labels = batch.input_ids.gather(-1, positions)
    return batch.input_ids, batch.attention_mask, positions, labels, valid


def target_logits(
    model: PreTrainedModel, call: Callable, positions: torch.Tensor
) -> torch.Tensor:
    """Logits (B, P, V) that predict the tokens at ``positions`` (B, P).

    ``call(**more)`` calls the model. Where its class can, the head runs at these
    positions only; another one gives the logits of all, of which these are taken.
    """
    before = positions - 1 + virtual_tokens(model)[0]
    if keeps_logits(model):
        return _logits_of(call(use_cache=False, logits_to_keep=before))
    return _logits_of(call(use_cache=False)).take_along_dim(before[..., None], dim=-2)


def _logits_of(output) -> torch.Tensor:
    logits = getattr(output, "logits", None)
    if not isinstance(logits, torch.Tensor):
        raise ValueError(
            "model: expected a forward whose output has logits (B, T, V), found "
            f"{shown(output)}; return transformers' CausalLMOutput"
        )
    return logits


def target_positions(loss_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions of each prompt's targets (…, P), and which of them are real.

    For a mask (…, T); P is the longest target of the batch. Shorter ones are filled up
    with position 1, marked not real.
    """
    count = loss_mask.sum(-1, keepdim=True)
    order = loss_mask.int().argsort(dim=-1, descending=True, stable=True)
    order = order[..., : int(count.max())]
    valid = torch.arange(order.shape[-1], device=order.device) < count
    return order.where(valid, order.new_ones(())), valid


def mean_nll(
    logits: torch.Tensor, labels: torch.Tensor, valid: torch.Tensor
) -> torch.Tensor:
    """Mean −log p of each prompt's target tokens, (B,) nats.

    From logits (B, P, V), labels (B, P) and a mask (B, P).
    """
    flat = precise(logits.flatten(0, 1))
    nll = cross_entropy(flat, labels.flatten(), reduction="none").view_as(labels)
    kept = nll.where(valid, nll.new_zeros(()))  # a filler's may be infinite
    return kept.sum(1) / valid.sum(1)


def precise(logits: torch.Tensor) -> torch.Tensor:
    """Logits in float32 at least: half precision rounds to hundredths of a nat."""
    half = logits.dtype in (torch.bfloat16, torch.float16)
    return logits.float() if half else logits
