"""Rows to read a table by: answers that no model gave, as scorers for `evaluate_by`; and a rule that reads the demonstrations and nothing else."""

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence

from ..protocol import SEEDS
from ..tasks.benchmark import Benchmark
from ..tasks.examples import Example
from .benchmark import Scorer, evaluate_by

DRAWS = 100


def random_guess(
    benchmark: Benchmark, *, draws: int = DRAWS, max_records: int | None = None
) -> dict:
    """Options drawn uniformly; each of ``draws`` stands for a seed, so that ``mean`` estimates what is expected."""

    def scorer(task, draw, queries):
        rng = random.Random(f"{task.name} {draw}")
        return [[rng.random() for _ in query.options] for query in queries]

    return evaluate_by(scorer, benchmark, seeds=range(draws), max_records=max_records)


def by_rule(rule: Callable[[Sequence[Example], Example], str], k: int = 16) -> Scorer:
    """A scorer from a rule that names an option, given the demonstrations and a query."""

    def scorer(task, seed, queries):
        named = [rule(task.few_shot(seed, k), query) for query in queries]
        return [
            [float(option != answer) for option in query.options]
            for query, answer in zip(queries, named)
        ]

    return scorer


def majority(
    benchmark: Benchmark,
    *,
    seeds: Sequence[int] = SEEDS,
    max_records: int | None = None,
) -> dict:
    """The option that is the answer of most demonstrations; of equals, and where none ever is, the first."""

    def most_frequent(demonstrations, query):
        return max(
            query.options,
            key=Counter(example.output for example in demonstrations).__getitem__,
        )

    return evaluate_by(
        by_rule(most_frequent), benchmark, seeds=seeds, max_records=max_records
    )


SMOOTHING = 0.3


def oracle_answer(demonstrations: Sequence[Example], query: Example) -> str:
    """The option of ``query`` that its demonstrations speak for; of equals the first."""
    fixed = len({example.options for example in (*demonstrations, query)}) == 1
    score = (
        _classify(demonstrations, query) if fixed else _choose(demonstrations, query)
    )
    return max(query.options, key=score)


def oracle_accuracy(
    demonstrations: Sequence[Example], queries: Sequence[Example]
) -> float:
    """Share of the queries that it gets right."""
    return sum(
        oracle_answer(demonstrations, query) == query.output for query in queries
    ) / len(queries)


def _classify(demonstrations, query):
    counts = _count(
        (features(example.input), example.output) for example in demonstrations
    )
    return lambda option: _log_odds(counts, features(query.input), option)


def _choose(demonstrations, query):
    pairs = (
        (_option_features(e.input, option), option == e.output)
        for e in demonstrations
        for option in e.options
    )
    counts = _count(pairs)
    return lambda option: sum(
        sign * _log_odds(counts, _option_features(query.input, option), right)
        for sign, right in ((1, True), (-1, False))
    )


def features(text: str) -> set[tuple]:
    """Words, words by place from either end, neighbours, how often words repeat, and what is new after ``[SEP]``."""
    words = text.split()
    found = {("word", w) for w in words} | {
        ("place", i, w) for i, w in enumerate(words)
    }
    found |= {("from the end", len(words) - i, w) for i, w in enumerate(words)} | {
        ("pair", *p) for p in zip(words, words[1:])
    }
    content = Counter(w for w in words if len(w) > 1 and w not in ("the", "[SEP]"))
    found |= {
        ("most often", max(content.values())),
        ("repeated", sum(n > 1 for n in content.values())),
    }
    if "[SEP]" in words:
        cut = words.index("[SEP]")
        new = [w for w in words[cut + 1 :] if w not in words[:cut]]
        found |= {("new", w) for w in new} | {
            ("number of new", len(new)),
            ("length", len(words)),
        }
    return found


def _option_features(text: str, option: str) -> set[tuple]:
    words = text.split()
    at = words.index(option)
    found = {("word", option), ("place", at), ("from the end", len(words) - at)}
    question = (
        len(words) - words[::-1].index(".") if "." in words else 0
    )  # starts after the last fact
    return found | {("from the one asked for", at - words.index(words[question]))}


def _count(pairs) -> dict:
    """How many examples of a class have a feature, and how many there are."""
    counts: dict = {}
    for found, label in pairs:
        counts.setdefault(label, Counter()).update([*found, None])
    return counts


def _log_odds(counts, found, label) -> float:
    """log p(label) + Σ log p(feature | label), smoothed, over the features seen in the demonstrations."""
    mine = counts.get(label, Counter())
    total = mine[None]
    known = [f for f in found if any(f in other for other in counts.values())]
    return math.log(total + SMOOTHING) + math.fsum(
        math.log((mine[f] + SMOOTHING) / (total + 2 * SMOOTHING)) for f in known
    )
