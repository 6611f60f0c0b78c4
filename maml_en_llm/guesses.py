"""Rows to read a table by: answers that no model gave, as scorers for `evaluate_by`."""

import random
from collections import Counter
from collections.abc import Callable, Sequence

from .evaluate import Scorer, evaluate_by
from .records import Example
from .tasks import SEEDS, Benchmark

DRAWS = 100


def random_guess(benchmark: Benchmark, *, draws: int = DRAWS, max_records: int | None = None) -> dict:
    """Options drawn uniformly; each of ``draws`` stands for a seed, so that ``mean`` estimates what is expected."""

    def scorer(task, draw, queries):
        rng = random.Random(f"{task.name} {draw}")
        return [[rng.random() for _ in query.options] for query in queries]

    return evaluate_by(scorer, benchmark, seeds=range(draws), max_records=max_records)


def by_rule(rule: Callable[[Sequence[Example], Example], str], k: int = 16) -> Scorer:
    """A scorer from a rule that names an option, given the demonstrations and a query."""

    def scorer(task, seed, queries):
        named = [rule(task.few_shot(seed, k), query) for query in queries]
        return [[float(option != answer) for option in query.options] for query, answer in zip(queries, named)]

    return scorer


def majority(benchmark: Benchmark, *, seeds: Sequence[int] = SEEDS, max_records: int | None = None) -> dict:
    """The option that is the answer of most demonstrations; of equals, and where none ever is, the first."""

    def most_frequent(demonstrations, query):
        return max(query.options, key=Counter(example.output for example in demonstrations).__getitem__)

    return evaluate_by(by_rule(most_frequent), benchmark, seeds=seeds, max_records=max_records)
