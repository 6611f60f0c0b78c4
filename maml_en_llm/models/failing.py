"""A model that fails on its prompts: its own errors, named."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel

from ..errors import listed
from .sizes import architecture

_ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError),
    *(RuntimeError, TypeError, ValueError),
)


@contextmanager
def named(model: PreTrainedModel, longest: int) -> Iterator[None]:
    """`ValueError` for an error of ``model`` on prompts of up to ``longest`` tokens.

    A lack of memory is no fault of the model, and stays what it is, as does what this
    package refuses.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except _ERRORS as error:
        if _is_own(error):
            raise
        raise ValueError(
            f"model: expected {architecture(model)} to take prompts of up to {longest} "
            f"tokens, found {type(error).__name__}: {str(error)[:160]}{_cure(model)}"
        ) from error


def _is_own(error: Exception) -> bool:
    """Whether it is a `ValueError` that this package raised, which is named already."""
    if not isinstance(error, ValueError):
        return False
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    home = "" if place is None else str(place.tb_frame.f_globals.get("__name__"))
    return home.partition(".")[0] == __name__.partition(".")[0]


def _cure(model: PreTrainedModel) -> str:
    """What may be wrong, where it can be seen.

    An encoder that wants a text of its own, or parts that do not fit together.
    """
    if getattr(model.config, "is_encoder_decoder", False):
        return "; it has an encoder, too: take a causal model (AutoModelForCausalLM)"
    kinds = {p.dtype for p in model.parameters() if p.is_floating_point()}
    if len(kinds) < 2:
        return ""
    found = listed(sorted(map(str, kinds)))
    return f"; its weights are of {found}: model.to(one of them)"
