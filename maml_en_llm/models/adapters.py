"""Low-rank adapters (LoRA, Hu et al. 2022) beside the matrices of a model's layers."""

import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ..errors import check_integer
from .source import name_of

ADAPTER_FILE = "adapter_config.json"


def with_adapters(model: PreTrainedModel, rank: int, *, seed: int = 0):
    """``model`` with an adapter beside every linear layer, which alone can be trained.

        W x  becomes  W x + 2 B A x,      A (rank, d) drawn with ``seed``, B = 0

    which is the same function at first. The output head has none. Raises `ValueError`
    for a rank below 1, `ImportError` without `peft`.
    """
    from peft import LoraConfig, get_peft_model

    check_integer("lora", rank, 1)
    turned = any(isinstance(module, Conv1D) for module in model.modules())
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules="all-linear",
        fan_in_fan_out=turned,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # it asks `transformers` by names of older versions
        warnings.simplefilter("ignore", FutureWarning)
        torch.manual_seed(seed)
        adapted: Any = get_peft_model(model, config)
    # the folder that a machine keeps it in says nothing to others
    adapted.peft_config["default"].base_model_name_or_path = name_of(model)
    return adapted.eval()


def has_adapters(model) -> bool:
    """Whether `with_adapters` has wrapped the model."""
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")


def save_model(model, tokenizer, folder: Path) -> None:
    """Write a model, or its adapters alone, and its tokenizer as ordinary files."""
    if has_adapters(model):
        # its word embedding is the base's: nothing to look up on a hub
        model.save_pretrained(folder, save_embedding_layers=False)
    else:
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
