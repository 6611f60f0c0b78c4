"""What an interval says, in words: the sentences of chapters are made here."""

import math
import re

from ..errors import check_number, shown
from .statistics import Interval

NO_RECORDS = "no records yet"
SPELT = {
    word.lower(): word for word in ("HR", "LR", "QA", "NLI", "Class", "Paraphrase")
}


def setting_in_words(setting: str) -> str:
    """A setting as the text has it: non_qa_to_qa as "non-QA→QA"."""
    words = setting.replace("_to_", "→").replace("non_", "non-").replace("_", " ")
    return re.sub(r"[a-z]+", lambda word: SPELT.get(word[0], word[0]), words)


def sentence(interval: Interval | None, paper: float | None = None) -> str:
    """A difference, what it is over, and whether it is decided.

    Args:
        interval: in points; ``None``: there are no records of it.
        paper: what the paper reports, in points; said to be in the interval or not.

    For example "+2.1 ± 1.5 points over 5 training seeds: beyond noise". A difference of
    models that were not trained is over targets. Where nothing is known of other seeds
    or targets there is no interval, and the words say so.

    Raises `ValueError` for another thing than an interval, or what is no number.
    """
    if paper is not None:
        paper = check_number("paper", paper, -math.inf)
    _check(interval)
    if interval is None:
        return NO_RECORDS
    if interval.half == float("inf"):
        only = "training seed" if interval.n_seeds == 1 else "family of targets"
        return f"{interval.mean:+.1f} points, one {only} and no interval"
    many = f"{interval.n_seeds} training seeds"
    if interval.n_seeds == 1:
        many = f"{interval.n_targets} targets"
    decided = "beyond noise" if interval.decided else "not decided"
    words = f"{interval} points over {many}: {decided}"
    if paper is None:
        return words
    inside = interval.low <= paper <= interval.high
    return f"{words}; {paper:+g} is {'in' if inside else 'outside'} the interval"


def in_brief(interval: Interval | None) -> str:
    """A difference for a table or a list: "+0.7 ± 1.2 (not decided)"."""
    _check(interval)
    if interval is None:
        return NO_RECORDS
    if interval.half == float("inf"):
        return f"{interval.mean:+.1f} (no interval)"
    return f"{interval}" + ("" if interval.decided else " (not decided)")


def _check(interval) -> None:
    if interval is not None and not isinstance(interval, Interval):
        raise ValueError(
            f"interval: expected an Interval (paired_difference) or None, found "
            f"{shown(interval)}"
        )
