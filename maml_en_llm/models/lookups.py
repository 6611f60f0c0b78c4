"""Embeddings whose rows are looked up for several tasks at once."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.functional import embedding
from transformers import PreTrainedModel


def looks_up_otherwise(model: PreTrainedModel) -> bool:
    """Whether an embedding's gradient is more than the sum over where a word stands.

    It is scaled by how often, or sparse; under `vmap` it would be neither.
    """
    tables = (m for m in model.modules() if isinstance(m, torch.nn.Embedding))
    return any(table.scale_grad_by_freq or table.sparse for table in tables)


@contextmanager
def constant_padding(model: PreTrainedModel) -> Iterator[None]:
    """Rows looked up with an embedding's ``padding_idx`` get no gradient, as always.

    `vmap`'s own embedding gives them one, so that stacked tasks would not agree with
    single ones where that id stands in a text.
    """
    tables = [
        module
        for module in model.modules()
        if type(module) is torch.nn.Embedding and module.padding_idx is not None
    ]

    def lookup(table):
        def forward(input):
            rows = embedding(input, table.weight)
            return rows.where((input != table.padding_idx)[..., None], rows.detach())

        return forward

    for table in tables:
        table.forward = lookup(table)
    try:
        yield
    finally:
        for table in tables:
            del table.forward
