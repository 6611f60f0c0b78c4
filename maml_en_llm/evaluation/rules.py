"""Rows to read a table by: answers that no model gave, as records of `evaluate_by`."""

import random
from collections import Counter
from collections.abc import Callable, Sequence

from ..errors import check_callable, check_integer, listed, shown
from ..protocol import SEEDS, SHOTS
from ..tasks import Benchmark, Example
from ..tasks.labels import label_of
from .benchmark import Scorer, evaluate_by
from .reading_rule import oracle_accuracy, oracle_answer

__all__ = [
    "by_rule",
    "majority",
    "oracle",
    "oracle_accuracy",
    "oracle_answer",
    "random_guess",
]

DRAWS = 100


def random_guess(
    benchmark: Benchmark, *, draws: int = DRAWS, max_records: int | None = None
) -> dict:
    """Options drawn uniformly.

    Each of ``draws`` stands for a seed, so that ``mean`` estimates what is expected.
    """
    check_integer("draws", draws, 1)

    def scorer(task, draw, queries):
        rng = random.Random(f"{task.name} {draw}")
        return [[rng.random() for _ in query.options] for query in queries]

    return evaluate_by(scorer, benchmark, seeds=range(draws), max_records=max_records)


def by_rule(
    rule: Callable[[Sequence[Example], Example], str], k: int = SHOTS
) -> Scorer:
    """A scorer from a rule: ``k`` demonstrations and a query → the option it names.

    Raises `ValueError` for what cannot be called; the scorer does for an answer that is
    none of the query's options.
    """
    check_callable("rule", rule, "a function of demonstrations and a query")
    k = check_integer("k", k)

    def scorer(task, seed, queries):
        named = [rule(task.few_shot(seed, k), query) for query in queries]
        labels = [list(map(label_of, query.options)) for query in queries]
        for n, (query, answer) in enumerate(zip(queries, named, strict=True)):
            if not isinstance(answer, str) or label_of(answer) not in labels[n]:
                raise ValueError(
                    f"rule: expected one of the options of test example {n}, "
                    f"{listed(query.options)[:200]}, found {shown(answer)}"
                )
        return [
            [float(label != label_of(answer)) for label in options]
            for options, answer in zip(labels, named, strict=True)
        ]

    return scorer


def majority(
    benchmark: Benchmark,
    *,
    seeds: Sequence[int] = SEEDS,
    max_records: int | None = None,
) -> dict:
    """The option that is the answer of most demonstrations.

    Of equals, and where none ever is, the first.
    """

    def most_frequent(demonstrations, query):
        counts = Counter(label_of(example.output) for example in demonstrations)
        return max(query.options, key=lambda option: counts[label_of(option)])

    return evaluate_by(
        by_rule(most_frequent), benchmark, seeds=seeds, max_records=max_records
    )


def oracle(
    benchmark: Benchmark,
    *,
    seeds: Sequence[int] = SEEDS,
    max_records: int | None = None,
) -> dict:
    """What the rule that reads the demonstrations answers (`oracle_answer`)."""
    return evaluate_by(
        by_rule(oracle_answer), benchmark, seeds=seeds, max_records=max_records
    )
