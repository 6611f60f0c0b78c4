"""Errors that say what was expected, what was found, and what comes nearest to it."""

from collections.abc import Iterable
from difflib import get_close_matches


class DataError(ValueError):
    """A benchmark that cannot be used as asked; the message names the file and line, or the argument."""


def check_choice(
    argument: str, value, known: Iterable[str], error: type[ValueError] = ValueError
) -> None:
    """Raise ``error`` unless ``value`` is one of ``known``, naming the argument and the nearest known values."""
    known = list(known)
    if value not in known:
        raise error(
            f"{argument}: expected one of {', '.join(known)}, found {value!r}{nearest(value, known)}"
        )


def nearest(value, known: Iterable[str]) -> str:
    """The end of an error message: ``; nearest: …``, or nothing where nothing is near."""
    close = get_close_matches(str(value), list(known), n=3)
    return f"; nearest: {', '.join(close)}" if close else ""
