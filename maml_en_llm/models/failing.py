"""A model that fails on its prompts: its own errors, named."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel

from ..errors import listed
from .sizes import architecture


@contextmanager
def named(model: PreTrainedModel, longest: int) -> Iterator[None]:
    """`ValueError` for an error of ``model`` on prompts of up to ``longest`` tokens.

    A lack of memory is no fault of the model, and stays what it is.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(
            f"model: expected {architecture(model)} to take prompts of up to {longest} "
            f"tokens, found {type(error).__name__}: {str(error)[:160]}{_cure(model)}"
        ) from error


def _cure(model: PreTrainedModel) -> str:
    """What may be wrong, where it can be seen: parts that do not fit together."""
    kinds = {p.dtype for p in model.parameters() if p.is_floating_point()}
    if len(kinds) < 2:
        return ""
    found = listed(sorted(map(str, kinds)))
    return f"; its weights are of {found}: model.to(one of them)"
