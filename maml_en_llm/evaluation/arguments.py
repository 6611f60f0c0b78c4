"""What is handed to a scorer, looked at before the model is run."""

from collections.abc import Iterable

from ..errors import shown
from ..prompts import PromptEncoder
from ..tasks.examples import Example


def check_model(model) -> None:
    """Refuse what is no model, and one whose dropout is random."""
    if not hasattr(model, "training") or not hasattr(model, "config"):
        raise ValueError(
            f"model: expected a causal language model (load_model), found "
            f"{shown(model)}"
        )
    if model.training:
        raise ValueError(
            "model: expected evaluation mode, found training mode, whose dropout is "
            "random; model.eval()"
        )


def checked_examples(argument: str, examples) -> tuple[Example, ...]:
    """A list of examples, whose options are lists of strings."""
    if isinstance(examples, (str, bytes)) or not isinstance(examples, Iterable):
        raise ValueError(
            f"{argument}: expected a list of Example, found {shown(examples)}"
        )
    found = tuple(examples)
    for n, example in enumerate(found):
        if not isinstance(example, Example):
            raise ValueError(
                f"{argument}[{n}]: expected an Example, found {shown(example)}"
            )
        listed = example.options is None or isinstance(example.options, (tuple, list))
        if not listed or not all(isinstance(one, str) for one in example.options or ()):
            raise ValueError(
                f"{argument}[{n}]: expected options in a tuple of strings, found "
                f"{shown(example.options)}"
            )
    return found


def prefix_of(
    encoder: PromptEncoder, demonstrations: tuple[Example, ...], instruction: str
) -> tuple[int, ...]:
    """The ids of instruction and demonstrations; what stops one of these names it."""
    for n, example in enumerate(demonstrations):
        try:
            encoder.example(example, first=not instruction and n == 0)
        except ValueError as error:
            raise ValueError(f"demonstrations[{n}]: {error}") from error
        except (TypeError, LookupError, RuntimeError, OverflowError) as error:
            raise ValueError(
                f"demonstrations[{n}]: expected a text that the tokenizer takes, found "
                f"{shown(example.input)} ({type(error).__name__}: {str(error)[:80]})"
            ) from error
    return encoder.demonstrations(demonstrations, instruction)
