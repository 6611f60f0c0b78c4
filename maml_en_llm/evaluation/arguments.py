"""What is handed to a scorer, looked at before the model is run."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import fields
from itertools import chain

from ..errors import DataError, check_choice, shown
from ..models.complete import check_causal
from ..models.guards import check_kind, check_no_dropout
from ..prompts import Format, PromptEncoder
from ..prompts.form import as_list
from ..tasks import Example, Task
from ..tasks.labels import label_of


def check_model(model, steps: int | None = None) -> None:
    """Refuse what is no model, and one whose dropout is random.

    For ``steps`` of adaptation, one that none of them would move, and for any number of
    them one that cannot be copied.
    """
    check_kind(model)
    check_causal(model)
    if model.training:
        raise ValueError(
            "model: expected evaluation mode, found training mode, whose dropout is "
            "random; model.eval()"
        )
    # of a part alone, as of adapters that were added to a model
    check_no_dropout(model, "which is random")
    if steps:
        _check_moves(model)
    if steps is not None:
        _check_copies(model)


def check_adaptable(model, steps: int) -> None:
    """Refuse what is no model, or cannot be copied.

    For ``steps``, one whose dropout is random, and one that none of them would move.
    """
    check_kind(model)
    check_causal(model)
    if steps:
        check_no_dropout(model, "which is random")
        _check_moves(model)
    _check_copies(model)


def _check_copies(model) -> None:
    """Refuse a model of which no copy can be made, to take steps with.

    Its tensors stand for themselves here: nothing large is copied.
    """
    tensors = chain(model.parameters(), model.buffers())
    try:
        deepcopy(model, {id(tensor): tensor for tensor in tensors})
    except Exception as error:  # whatever its parts bring about
        raise ValueError(
            "model: expected one that copy.deepcopy can copy, found that it cannot "
            f"({type(error).__name__}: {str(error)[:80]}); make pruned or normed "
            "weights ordinary ones (torch.nn.utils.prune.remove, remove_weight_norm), "
            "and take locks and open files off the model"
        ) from error


def _check_moves(model) -> None:
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(
            "model: expected parameters that require grad to take steps on, found "
            "none; model.requires_grad_(), or for adapters "
            "PeftModel.from_pretrained(..., is_trainable=True)"
        )


def checked_examples(argument: str, examples) -> tuple[Example, ...]:
    """A list of examples, whose options are lists of strings."""
    found = tuple(as_list(argument, examples))
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


def checked_queries(task: Task, max_records: int | None) -> Sequence[Example]:
    """The first test examples; `DataError` for a task that cannot be scored on them."""
    queries = task.test[:max_records]
    if not queries:
        raise DataError("test: expected at least one test example, found none")
    for n, query in enumerate(queries):
        _check_query(query, n)
    return queries


def _check_query(query, n: int) -> None:
    if not isinstance(query, Example) or not isinstance(query.options, (tuple, list)):
        raise DataError(
            f"test example {n}: expected an Example with options in a tuple, found "
            f"{shown(query)}"
        )
    for text in (query.output, *query.options):
        if not isinstance(text, str):
            raise DataError(
                f"test example {n}: expected its answer and options as strings, found "
                f"{shown(text)}"
            )
    labels = set(map(label_of, query.options))
    if len(labels) < 2:
        raise DataError(
            f"test example {n}: expected two options or more to choose from, "
            f"found {shown(list(query.options))}"
        )
    if label_of(query.output) not in labels:
        raise DataError(
            f"test example {n}: expected an answer that is one of the options, "
            f"{shown(query.options)}, found {shown(query.output)}"
        )


def format_of(options: Mapping) -> Format:
    """The format that a caller's further arguments make; `ValueError` names others."""
    for name in options:
        check_choice("format_options", name, [field.name for field in fields(Format)])
    return Format(**options)


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
