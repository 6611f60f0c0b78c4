"""A rule that reads the demonstrations and nothing else: what they alone can tell.

Naive Bayes on features of MiniCrossFit's texts, learned from one prompt's
demonstrations. A model that scores below it leaves something in them unread.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from ..tasks import Example

SMOOTHING = 0.3
Features = set[tuple]


def oracle_answer(demonstrations: Sequence[Example], query: Example) -> str:
    """The option that the demonstrations speak for; of equals the first."""
    lists = {example.options for example in (*demonstrations, query)}
    rule = _classify if len(lists) == 1 else _choose
    return max(query.options, key=rule(demonstrations, query))


def oracle_accuracy(
    demonstrations: Sequence[Example], queries: Sequence[Example]
) -> float:
    """Share of the queries that it gets right."""
    answers = [oracle_answer(demonstrations, query) for query in queries]
    hits = sum(a == query.output for a, query in zip(answers, queries, strict=True))
    return hits / len(queries)


def features(text: str) -> Features:
    """Words, words by place from either end, neighbours, repeats, and what is new.

    New: in the second of two texts, after ``[SEP]``.
    """
    words = text.split()
    found: Features = {("word", w) for w in words}
    found |= {("place", i, w) for i, w in enumerate(words)}
    found |= {("from the end", len(words) - i, w) for i, w in enumerate(words)}
    found |= {("pair", *pair) for pair in zip(words, words[1:], strict=False)}
    content = Counter(w for w in words if len(w) > 1 and w not in ("the", "[SEP]"))
    found.add(("most often", max(content.values(), default=0)))
    found.add(("repeated", sum(n > 1 for n in content.values())))
    if "[SEP]" in words:
        found |= _second_text(words)
    return found


def _second_text(words: list[str]) -> Features:
    cut = words.index("[SEP]")
    new = [w for w in words[cut + 1 :] if w not in words[:cut]]
    found: Features = {("new", w) for w in new}
    return found | {("number of new", len(new)), ("length", len(words))}


def _classify(demonstrations, query) -> Callable[[str], float]:
    """The score of a label, where all examples have the same options."""
    counts = _count((features(e.input), e.output) for e in demonstrations)
    asked = features(query.input)
    return lambda option: _log_odds(counts, asked, option)


def _choose(demonstrations, query) -> Callable[[str], float]:
    """The score of an option, where every example brings its own."""
    counts = _count(
        (_option_features(e.input, option), option == e.output)
        for e in demonstrations
        for option in e.options
    )

    def score(option: str) -> float:
        asked = _option_features(query.input, option)
        return _log_odds(counts, asked, True) - _log_odds(counts, asked, False)

    return score


def _option_features(text: str, option: str) -> Features:
    words = text.split()
    found: Features = {("word", option)}
    if option not in words:
        return found
    at = words.index(option)
    question = 0
    if "." in words:
        question = len(words) - words[::-1].index(".")  # starts after the last fact
    found |= {("place", at), ("from the end", len(words) - at)}
    if question < len(words):
        found.add(("from the one asked for", at - words.index(words[question])))
    return found


def _count(pairs: Iterable[tuple[Features, object]]) -> dict:
    """How many examples of a class have a feature, and under None how many it has."""
    counts: dict = {}
    for found, label in pairs:
        counts.setdefault(label, Counter()).update([*found, None])
    return counts


def _log_odds(counts: dict, found: Features, label) -> float:
    """log p(label) + Σ log p(feature | label), smoothed, over features seen before."""
    mine = counts.get(label, Counter())
    total = mine[None]
    known = [f for f in found if any(f in other for other in counts.values())]
    parts = [math.log((mine[f] + SMOOTHING) / (total + 2 * SMOOTHING)) for f in known]
    return math.log(total + SMOOTHING) + math.fsum(parts)
