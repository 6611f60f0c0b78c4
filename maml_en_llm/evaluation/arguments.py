"""What is handed to a scorer, looked at before the model is run."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import fields
from itertools import chain

from ..errors import (
    DataError,
    check_choice,
    check_integer,
    check_once,
    listed,
    shown,
)
from ..models.complete import check_causal
from ..models.guards import check_kind, check_no_dropout
from ..models.tokenizer import check_tokenizer
from ..prompts import Format, PromptEncoder
from ..prompts.form import as_list
from ..protocol import SHOTS
from ..tasks import Benchmark, Example, Task
from ..tasks.labels import label_of


def check_model(model, steps: int | None = None, tokenizer=None) -> None:
    """Refuse what is no model, and one whose dropout is random.

    For ``steps`` of adaptation, one that none of them would move, and for any number of
    them one that cannot be copied. With a ``tokenizer``, one that has not all its ids.
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
    if tokenizer is not None:
        check_tokenizer(tokenizer, model)


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


def check_sizes(benchmark, seeds, max_records) -> tuple[tuple[int, ...], int | None]:
    """The seeds and the number of test examples, as Python's own whole numbers."""
    if not isinstance(benchmark, Benchmark):
        raise ValueError(
            f"benchmark: expected a Benchmark (load_benchmark), found "
            f"{shown(benchmark)}"
        )
    if isinstance(seeds, (str, bytes)) or not isinstance(seeds, Iterable):
        raise ValueError(
            f"seeds: expected demonstration seeds, such as (100, 13), found "
            f"{shown(seeds)}"
        )
    seeds = tuple(check_integer("seeds", seed) for seed in seeds)
    if max_records is not None:
        max_records = check_integer("max_records", max_records, 1)
    if not seeds or not benchmark.test:
        raise DataError(
            f"expected at least one seed and target task, found seeds {seeds}, "
            f"{len(benchmark.test)} tasks"
        )
    check_once("seeds", seeds)
    check_once("benchmark.test", [task.name for task in benchmark.test])
    return seeds, max_records


def check_shown(benchmark, k: int, seeds, instructions=False, adapts=False) -> None:
    """Raise `DataError` for a task without what is shown before its queries.

    These are ``k`` demonstrations of every seed, where a model ``adapts`` those of
    `adapted_to`, and with ``instructions`` the task's own. All tasks are looked at
    before a minute is spent on any.
    """
    demonstrations = adapted_to if adapts else Task.few_shot
    for task in benchmark.test:
        if instructions and not task.instruction:
            raise DataError(
                f"instructions: task {shown(task.name)} has none; its settings.json "
                "may give one, under 'tasks'"
            )
        for seed in seeds:
            demonstrations(task, seed, k)


def check_some_shown(argument: str, k: int, adapt) -> None:
    """Raise `ValueError` for a change of demonstrations where none are read."""
    if not k and adapt is None:
        raise ValueError(
            f"{argument}: expected at least one demonstration whose label could be "
            f"drawn, found none shown; raise k, or leave {argument} out"
        )


def adapted_to(task: Task, seed: int, k: int) -> tuple[Example, ...]:
    """What a model is adapted to: the ``k`` demonstrations that are in the prompt.

    Without any in the prompt, as many as the task has, up to 16. Raises `DataError` for
    a task that has none.
    """
    there = len(task.demonstrations.get(seed, ()))
    return task.few_shot(seed, k or min(max(there, 1), SHOTS))


def warn_of_shown(benchmark, k: int, seeds, max_records, adapts=False) -> None:
    """Warn of tasks that show test examples, with their answers, as demonstrations."""
    demonstrations = adapted_to if adapts else Task.few_shot
    counts = []
    for task in benchmark.test:
        given = [one for seed in seeds for one in demonstrations(task, seed, k)]
        seen = set(map(_text_and_answer, given))
        asked = map(_text_and_answer, task.test[:max_records] if given else ())
        count = sum(query in seen for query in asked)
        if count:
            counts.append(f"{task.name} ({count})")
    if counts:
        warnings.warn(
            "benchmark.test: expected test examples that no demonstration shows, found "
            f"some that one does: {listed(counts)}; the scores of these tasks are too "
            "high, leave such examples out",
            stacklevel=3,
        )


def _text_and_answer(example) -> str:
    """What makes two examples the same; their options may stand in another order."""
    return repr([getattr(example, name, example) for name in ("input", "output")])
