"""Evaluation on the target tasks of a benchmark, as MetaICL reports it.

Protocol section 4. `evaluate` scores by a model, `evaluate_by` by any rule.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from ..errors import (
    DataError,
    check_callable,
    check_choice,
    check_integer,
    check_truth,
    shown,
)
from ..prompts import Format
from ..protocol import SEEDS, SHOTS
from ..tasks import Benchmark, Example, Task
from ..tasks.labels import alike_among, label_of
from ..tasks.random_labels import with_random_labels
from ..tasks.settings import KINDS
from .adaptation import Adaptation, after_steps
from .arguments import (
    adapted_to,
    check_model,
    check_shown,
    check_sizes,
    check_some_shown,
    checked_queries,
    warn_of_shown,
)
from .cut import told_cuts
from .metrics import (
    accuracy,
    calibration_error,
    check_queries,
    checked_table,
    macro_f1,
    smallest,
    softmax,
)
from .scoring import score_options, score_pmi
from .telling import Untold, teller

MESSAGE = 400  # characters of an error that are kept in a record

# task, demonstration seed, queries → one row per query of scores, one per option, the
# smallest being the answer
Scorer = Callable[[Task, int, Sequence[Example]], Sequence[Sequence[float]]]


def evaluate(
    model,
    tokenizer,
    benchmark: Benchmark,
    *,
    k: int = SHOTS,
    seeds: Iterable[int] = SEEDS,
    mode: str = "direct",
    separator: str = "newline",
    max_length: int = 1024,
    max_example_length: int = 256,
    bos: bool = False,
    max_records: int | None = None,
    instructions: bool = False,
    pmi: bool = False,
    random_labels: bool = False,
    adapt: Adaptation | None = None,
    progress: Callable[[str, int, float], None] | None = None,
) -> dict:
    """Score every target task with ``k`` demonstrations for each demonstration seed.

    Device and type are the model's own. Returns the record of `evaluate_by` and, as
    ``cut``, the `Cut` of each task with prompts that are cut. Before any is scored,
    `ValueError` (of data: `DataError`) and warnings tell what cannot be or is doubtful.

    Args:
        max_records: only the first test examples of each task: a declared deviation.
        instructions: each task's instruction stands before its demonstrations.
        pmi: scores are those of `score_pmi`, in direct mode.
        random_labels: the demonstrations have other answers, see `with_random_labels`:
            a control, which shows how much of a score is read from their pairing.
        adapt: each task and seed is scored by its own copy of the model, adapted to
            the ``k`` demonstrations in the prompt; with k = 0, to up to 16, one by one.
    """
    lengths = dict(max_length=max_length, max_example_length=max_example_length)
    fmt = Format(mode=mode, separator=separator, bos=bos, **lengths)
    seeds, max_records = check_sizes(benchmark, seeds, max_records)
    k = _check_options(k, mode, instructions, pmi, random_labels, adapt)
    if random_labels:
        benchmark = replace(benchmark, test=map(with_random_labels, benchmark.test))
    check_shown(benchmark, k, seeds, instructions, adapt is not None)
    check_model(model, None if adapt is None else adapt.steps, tokenizer)
    scorer = _model_scorer(model, tokenizer, k, fmt, pmi, adapt, instructions)
    warn_of_shown(benchmark, k, seeds, max_records, adapt is not None)
    asked: dict[str, Any] = dict(seeds=seeds, max_records=max_records)
    cut = told_cuts(tokenizer, benchmark, fmt, k, instructions, **asked)
    record = evaluate_by(scorer, benchmark, **asked, progress=progress)
    how = dict(k=k, instructions=instructions, pmi=pmi, random_labels=random_labels)
    record["protocol"] |= vars(fmt) | how | dict(adapt=adapt and repr(adapt))
    return record | dict(cut=cut)


def evaluate_by(
    scorer: Scorer,
    benchmark: Benchmark,
    *,
    seeds: Iterable[int] = SEEDS,
    max_records: int | None = None,
    progress: Callable[[str, int, float], None] | None = None,
) -> dict:
    """Score every target task for each seed by any rule.

    Returns ``{"tasks": {name: {"metric", "unseen", "scores": {seed: x}, "mean",
    "worst", "ece"}}, "mean", "worst", "unseen_mean", "unseen_worst", "ece", "failed":
    {name: message}, …}`` in points (0–100): a task's metric is macro-F1 for
    classification and accuracy otherwise, its ``mean`` and ``worst`` are over seeds,
    ``ece`` is its mean calibration error in ten bins of the largest of softmax(−scores)
    (`calibration_error`, `probabilities`; doubled options count as one), and the totals
    are means over tasks (protocol 4.5, 4.6).

    A task that cannot be scored is left out of the totals, with a warning and its
    message under ``failed``; where none can be, the first error is raised. So is any
    that ``progress`` raises, and `ValueError` for a scorer that cannot be called.
    """
    check_callable("scorer", scorer, "a function of task, seed and queries")
    seeds, max_records = check_sizes(benchmark, seeds, max_records)
    tell = teller(progress)
    tasks: dict[str, dict] = {}
    failed: dict[str, str] = {}
    first: Exception | None = None
    for task in benchmark.test:
        try:
            row = _task_row(scorer, task, seeds, max_records, tell)
        except Untold as error:
            raise error.why from None
        except Exception as error:  # of any library: the other tasks are not lost
            first = first or error
            failed[task.name] = why = _message(error)
            warnings.warn(f"task {shown(task.name)} is left out: {why}", stacklevel=3)
        else:
            tasks[task.name] = row | dict(unseen=task.name in benchmark.unseen)
    if first is not None and not tasks:
        raise first
    return dict(
        tasks=tasks,
        **_totals(tasks),
        failed=failed,
        setting=benchmark.setting,
        protocol=dict(seeds=seeds, max_records=max_records),
    )


def score_predictions(
    kind: str, queries: Sequence[Example], scores: Sequence[Sequence[float]]
) -> float:
    """The metric of a task's kind, in points, from the scores of every query.

    Raises `ValueError` for an unknown kind, and unless the scores are one row per query
    of one number per option.
    """
    check_choice("kind", kind, KINDS, DataError)
    check_queries(queries)
    return _points(kind, queries, checked_table(queries, scores))


def metric_name(task: Task) -> str:
    """What `score_predictions` measures on this task."""
    if not isinstance(task, Task):
        raise ValueError(f"task: expected a Task, found {shown(task)}")
    return "macro-F1" if task.kind == "classification" else "accuracy"


def _check_options(k, mode, instructions, pmi, random_labels, adapt) -> int:
    k = check_integer("k", k)
    truths = dict(instructions=instructions, pmi=pmi, random_labels=random_labels)
    for name, value in truths.items():
        check_truth(name, value)
    if pmi and mode != "direct":
        raise ValueError(
            f"pmi: expected mode 'direct', the only one it is defined for, "
            f"found {mode!r}"
        )
    if adapt is not None and not isinstance(adapt, Adaptation):
        raise ValueError(f"adapt: expected an Adaptation or None, found {shown(adapt)}")
    if random_labels:
        check_some_shown("random_labels", k, adapt)
    return k


def _model_scorer(model, tokenizer, k: int, fmt: Format, pmi, adapt, instructions):
    score = score_pmi if pmi else score_options

    def scorer(task: Task, seed: int, queries: Sequence[Example]):
        told = {"instruction": task.instruction_if(instructions)}
        demonstrations = task.few_shot(seed, k)
        how: dict[str, Any] = vars(fmt) | told
        if adapt is None:
            return score(model, tokenizer, demonstrations, queries, **how)
        shots = adapted_to(task, seed, k)
        asked = adapt(model, tokenizer, shots, fmt, alone=k == 0, **told)
        with after_steps(adapt.steps, adapt.optimizer):
            return score(asked, tokenizer, demonstrations, queries, **how)

    return scorer


def _task_row(
    scorer: Scorer, task: Task, seeds: tuple, max_records: int | None, tell: Callable
) -> dict:
    queries = checked_queries(task, max_records)
    scores, errors = {}, []
    for seed in seeds:
        table = checked_table(queries, scorer(task, seed, queries))
        scores[seed] = _points(task.kind, queries, table)
        errors.append(_calibration(queries, table))
        tell(task.name, seed, scores[seed])
    return dict(
        metric=metric_name(task),
        scores=scores,
        mean=fmean(scores.values()),
        worst=min(scores.values()),
        ece=fmean(errors),
    )


def _answers(queries, table) -> list[str]:
    pairs = zip(queries, table, strict=True)
    return [label_of(query.options[smallest(row)]) for query, row in pairs]


def _points(kind: str, queries, table) -> float:
    """`score_predictions` of a table that was looked at."""
    metric = macro_f1 if kind == "classification" else accuracy
    gold = [label_of(query.output) for query in queries]
    return 100 * metric(_answers(queries, table), gold)


def _calibration(queries, table) -> float:
    """Expected calibration error of one table of scores, in points."""
    hits, sure = [], []
    rows = zip(_answers(queries, table), queries, table, strict=True)
    for answer, query, row in rows:
        hits.append(answer == label_of(query.output))
        shares = softmax(row)
        sure.append(sum(shares[n] for n in alike_among(answer, query.options)))
    return 100 * calibration_error(sure, hits)


def _totals(tasks: dict[str, dict]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    unseen = [row for row in tasks.values() if row["unseen"]]
    for prefix, rows in (("", list(tasks.values())), ("unseen_", unseen)):
        for key in ("mean", "worst", "ece"):
            found[prefix + key] = fmean(row[key] for row in rows) if rows else None
    return found


def _message(error: Exception) -> str:
    """What an error says, at most `MESSAGE` characters; of a foreign one its kind."""
    text = str(error) or "no message"
    if not isinstance(error, ValueError):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= MESSAGE else f"{text[:MESSAGE]}…"
