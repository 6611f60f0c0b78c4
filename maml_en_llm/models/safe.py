"""Which model classes take the fast paths. The others take the plain path, told once.

A class is on a list if it was measured to give the numbers of its own plain call there,
see `tests/models/all_classes.py`, which goes over every causal LM class of
`transformers`. A class that is on no list may be right; nobody has looked.
"""

import warnings

from transformers import PreTrainedModel

from .sizes import architecture

TWICE_SAFE = frozenset(
    {
        "GPT2LMHeadModel",
        "GPTNeoXForCausalLM",
        "LlamaForCausalLM",
        "MistralForCausalLM",
        "OPTForCausalLM",
        "Phi3ForCausalLM",
        "Qwen2ForCausalLM",
        "Qwen3ForCausalLM",
    }
)  # attention "twice": eager attention's scores, and first and second derivatives

STACKING_SAFE = TWICE_SAFE  # `torch.vmap` over stacked parameters

SHARING_SAFE = TWICE_SAFE  # an explicit mask, given positions and stored keys

_told: set[tuple[str, str]] = set()


PADDING_SAFE = TWICE_SAFE  # right-padded batches


def pads(model: PreTrainedModel) -> bool:
    """Whether the model's class is known to give padded rows their own scores."""
    return architecture(model) in PADDING_SAFE


def takes_twice(model: PreTrainedModel) -> bool:
    """Whether attention "twice" is known to be right for the model's class."""
    return architecture(model) in TWICE_SAFE


def stacks(model: PreTrainedModel) -> bool:
    """Whether the model's class is known to run over stacked parameters."""
    return architecture(model) in STACKING_SAFE


def shares(model: PreTrainedModel) -> bool:
    """Whether the model's class is known to score a trie of prompts as their rows."""
    return architecture(model) in SHARING_SAFE


def say_once(key: str, subject: str, message: str) -> None:
    """Warn with ``message``, once in a process for ``key`` and ``subject``."""
    if (key, subject) not in _told:
        _told.add((key, subject))
        warnings.warn(message, stacklevel=3)
