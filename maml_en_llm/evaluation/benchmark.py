"""Evaluation on the target tasks of a benchmark, as MetaICL reports it (protocol section 4)."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

from ..errors import DataError
from ..prompts import Format
from ..protocol import SEEDS
from ..tasks.benchmark import Benchmark, Task
from ..tasks.examples import Example
from .adaptation import Adaptation
from .metrics import accuracy, calibration_error, macro_f1, predict, probabilities
from .scoring import score_options, score_pmi

SHOTS = 16  # demonstrations to adapt to where the prompt has none


# a task, a demonstration seed and queries → a row a query of scores, one an option, the smallest being the answer
Scorer = Callable[[Task, int, Sequence[Example]], Sequence[Sequence[float]]]


def evaluate(
    model,
    tokenizer,
    benchmark: Benchmark,
    *,
    k: int = 16,
    seeds: Iterable[int] = SEEDS,
    mode: str = "direct",
    separator: str = "newline",
    max_length: int = 1024,
    max_example_length: int = 256,
    max_records: int | None = None,
    instructions: bool = False,
    pmi: bool = False,
    adapt: Adaptation | None = None,
    progress: Callable[[str, int, float], None] | None = None,
) -> dict:
    """Score every target task with ``k`` demonstrations for each seed; returns the record of `evaluate_by`.

    Args:
        max_records: only the first test records of each task: a declared deviation, for quick looks.
        instructions: each task's instruction stands before its demonstrations (MetaICT).
        pmi: scores are those of `score_pmi`.
        adapt: every task and seed is scored by a copy of the model that was first adapted to its 16 demonstrations, or ``k``
            where that is more than none; without demonstrations in the prompt, to each of them alone.

    Raises:
        DataError: fewer than ``k`` demonstrations, an unknown seed, or a task without the instruction asked for.
    """
    fmt = Format(
        mode=mode,
        separator=separator,
        max_length=max_length,
        max_example_length=max_example_length,
    )
    seeds, score = tuple(seeds), score_pmi if pmi else score_options
    for task in benchmark.test:  # all of them, before the first minute is spent on any
        if instructions and not task.instruction:
            raise DataError(
                f"instructions: task {task.name!r} has none; its settings.json may give one, under 'tasks'"
            )
        for seed in seeds:
            task.few_shot(seed, (k or SHOTS) if adapt else k)

    def scorer(task, seed, queries):
        told, shots = task.instruction if instructions else "", task.few_shot(seed, k)
        if not adapt:
            return score(
                model, tokenizer, shots, queries, **vars(fmt), instruction=told
            )
        adapted = adapt(
            model,
            tokenizer,
            task.few_shot(seed, k or SHOTS),
            fmt,
            alone=k == 0,
            instruction=told,
        )
        return score(adapted, tokenizer, shots, queries, **vars(fmt), instruction=told)

    record = evaluate_by(
        scorer, benchmark, seeds=seeds, max_records=max_records, progress=progress
    )
    record["protocol"] |= vars(fmt) | dict(
        k=k, instructions=instructions, pmi=pmi, adapt=repr(adapt) if adapt else None
    )
    return record


def evaluate_by(
    scorer: Scorer,
    benchmark: Benchmark,
    *,
    seeds: Iterable[int] = SEEDS,
    max_records: int | None = None,
    progress=None,
) -> dict:
    """Score every target task for each seed by any rule.

    Returns ``{"tasks": {name: {"metric", "unseen", "scores": {seed: x}, "mean", "worst", "ece"}}, "mean", "worst",
    "unseen_mean", "unseen_worst", "ece", "failed": {name: message}, …}`` in points (0–100): a task's metric is macro-F1 for
    classification and accuracy otherwise, its ``mean`` and ``worst`` are over seeds, ``ece`` is its mean calibration error,
    and the totals are means over tasks (protocol 4.5, 4.6). A task that cannot be scored is left out of them, with a
    warning and its message under ``failed``; where none can be scored the first error is raised.
    """
    seeds, tasks, failed, first = tuple(seeds), {}, {}, None
    if not (seeds and benchmark.test) or (max_records is not None and max_records < 1):
        raise DataError(
            f"expected at least one seed, target task and record, found seeds {seeds}, {len(benchmark.test)} tasks, "
            f"max_records {max_records}"
        )
    for task in benchmark.test:
        try:
            tasks[task.name] = _task_row(
                scorer, task, seeds, max_records, progress
            ) | dict(unseen=task.name in benchmark.unseen)
        except ValueError as error:
            first = first or error
            failed[task.name] = str(error)
            warnings.warn(f"task {task.name!r} is left out: {error}", stacklevel=3)
    if first is not None and not tasks:
        raise first
    protocol = dict(seeds=seeds, max_records=max_records)
    return dict(
        tasks=tasks,
        **_totals(tasks),
        failed=failed,
        setting=benchmark.setting,
        protocol=protocol,
    )


def _task_row(
    scorer: Scorer, task: Task, seeds, max_records: int | None, progress
) -> dict:
    queries, scores, errors = task.test[:max_records], {}, []
    for n, query in enumerate(queries):
        if len(set(query.options)) < 2:
            raise DataError(
                f"test record {n}: expected two options or more to choose from, found {list(query.options)}"
            )
    for seed in seeds:
        table = scorer(task, seed, queries)
        scores[seed] = score_predictions(task.kind, queries, table)
        errors.append(_calibration(queries, table))
        if progress is not None:
            progress(task.name, seed, scores[seed])
    return dict(
        metric=metric_name(task),
        scores=scores,
        mean=fmean(scores.values()),
        worst=min(scores.values()),
        ece=fmean(errors),
    )


def score_predictions(
    kind: str, queries: Sequence[Example], scores: Sequence[Sequence[float]]
) -> float:
    """The metric of a task's kind, in points, from the scores of every query's options."""
    metric = macro_f1 if kind == "classification" else accuracy
    return 100 * metric(
        _answers(queries, scores), [query.output.strip() for query in queries]
    )


def _answers(queries, scores) -> list[str]:
    return [
        query.options[predict(row)].strip()
        for query, row in zip(queries, scores, strict=True)
    ]


def _calibration(queries, scores) -> float:
    hits = [
        answer == query.output.strip()
        for answer, query in zip(_answers(queries, scores), queries)
    ]
    return 100 * calibration_error([max(probabilities(row)) for row in scores], hits)


def metric_name(task: Task) -> str:
    """What `score_predictions` measures on this task."""
    return "macro-F1" if task.kind == "classification" else "accuracy"


def _totals(tasks: dict[str, dict]) -> dict[str, float | None]:
    unseen = [task for task in tasks.values() if task["unseen"]]
    return {
        prefix + key: fmean(task[key] for task in chosen) if chosen else None
        for prefix, chosen in (("", tasks.values()), ("unseen_", unseen))
        for key in ("mean", "worst", "ece")
    }
