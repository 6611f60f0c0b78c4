"""A tied word embedding whose gradient is built once.

Where the output head shares the embedding's weight W, the loss depends on W twice:
through the head densely, through the words of the prompt in a few rows. Left to
themselves the two gradients are two tensors of V rows, the second nearly all zeros, and
their sum is a third. Here the rows are added to the dense one where they belong.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import Embedding, Linear
from transformers import PreTrainedModel

from ..tensors import Tensors


class _Tie(torch.autograd.Function):
    """(W[ids], W) from W (V, d) and ids (B, T)."""

    @staticmethod
    def forward(ctx, weight, ids):
        ctx.save_for_backward(ids)
        return weight[ids], weight.view_as(weight)

    @staticmethod
    def backward(ctx, rows, head):
        (ids,) = ctx.saved_tensors
        ids, rows = ids.flatten(), rows.flatten(0, 1)
        if torch.is_grad_enabled():  # "create_graph"
            return head.index_add(0, ids, rows), None
        # `Linear` has just made the dense part: nobody else holds it
        return head.index_add_(0, ids, rows), None


def tied_weight(model: PreTrainedModel) -> str | None:
    """The name of the weight that ``model`` embeds and predicts its words with.

    None if there is no such one, or if the embedding is more than rows of it.
    """
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if (
        type(embedding) is not Embedding
        or type(head) is not Linear
        or "forward" in vars(embedding)  # of its own
    ):
        return None
    more = embedding.padding_idx is not None or embedding.max_norm is not None
    if embedding.weight is not head.weight or more or embedding.scale_grad_by_freq:
        return None
    return next(name for name, p in model.named_parameters() if p is embedding.weight)


@contextmanager
def built_once(
    model: PreTrainedModel, params: Tensors, ids: torch.Tensor
) -> Iterator[Tensors]:
    """Parameters to call ``model`` with, within, for ids (B, T).

    The outputs and derivatives are those of ``params``.
    """
    name = tied_weight(model)
    embedding: Any = model.get_input_embeddings()
    if name not in params:  # no such weight, or it is not among those that vary
        yield params
        return
    rows, head = _Tie.apply(params[name], ids)

    def forward(given):
        same = given.data_ptr() == ids.data_ptr() and given.shape == ids.shape
        return rows if same else Embedding.forward(embedding, given)

    embedding.forward = forward
    try:
        yield {**params, name: head}
    finally:
        del embedding.forward
