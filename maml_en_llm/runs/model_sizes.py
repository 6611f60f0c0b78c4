"""The sizes of a model that its memory depends on, read off its parts."""

from dataclasses import dataclass
from typing import Any

import torch

from ..models.sizes import base_of, text_config, width_of


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """A model as far as memory goes; counts are of numbers, not bytes."""

    parameters: int  # all of them
    moving: int  # those that require a gradient
    table: int  # the token embedding, if it moves
    vocabulary: int  # ids that the head tells apart
    layers: int
    width: int
    inner: int  # width of the feed-forward part, of experts those of a token together
    heads: int
    gated: bool  # three matrices in the feed-forward part (Llama), not two (GPT-2)
    bytes_each: int = 4


def sizes_of(model) -> Sizes:
    """The sizes of a model, with or without weights, as its configuration has them."""
    config = text_config(model)
    moving = {id(p): p for p in model.parameters() if p.requires_grad}
    embedding: Any = base_of(model).get_input_embeddings()
    table: torch.Tensor = embedding.weight
    width = width_of(model)
    layers = _first(config, ("num_hidden_layers", "n_layer")) or 1
    inner, gated = _feed_forward(model, layers, width)
    return Sizes(
        parameters=sum(p.numel() for p in model.parameters()),
        moving=sum(p.numel() for p in moving.values()),
        table=table.numel() if id(table) in moving else 0,
        vocabulary=table.shape[0],
        layers=layers,
        width=width,
        inner=inner,
        heads=_first(config, ("num_attention_heads", "n_head")) or 1,
        gated=gated,
        bytes_each=table.element_size(),
    )


def _feed_forward(model, layers: int, width: int) -> tuple[int, bool]:
    """Its width, and whether it is gated: whether it has three matrices per layer.

    Two of them may be one, (2 inner, width), and those of all experts, too. Of experts
    the width is what a token meets in a layer, in the mean over layers.
    """
    config = text_config(model)
    inner = _first(config, ("intermediate_size", "n_inner", "ffn_dim")) or 4 * width
    expert = _first(config, ("moe_intermediate_size",)) or inner
    chosen = _first(config, ("num_experts_per_tok", "moe_topk")) or 1
    wide = met = matrices = 0
    for module in model.modules():
        own = [] if isinstance(module, torch.nn.Embedding) else module.parameters(False)
        for shape in [p.shape for p in own if p.dim() in (2, 3)]:
            other = shape[-1] if shape[-2] == width else shape[-2]
            unit = next((i for i in (inner, expert) if other in (i, 2 * i)), None)
            if unit is not None and width in shape[-2:]:
                matrices += other // unit
                wide |= len(shape) == 3
                met += other * (chosen if len(shape) == 3 else 1)
    named = any("gate_proj" in name for name, _ in model.named_modules())
    gated = named or matrices > 2.5 * layers
    return met // (layers * (3 if gated else 2)) if wide else inner, gated


def _first(config, names: tuple[str, ...]) -> int | None:
    found = (getattr(config, name, None) for name in names)
    return next((value for value in found if isinstance(value, int)), None)
