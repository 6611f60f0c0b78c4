"""Causal language models from `transformers`, and their loss as a pure function of the parameters."""

import os
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2TokenizerFast,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.activations import NewGELUActivation

from ..base.weights import SHIPPED
from .attention import TWICE

_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def load_model(
    name: str | Path | PretrainedConfig,
    *,
    tokenizer: str | Path | None = None,
    attention: str = TWICE,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
):
    """Load a causal LM and its tokenizer; returns ``(model, tokenizer)``, the model in evaluation mode (no dropout).

    Args:
        name: ``"tiny-base"``, the model that comes with this package (`pretrain`), a hub name, a folder in
            `transformers` layout, a configuration file, or a configuration. Without
            weights (a configuration, or a folder that holds only one) the model is initialised at random.
        tokenizer: hub name or folder. Default: the model's own; a configuration has none of its own and is given
            GPT-2's byte-level BPE, from the folder ``$GPT2_BPE`` if that is set, else from the hub.
        attention: ``"twice"`` (`maml_en_llm.attention`) and ``"eager"`` can be differentiated twice, ``"sdpa"`` once.
        dtype: floating-point type of the weights.
        seed: of the random initialisation, and of nothing else.

    Raises:
        ValueError: nothing to load under that name, a tokenizer with more words than the model, or an attention that the
            model does not have.
    """
    name = SHIPPED.get(name, name) if isinstance(name, str) else name
    config = _configuration(name)
    built = (
        "eager" if attention == TWICE else attention
    )  # every model has it; only some take another function later
    if config is None:
        model = _pretrained(name, built, dtype)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(
                config, attn_implementation=built, dtype=dtype
            )
    if attention == TWICE:
        if (
            not model._supports_attention_backend
        ):  # it would run without its own mask, and see the future
            raise ValueError(
                f"attention: {type(model).__name__} takes no attention but its own, found {TWICE!r}; "
                "load_model(..., attention='eager')"
            )
        model.set_attn_implementation(TWICE)
    words = load_tokenizer(tokenizer or _tokenizer_of(name))
    if len(words) > model.config.vocab_size:
        raise ValueError(
            f"tokenizer: expected at most {model.config.vocab_size} words, the model's vocabulary, found {len(words)}; "
            "name the tokenizer that belongs to the model"
        )
    return fuse_gelu(model).eval(), words


def load_tokenizer(name: str | Path):
    """Load a tokenizer by hub name or folder; a folder may hold GPT-2's bare ``vocab.json`` and ``merges.txt``."""
    folder = Path(SHIPPED.get(str(name), name))
    if (folder / "merges.txt").is_file() and not (folder / "tokenizer.json").is_file():
        return GPT2TokenizerFast.from_pretrained(folder)
    try:
        return AutoTokenizer.from_pretrained(folder if folder.is_dir() else name)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"tokenizer: expected a folder or a name on the hub, found {str(name)!r} ({error}); "
            "the environment variable GPT2_BPE may name a folder with GPT-2's vocab.json and merges.txt"
        ) from error


def fuse_gelu(model: PreTrainedModel) -> PreTrainedModel:
    """Replace GPT-2's tanh-GELU, written as eight passes over memory, by the fused kernel of the same function."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, torch.nn.GELU(approximate="tanh"))
    return model


def _configuration(name) -> PretrainedConfig | None:
    """The configuration to initialise at random, or None where there are weights to load."""
    if isinstance(name, PretrainedConfig):
        return name
    path = Path(name)
    if path.is_dir() and not (path / "config.json").is_file():
        raise ValueError(
            f"model: expected a config.json in the folder {str(path)!r}, found none"
        )
    if path.suffix == ".json" and not path.is_file():
        raise ValueError(
            f"model: expected a configuration file, found nothing at {str(path)!r}"
        )
    if path.is_file() or (
        path.is_dir() and not any((path / file).is_file() for file in _WEIGHTS)
    ):
        return AutoConfig.from_pretrained(path)
    return None


def _pretrained(name, attention: str, dtype: torch.dtype) -> PreTrainedModel:
    try:
        return AutoModelForCausalLM.from_pretrained(
            name, attn_implementation=attention, dtype=dtype
        )
    except OSError as error:
        raise ValueError(
            f"model: expected a folder, a configuration file or a name on the hub, found {str(name)!r} ({error})"
        ) from error


def _tokenizer_of(name) -> str | Path:
    folder = Path(name) if isinstance(name, (str, Path)) else None
    bare = folder is None or folder.is_file()
    if folder is not None and folder.is_dir():
        bare = not any(
            (folder / file).is_file()
            for file in ("tokenizer.json", "tokenizer_config.json", "vocab.json")
        )
    return os.environ.get("GPT2_BPE", "gpt2") if bare else name
