"""Evaluation of a model on the target tasks of a benchmark, as MetaICL reports it (protocol section 4)."""

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

from .adaptation import Adaptation
from .metrics import accuracy, macro_f1, predict
from .prompts import Format
from .records import Example
from .scoring import score_options
from .tasks import SEEDS, Benchmark, Task

SHOTS = 16  # demonstrations to adapt to where the prompt has none


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
    adapt: Adaptation | None = None,
    progress: Callable[[str, int, float], None] | None = None,
) -> dict:
    """Score every target task with ``k`` demonstrations for each seed.

    Returns the record ``{"tasks": {name: {"metric", "unseen", "scores": {seed: x}, "mean", "worst"}}, "mean", "worst",
    "unseen_mean", "unseen_worst", …}`` in points (0–100): a task's metric is macro-F1 for classification and accuracy
    otherwise, its ``mean`` and ``worst`` are over seeds, and the totals are means over tasks (protocol 4.5, 4.6).
    ``max_records`` keeps only the first test records of each task: a declared deviation, for quick looks. With ``adapt``
    every task and seed is scored by a copy of the model that was first adapted to its 16 demonstrations, or ``k`` where that
    is more than none.

    Raises:
        DataError: fewer than ``k`` demonstrations, or an unknown seed.
    """
    fmt = Format(mode=mode, separator=separator, max_length=max_length, max_example_length=max_example_length)
    seeds = tuple(seeds)
    for task in benchmark.test:  # all of them, before the first minute is spent on any
        for seed in seeds:
            task.few_shot(seed, k)
    tasks = {}
    for task in benchmark.test:
        scores = {}
        for seed in seeds:
            scorer = adapt(model, tokenizer, task.few_shot(seed, k or SHOTS), fmt) if adapt else model
            scores[seed] = task_score(scorer, tokenizer, task, seed, k=k, fmt=fmt, max_records=max_records)
            if progress is not None:
                progress(task.name, seed, scores[seed])
        tasks[task.name] = dict(
            metric=metric_name(task), unseen=task.name in benchmark.unseen, scores=scores,
            mean=fmean(scores.values()), worst=min(scores.values()),
        )
    protocol = dict(k=k, seeds=seeds, mode=mode, separator=separator, max_length=max_length, max_records=max_records,
                    adapt=repr(adapt) if adapt else None)
    return dict(tasks=tasks, **_totals(tasks), setting=benchmark.setting, protocol=protocol)


def task_score(model, tokenizer, task: Task, seed: int, *, k: int, fmt: Format, max_records: int | None = None) -> float:
    """Macro-F1 or accuracy of one task with one seed's demonstrations, in points."""
    queries = task.test[:max_records]
    scores = score_options(
        model, tokenizer, task.few_shot(seed, k), queries, mode=fmt.mode, separator=fmt.separator,
        max_length=fmt.max_length, max_example_length=fmt.max_example_length,
    )
    return score_predictions(task.kind, queries, scores)


def score_predictions(kind: str, queries: Sequence[Example], scores: Sequence[Sequence[float]]) -> float:
    """The metric of a task's kind, in points, from the scores of every query's options."""
    answers = [query.options[predict(row)].strip() for query, row in zip(queries, scores, strict=True)]
    metric = macro_f1 if kind == "classification" else accuracy
    return 100 * metric(answers, [query.output.strip() for query in queries])


def metric_name(task: Task) -> str:
    """What `score_predictions` measures on this task."""
    return "macro-F1" if task.kind == "classification" else "accuracy"


def _totals(tasks: dict[str, dict]) -> dict[str, float | None]:
    unseen = [task for task in tasks.values() if task["unseen"]]
    return {
        prefix + key: fmean(task[key] for task in chosen) if chosen else None
        for prefix, chosen in (("", tasks.values()), ("unseen_", unseen))
        for key in ("mean", "worst")
    }
