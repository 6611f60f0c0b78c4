"""Causal language models, and their loss as a pure function of the parameters."""

from ..prompts.device import as_device
from .attention import TWICE, using_attention
from .loading import as_dtype, load_model
from .loss import PromptLoss
from .sizes import positions_of
from .source import source_of
from .tokenizer import load_tokenizer
from .weights import parameters, write_back

__all__ = [
    "TWICE",
    "PromptLoss",
    "as_device",
    "as_dtype",
    "load_model",
    "load_tokenizer",
    "parameters",
    "positions_of",
    "source_of",
    "using_attention",
    "write_back",
]
