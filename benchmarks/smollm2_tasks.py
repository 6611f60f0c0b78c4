"""The tasks that smollm2.py holds back, and how it asks them."""

from dataclasses import replace
from statistics import fmean

import torch

from maml_en_llm import Format, PromptEncoder, score_options
from maml_en_llm.evaluation.benchmark import score_predictions

DEMONSTRATIONS = 8
LENGTH = 256  # tokens of a training prompt and of a held one
EXAMPLE = 128
SHOTS, ASKED = 16, 24  # examples of a held task to draw on, and to ask
SEEDS = (100, 13)  # demonstration seeds of the targets
HELD = (  # whole families of tasks with options, of which none is trained on
    *("subj", "trec", "question_type", "winowhy", "qnli", "tellmewhy_answerable"),
    *("roc_title_choice", "art_abductive"),
)


def as_held(task, asked: int = ASKED):
    """The last examples of a task, as demonstrations and queries."""
    shots = task.train[-SHOTS:]
    queries = task.train[-SHOTS - asked : -SHOTS]
    return replace(task, demonstrations={0: shots}, test=queries)


def fits(tokenizer, task, seeds, records: int, length: int, example: int) -> bool:
    """Whether no prompt of a target with all its demonstrations is cut."""
    fmt = Format(mode="direct", max_length=10**6, max_example_length=example)
    encoder = PromptEncoder(tokenizer, fmt)

    def longest(shots, query) -> int:
        return max(len(p.ids) for p in encoder.query_prompts(shots, query))

    query = max(task.test[:records], key=lambda query: longest((), query))
    shown = (task.few_shot(seed, SHOTS) for seed in seeds)
    return max(longest(shots, query) for shots in shown) <= length


def asked(model, tokenizer, tasks, mode: str) -> dict:
    """Means over tasks: points, nats per target token of the right answer, and nats
    that the right one costs among the options; and the three of each task."""
    rows = {}
    for task in tasks:
        table = score_options(
            model,
            tokenizer,
            task.few_shot(0, DEMONSTRATIONS),
            task.test,
            mode=mode,
            max_length=LENGTH,
            max_example_length=EXAMPLE,
            tokens_at_once=2048,
        )
        right = [q.options.index(q.output) for q in task.test]
        nll = fmean(row[i] for row, i in zip(table, right, strict=True))
        choice = []
        for row, i in zip(table, right, strict=True):
            scores = -torch.tensor(row)
            choice.append(float(scores.logsumexp(0) - scores[i]))
        points = score_predictions(task.kind, task.test, table)
        rows[task.name] = [round(x, 4) for x in (points, nll, fmean(choice))]
    means = [round(fmean(column), 4) for column in zip(*rows.values(), strict=True)]
    return dict(zip(("points", "nll", "choice"), means, strict=True), tasks=rows)
