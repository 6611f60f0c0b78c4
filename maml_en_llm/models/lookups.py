"""Embeddings whose rows are looked up for several tasks at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch.nn.functional import embedding
from transformers import PreTrainedModel


def looks_up_otherwise(model: PreTrainedModel) -> bool:
    """Whether an embedding's gradient is more than the sum over where a word stands.

    It is scaled by how often, or sparse; under `vmap` it would be neither. Or an
    adapter around it looks up rows of its own, with its ``padding_idx``.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding):
            if module.scale_grad_by_freq or module.sparse:
                return True
        elif _has_padding(getattr(module, "base_layer", None)):
            return True
    return False


class _ConstantPadding(torch.nn.Embedding):
    """An embedding whose padding row is a constant, under `vmap`, too."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        rows = embedding(input, self.weight)
        return rows.where((input != self.padding_idx)[..., None], rows.detach())


@contextmanager
def constant_padding(model: PreTrainedModel) -> Iterator[None]:
    """Rows looked up with an embedding's ``padding_idx`` get no gradient, as always.

    `vmap`'s own embedding gives them one, so that stacked tasks would not agree with
    single ones where that id stands in a text.
    """
    tables = [module for module in model.modules() if _has_padding(module)]
    kinds = [type(table) for table in tables]
    try:
        for table, kind in zip(tables, kinds, strict=True):
            table.__class__ = _of_constant_padding(kind)
        yield
    finally:
        for table, kind in zip(tables, kinds, strict=True):
            table.__class__ = kind


def _has_padding(module) -> bool:
    return isinstance(module, torch.nn.Embedding) and module.padding_idx is not None


@cache
def _of_constant_padding(kind: type[torch.nn.Embedding]) -> type[torch.nn.Embedding]:
    """``kind`` over another lookup: the one that its ``super().forward`` calls.

    What it does with the rows, such as to scale them, it does as ever.
    """
    if kind is torch.nn.Embedding:
        return _ConstantPadding
    bases: tuple[Any, ...] = (kind, _ConstantPadding)
    return type(kind.__name__, bases, {})
