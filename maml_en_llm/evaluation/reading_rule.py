"""A rule that reads the demonstrations and nothing else: what they alone can tell.

It asks of every view of a text (the word at a place, the word of a kind, how often a
word stands there, whether two words are the same or opposite, …) how well it explains
the answers of one prompt's demonstrations, and lets the views vote by that evidence:

    p(answer | query) = Σ_v w_v p(answer | what v sees),  w_v ∝ p(answers | v)

with p(answers | v) of the Dirichlet-multinomial model: what v sees decides, anew for
each thing seen, how the answers are distributed. No view knows a task or its family.
A model that scores below the rule leaves something in the demonstrations unread.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from ..errors import shown
from ..minicrossfit import lexicon
from ..prompts.form import check_is_example
from ..tasks import Example
from .arguments import checked_examples

PRIOR = 0.1  # pseudo-count of an answer: small, as what decides mostly decides always
Views = dict[tuple, object]  # what is seen, by view


def oracle_answer(demonstrations: Sequence[Example], query: Example) -> str:
    """The option that the demonstrations speak for; of equals the first.

    Raises `ValueError` for a query without options, and for what is no example.
    """
    demonstrations = checked_examples("demonstrations", demonstrations)
    check_is_example(query, "query")
    if not query.options:
        raise ValueError(
            f"query: expected options to choose from, found none: {shown(query.input)}"
        )
    lists = {example.options for example in (*demonstrations, query)}
    rule = _classify if len(lists) == 1 else _choose
    return max(query.options, key=rule(demonstrations, query))


def oracle_accuracy(
    demonstrations: Sequence[Example], queries: Sequence[Example]
) -> float:
    """Share of the queries that it gets right; `ValueError` where there is none."""
    queries = checked_examples("queries", queries)
    if not queries:
        raise ValueError("queries: expected at least one example, found none")
    answers = [oracle_answer(demonstrations, query) for query in queries]
    hits = sum(a == query.output for a, query in zip(answers, queries, strict=True))
    return hits / len(queries)


@lru_cache(maxsize=2**14)
def views(text: str) -> Views:
    """What every view sees in a text; a view that sees nothing is left out."""
    words = text.split()
    seen: Views = {("place", i): word for i, word in enumerate(words)}
    seen |= {("from the end", i): word for i, word in enumerate(reversed(words))}
    counts = Counter(words)
    seen |= {("how often", word): min(n, 4) for word, n in counts.items()}
    seen["most often",] = max(counts.values(), default=0)
    for word in words:
        for kind, group in _KINDS.get(word, ()):
            # of two words of a kind the first, and the second, are views of their own
            nth = sum(key[:2] == ("kind", kind) for key in seen)
            seen["kind", kind, nth] = word
            seen["group", kind, nth] = group
    return seen | _relations(words)


def _relations(words: list[str]) -> Views:
    """How every word is related to those before it, and how neighbours are related."""
    seen: Views = {}
    for i, word in enumerate(words):
        relation = _relation(word, words[:i])
        seen["relation", "place", i] = relation
        seen["relation", "from the end", len(words) - i] = relation
    pairs = zip(words, words[1:], strict=False)
    seen["neighbours",] = tuple(sorted({_relation(b, [a]) for a, b in pairs}))
    return seen


def _relation(word: str, earlier: list[str]) -> str:
    if word in earlier:
        return "same"
    return "opposite" if lexicon.OPPOSITES.get(word) in earlier else "new"


def _lexical_kinds() -> dict[str, list[tuple[str, int]]]:
    """Of every word: the kinds it belongs to, each with its group of that kind."""
    kinds = {
        "name": [lexicon.NAMES],
        "place": [lexicon.PLACES],
        "verb": [lexicon.VERBS],
        "adverb": [lexicon.ADVERBS],
        "colour": [lexicon.COLOURS],
        "state": [lexicon.STATES],
        "size": lexicon.SIZES,
        "mood": lexicon.MOODS,
        "noun": [group for d in lexicon.DOMAINS.values() for group in d.groups],
    }
    found: dict[str, list[tuple[str, int]]] = {}
    for kind, groups in kinds.items():
        for number, group in enumerate(groups):
            for word in group:
                found.setdefault(word, []).append((kind, number))
    return found


_KINDS = _lexical_kinds()


def _classify(
    demonstrations: tuple[Example, ...], query: Example
) -> Callable[[str], float]:
    """The score of a label, where all examples have the same options."""
    learned = _learned_labels(demonstrations)
    labels = query.options
    votes = dict.fromkeys(labels, 0.0)
    seen = views(query.input)
    for view, (weight, counts) in learned.items():
        if view not in seen:
            continue
        found = counts.get(seen[view], Counter())
        total = sum(found.values()) + PRIOR * len(labels)
        for label in votes:
            votes[label] += weight * (found[label] + PRIOR) / total
    return votes.__getitem__


@lru_cache(maxsize=256)
def _learned_labels(demonstrations: tuple[Example, ...]) -> dict:
    """Of every view: its weight, and how often each label went with what it saw."""
    labels = {label for example in demonstrations for label in example.options}
    tables = _tables((views(e.input), e.output) for e in demonstrations)
    return _weighted(tables, len(labels))


def _choose(
    demonstrations: tuple[Example, ...], query: Example
) -> Callable[[str], float]:
    """The score of an option, where every example brings its own."""
    learned = _learned_options(demonstrations)
    seen = {option: option_views(query.input, option) for option in query.options}
    votes = dict.fromkeys(query.options, 0.0)
    for view, (weight, counts) in learned.items():
        odds = {}
        for option in votes:
            found = counts.get(seen[option].get(view), Counter())
            odds[option] = (found[True] + PRIOR) / (found[False] + PRIOR)
        for option in votes:
            votes[option] += weight * odds[option] / sum(odds.values())
    return votes.__getitem__


@lru_cache(maxsize=256)
def _learned_options(demonstrations: tuple[Example, ...]) -> dict:
    """Of every view: its weight, and how often what it saw was the answer, or not."""
    pairs = [
        (option_views(e.input, option), option == e.output)
        for e in demonstrations
        for option in e.options
    ]
    return _weighted(_tables(pairs), 2)


@lru_cache(maxsize=2**14)
def option_views(text: str, option: str) -> Views:
    """What every view sees of an option: its word, its kind, where it stands."""
    words = text.split()
    seen: Views = {("word",): option}
    for kind, group in _KINDS.get(option, ()):
        seen |= {("kind",): kind, ("group",): (kind, group)}
    seen["first word",] = tuple(option.split()[:1])
    if option not in words:
        return seen
    at = words.index(option)
    seen |= {("place",): at, ("from the end",): len(words) - at}
    seen["after",] = tuple(words[at - 1 : at])
    seen["before",] = tuple(words[at + 1 : at + 2])
    question = 0
    if "." in words:
        question = len(words) - words[::-1].index(".")  # starts after the last fact
    if question < len(words):
        seen["from the one asked for",] = at - words.index(words[question])
    return seen


def _tables(pairs: Iterable[tuple[Views, object]]) -> dict:
    """view → what it saw → how often each answer went with it."""
    tables: dict = {}
    for seen, answer in pairs:
        for view, value in seen.items():
            counts = tables.setdefault(view, {}).setdefault(value, Counter())
            counts[answer] += 1
    return tables


def _weighted(tables: dict, answers: int) -> dict:
    """Each view's table with its share of the evidence.

    Examples in which a view sees nothing count for it as one more thing seen.
    """
    everything = max((_size(table) for table in tables.values()), default=0)
    evidence = {
        view: math.fsum(
            [_evidence(counts, answers) for counts in table.values()]
            + [(_size(table) - everything) * math.log(answers)]
        )
        for view, table in tables.items()
    }
    best = max(evidence.values(), default=0.0)
    return {
        view: (math.exp(evidence[view] - best), table) for view, table in tables.items()
    }


def _size(table: dict) -> int:
    return sum(sum(counts.values()) for counts in table.values())


def _evidence(counts: Counter, answers: int) -> float:
    """log p(the answers that went with one thing seen)."""
    total = sum(counts.values())
    found = math.lgamma(PRIOR * answers) - math.lgamma(PRIOR * answers + total)
    each = (math.lgamma(PRIOR + n) - math.lgamma(PRIOR) for n in counts.values())
    return found + math.fsum(each)
