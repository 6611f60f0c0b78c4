"""A rule that reads the demonstrations and nothing else: naive Bayes over what can be seen in a text.

It knows no language. What it scores above chance must come from the 16 demonstrations, so it says how much of a task is in
them; a language model that reads its prompt well should come near it.
"""

import math
from collections import Counter
from collections.abc import Sequence

from .records import Example

SMOOTHING = 0.3


def predict(demonstrations: Sequence[Example], query: Example) -> str:
    """The option of ``query`` that its demonstrations speak for; of equals the first."""
    fixed = len({example.options for example in (*demonstrations, query)}) == 1
    score = _classify(demonstrations, query) if fixed else _choose(demonstrations, query)
    return max(query.options, key=score)


def accuracy(demonstrations: Sequence[Example], queries: Sequence[Example]) -> float:
    """Share of the queries that it gets right."""
    return sum(predict(demonstrations, query) == query.output for query in queries) / len(queries)


def _classify(demonstrations, query):
    counts = _count((features(example.input), example.output) for example in demonstrations)
    return lambda option: _log_odds(counts, features(query.input), option)


def _choose(demonstrations, query):
    pairs = ((_option_features(e.input, option), option == e.output) for e in demonstrations for option in e.options)
    counts = _count(pairs)
    return lambda option: sum(sign * _log_odds(counts, _option_features(query.input, option), right)
                              for sign, right in ((1, True), (-1, False)))


def features(text: str) -> set[tuple]:
    """Words, words by place from either end, neighbours, how often words repeat, and what is new after ``[SEP]``."""
    words = text.split()
    found = {("word", w) for w in words} | {("place", i, w) for i, w in enumerate(words)}
    found |= {("from the end", len(words) - i, w) for i, w in enumerate(words)} | {("pair", *p) for p in zip(words, words[1:])}
    content = Counter(w for w in words if len(w) > 1 and w not in ("the", "[SEP]"))
    found |= {("most often", max(content.values())), ("repeated", sum(n > 1 for n in content.values()))}
    if "[SEP]" in words:
        cut = words.index("[SEP]")
        new = [w for w in words[cut + 1 :] if w not in words[:cut]]
        found |= {("new", w) for w in new} | {("number of new", len(new)), ("length", len(words))}
    return found


def _option_features(text: str, option: str) -> set[tuple]:
    words = text.split()
    at = words.index(option)
    found = {("word", option), ("place", at), ("from the end", len(words) - at)}
    question = len(words) - words[::-1].index(".") if "." in words else 0  # starts after the last fact
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
    return math.log(total + SMOOTHING) + math.fsum(math.log((mine[f] + SMOOTHING) / (total + 2 * SMOOTHING)) for f in known)
