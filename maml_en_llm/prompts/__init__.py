"""Prompts: from examples to token ids, to batches."""

from ..protocol import MODES, SEPARATORS
from .batches import Batch, Prompt, bucket, collate, stack
from .cut import Cut
from .encoder import PromptEncoder
from .form import Format, pieces

__all__ = [
    "MODES",
    "SEPARATORS",
    "Batch",
    "Cut",
    "Format",
    "Prompt",
    "PromptEncoder",
    "bucket",
    "collate",
    "pieces",
    "stack",
]
