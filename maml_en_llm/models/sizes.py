"""Sizes of a causal LM, wherever its configuration keeps them."""

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel

# Names of the longest length, by class
_LENGTHS = (
    *("max_position_embeddings", "n_positions", "max_seq_len"),
    "max_target_positions",
)


def base_of(model: PreTrainedModel) -> PreTrainedModel:
    """The model itself; the one inside where adapters or `torch.compile` wrap it."""
    base: Any = getattr(model, "_orig_mod", model)
    inside: Any = getattr(base, "get_base_model", None)
    wrapped: Any = inside() if callable(inside) else base
    return wrapped


def virtual_tokens(model: PreTrainedModel) -> tuple[int, int]:
    """Learned tokens of an adapter before every prompt: in its row, or as stored keys.

    In the row they have logits of their own (prompt tuning); stored keys have none
    (prefix tuning, cartridges).
    """
    how: Any = getattr(getattr(model, "_orig_mod", model), "active_peft_config", None)
    if not getattr(how, "is_prompt_learning", False):
        return 0, 0
    count = how.num_virtual_tokens
    stored = how.peft_type in ("PREFIX_TUNING", "CARTRIDGE")
    return (0, count) if stored else (count, 0)


def architecture(model: PreTrainedModel) -> str:
    """The name of the model's class."""
    return type(base_of(model)).__name__


def keeps_logits(model: PreTrainedModel) -> bool:
    """Whether the head can be run at some positions only (``logits_to_keep``)."""
    return _takes_logits_to_keep(type(base_of(model)).forward)


@lru_cache(maxsize=2**8)
def _takes_logits_to_keep(forward: Callable) -> bool:
    return "logits_to_keep" in inspect.signature(forward).parameters


def text_config(model: PreTrainedModel) -> PretrainedConfig:
    """The configuration of the language model itself, not of one that also sees."""
    return model.config.get_text_config(decoder=True)


def own_configs(model: PreTrainedModel) -> list[PretrainedConfig]:
    """Those of attentions that are not the model's: of layers copied or put in."""
    found = {}
    for module in base_of(model).modules():
        config = vars(module).get("config")
        attends = hasattr(module, "layer_idx") or hasattr(module, "is_causal")
        if attends and isinstance(config, PretrainedConfig):
            found[id(config)] = config
    known = _configs_within(base_of(model).config)
    return [config for config in found.values() if id(config) not in known]


def _configs_within(config: PretrainedConfig) -> set[int]:
    """The ``id`` of a configuration and of all that are parts of it."""
    parts = [x for x in vars(config).values() if isinstance(x, PretrainedConfig)]
    return {id(config)}.union(*map(_configs_within, parts))


def attention_of(model: PreTrainedModel) -> str:
    """The name of the attention implementation that the language model uses."""
    return str(text_config(model)._attn_implementation)


def positions_of(model: PreTrainedModel) -> int | None:
    """Tokens of the longest prompt that the model takes; None where nothing limits it.

    The least of what the configuration says and of the rows of position tables. Where
    positions are counted from ``padding_idx + 1`` (RoBERTa) the rows before are no
    room.
    """
    config = text_config(model)
    limits = []
    for name in _LENGTHS:
        limit = getattr(config, name, None)
        if isinstance(limit, int) and limit > 0:
            limits.append(limit)
    for name, module in model.named_modules():
        table = isinstance(module, torch.nn.Embedding)
        if not table or not name.endswith(("position_embeddings", ".wpe")):
            continue
        first = 0 if module.padding_idx is None else module.padding_idx + 1
        limits.append(module.num_embeddings - first)
    return min(limits) - sum(virtual_tokens(model)) if limits else None


def width_of(model: PreTrainedModel) -> int:
    """Numbers in a hidden state."""
    width = getattr(text_config(model), "hidden_size", None)
    if isinstance(width, int):
        return width
    table = model.get_input_embeddings()
    if isinstance(table, torch.nn.Embedding):
        return table.embedding_dim
    raise ValueError(
        f"model: expected a hidden_size, found none: {architecture(model)}"
    )


def rows_of(model: PreTrainedModel) -> int:
    """How many token ids the model knows: rows of its word embedding and its head."""
    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    rows = text_config(model).vocab_size
    if isinstance(table, torch.nn.Embedding):
        rows = table.num_embeddings
    return min(rows, head.out_features) if isinstance(head, torch.nn.Linear) else rows


def turns_with_length(model: PreTrainedModel) -> bool:
    """Whether every token's place is turned otherwise as soon as a row is long.

    So "longrope" does (Phi-3, Phi-4-mini): the longest row of a call decides for all.
    """
    rope = getattr(text_config(model), "rope_parameters", None) or {}
    parts = [rope, *(part for part in rope.values() if isinstance(part, dict))]
    return any(part.get("rope_type") == "longrope" for part in parts)


def windows(model: PreTrainedModel) -> bool:
    """Whether a layer may attend to the nearest words only."""
    config = text_config(model)
    layers = {*(getattr(config, "layer_types", None) or ())}
    window = getattr(config, "sliding_window", None)
    return bool(window) or bool(layers - {"full_attention"})
