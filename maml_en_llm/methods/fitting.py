"""Examples and prompts that do not fit, found before anything is computed."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..errors import DataError, listed, shown
from ..prompts import PromptEncoder
from ..tasks import Example, Task
from ..tasks.strict_json import SURROGATE
from ..tasks.task import checked_tasks

WHY = 160  # characters of the reason why examples do not fit


def checked_training(tasks) -> tuple[Task, ...]:
    """Tasks to train on; `DataError` names task and example no file could hold."""
    tasks = checked_tasks("tasks", tasks, "a list of tasks, as Benchmark.train")
    for task in tasks:
        where = f"tasks: {shown(task.name)}"
        for place, example in enumerate(task.train):
            _check_texts(f"{where}, train[{place}]", example)
    return tasks


def _check_texts(where: str, example) -> None:
    if not isinstance(example, Example):
        raise DataError(
            f"{where}: expected Example(input, output, options), found {shown(example)}"
        )
    for name in ("input", "output"):
        text = getattr(example, name)
        if not isinstance(text, str) or SURROGATE.search(text):
            raise DataError(f"{where}: expected a text as {name}, found {shown(text)}")


def fitting(
    tasks: Sequence[Task],
    encoder: PromptEncoder,
    *,
    demonstrations: bool,
    instructions: bool,
) -> tuple[tuple[Task, ...], dict[str, int], str]:
    """The tasks without the examples whose target cannot fit the encoder's format.

    Returns them, how many were left out by task, and why the first one was.
    """
    left_out: Counter[str] = Counter()
    kept_tasks = []
    why = ""
    for task in tasks:
        instruction = task.instruction_if(instructions)
        kept = []
        for example in task.train:
            try:
                encoder.check_target(
                    example, instruction=instruction, first=not demonstrations
                )
                kept.append(example)
            except ValueError as error:
                left_out[task.name] += 1
                why = why or str(error)[:200]
        whole = len(kept) == len(task.train)
        kept_tasks.append(task if whole else replace(task, train=tuple(kept)))
    return tuple(kept_tasks), dict(left_out), why


def check_enough(
    tasks: Iterable[Task], need: int, what: str, left_out: dict, why: str
) -> None:
    """Raise `DataError` unless every task has ``need`` examples.

    ``what`` says what they are for, ``why`` why those of ``left_out`` do not fit.
    """
    short = [task for task in tasks if len(task.train) < need]
    if not short:
        return
    more = f" and {len(short) - 3} more" if len(short) > 3 else ""
    sizes = []
    for task in short[:3]:
        lost = left_out.get(task.name)
        beside = f" and {lost} that do not fit" if lost else ""
        sizes.append(f"{task.name} ({len(task.train)}{beside})")
    raise DataError(
        f"tasks: an episode takes {need} different examples ({what}); too few in "
        f"{listed(sizes)}{more}; lower inner_steps, prompts or demonstrations, or "
        f"leave those tasks out{f' ({why[:WHY]})' if why else ''}"
    )


def check_instructions(tasks: Iterable[Task]) -> None:
    """Raise `DataError` unless every task has an instruction."""
    silent = [task.name for task in tasks if not task.instruction]
    if silent:
        raise DataError(
            f"tasks: expected an instruction for each, found none for {listed(silent)}"
            '; settings.json may give one, under "tasks", or choose a method without '
            "instructions"
        )


def check_positions(
    tasks: Iterable[Task],
    encoder: PromptEncoder,
    positions: int | None,
    *,
    demonstrations: int,
    instructions: bool,
) -> None:
    """Raise `ValueError` where a prompt may be longer than the model's ``positions``.

    The bound of a task is its instruction and its longest ``demonstrations`` + 1
    examples. Bytes decide first, since a token has at least one; only where they leave
    it open are the examples tokenised.
    """
    limit = encoder.fmt.max_length
    if positions is None or limit <= positions:
        return
    for task in tasks:
        instruction = task.instruction_if(instructions)
        told = min(len(instruction.encode()), encoder.fmt.max_example_length)
        told += len(encoder.beginning)
        longest = 0
        for length in (_most_tokens, _tokens):
            lengths = sorted((length(encoder, e) for e in task.train), reverse=True)
            longest = told + sum(lengths[: demonstrations + 1])
            if longest <= positions:
                break
        if longest > positions:
            raise ValueError(
                f"max_length: expected at most {positions}, the model's positions, "
                f"found {limit}, and prompts of task {shown(task.name)} may take "
                f"{min(longest, limit)} tokens; max_length={positions} cuts them"
            )


def _most_tokens(encoder: PromptEncoder, example: Example) -> int:
    """At most so many tokens, by its bytes; separators have four at most."""
    size = len(example.input.encode()) + len(example.output.encode()) + 4
    plain = example.input.isascii() and example.output.isascii()
    return min(size if plain else 4 * size, encoder.fmt.max_example_length)


def _tokens(encoder: PromptEncoder, example: Example) -> int:
    return sum(map(len, encoder.example(example, first=False)))
