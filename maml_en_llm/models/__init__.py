"""Causal language models, and their loss as a pure function of the parameters."""

from .attention import TWICE
from .loading import load_model, load_tokenizer
from .loss import PromptLoss, parameters, write_back

__all__ = [
    "TWICE",
    "PromptLoss",
    "load_model",
    "load_tokenizer",
    "parameters",
    "write_back",
]
