"""Errors that say where, what was expected, what was found, and the cure."""

import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from difflib import get_close_matches
from itertools import accumulate
from numbers import Integral, Real
from pathlib import Path
from typing import Any

SHOWN = 80  # characters of a value in a message
LISTED = 12  # names in a message
ROOM = 3 * (SHOWN + 2)  # characters of all names that are listed: three fit anyway
# Of a rate or a bound of a norm: float32 ends at 3e38, and a derivative multiplies a
# rate by up to some thousands.
LARGEST_RATE = 1e34


class DataError(ValueError):
    """A benchmark that cannot be used as asked.

    The message names the file and line, or the argument.
    """


def check_choice(
    argument: str,
    value,
    known: Collection[str],
    error: type[ValueError] = ValueError,
    note: str = "",
) -> None:
    """Raise ``error`` unless ``value`` is one of ``known``, naming the nearest.

    ``note`` ends the message.
    """
    # of its type first: others may have no one answer to ==
    if not any(isinstance(value, type(each)) and value == each for each in known):
        raise error(
            f"{argument}: expected one of {listed(known)}, found {shown(value)}"
            f"{nearest(value, known)}{note}"
        )


def check_truth(
    argument: str,
    value,
    error: type[ValueError] = ValueError,
    *,
    or_none: bool = False,
) -> Any:
    """``value``; ``error`` for all but True and False, or None where that may be."""
    if not isinstance(value, bool) and not (or_none and value is None):
        more = ", or None" if or_none else ""
        raise error(f"{argument}: expected True or False{more}, found {shown(value)}")
    return value


def check_integer(argument: str, value, least: int = 0, most: int | None = None) -> int:
    """``value`` as an ``int`` of at least ``least``; `ValueError` for anything else.

    Whole numbers of other libraries pass, truth values and strings do not.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    number = int(value) if whole else least - 1
    if number < least or (most is not None and number > most):
        upper = "" if most is None else f" and at most {most}"
        raise ValueError(
            f"{argument}: expected a whole number of at least {least}{upper}, "
            f"found {shown(value)}"
        )
    return number


def check_number(
    argument: str,
    value,
    least: float = 0.0,
    most: float = math.inf,
    *,
    above: bool = False,
    below: bool = False,
) -> float:
    """``value`` as a finite ``float`` from ``least`` to ``most``.

    With ``above`` it has to be more than ``least``, with ``below`` less than ``most``.
    `ValueError` for anything else: text, truth values, infinities, not-a-number.
    """
    number = _as_float(value)
    fits = math.isfinite(number)
    fits = fits and (number > least if above else number >= least)
    fits = fits and (number < most if below else number <= most)
    if not fits:
        low = f"{'more than' if above else 'at least'} {least:g}"
        high = f"{'less than' if below else 'at most'} {most:g}"
        bounds = [
            words
            for words, bound in ((low, least), (high, most))
            if math.isfinite(bound)
        ]
        raise ValueError(
            f"{argument}: expected a finite number{', ' if bounds else ''}"
            f"{' and '.join(bounds)}, found {shown(value)}"
        )
    return number


def check_rate(argument: str, value, *, above: bool = False) -> float:
    """``value`` as a ``float`` from 0, or with ``above`` beyond, to `LARGEST_RATE`."""
    return check_number(argument, value, most=LARGEST_RATE, above=above)


def check_callable(argument: str, value, what: str = "a function") -> None:
    """Raise `ValueError` unless ``value`` can be called."""
    if not callable(value):
        raise ValueError(f"{argument}: expected {what}, found {shown(value)}")


def check_path(path: str | Path, argument: str = "output") -> Path:
    """``path`` as a `Path`; `ValueError` for one that some library cannot write.

    A shell leaves the ``~`` of ``--output=~/runs`` as it is; it is refused, so that no
    folder named ``~`` is made.
    """
    text = str(path)
    fits = isinstance(path, (str, Path)) and text.strip() and "\0" not in text
    if not fits or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError(
            f"{argument}: expected a path in UTF-8, found {shown(path)}; name another"
        )
    if text.startswith("~"):
        whole = os.path.expanduser(text)
        cure = os.path.join(os.curdir, text) if whole == text else whole
        raise ValueError(
            f"{argument}: expected a path without '~', found {shown(text)}; write "
            f"{shown(cure)}"
        )
    return Path(path)


def check_once(argument: str, values: Iterable, what: str = "") -> None:
    """Raise `DataError` for values, such as the "name" of tasks, that stand twice."""
    doubled = sorted(value for value, n in Counter(values).items() if n > 1)
    if doubled:
        raise DataError(
            f"{argument}: expected each {what}{' ' if what else ''}once, found "
            f"{listed(doubled)} more than once"
        )


def nearest(value, known: Iterable[str]) -> str:
    """The end of a message: ``; nearest: …``, or nothing where nothing is near."""
    names = [str(name) for name in known]
    asked = value[:SHOWN] if isinstance(value, str) else shown(value)
    close = get_close_matches(asked, names, n=3)
    return f"; nearest: {', '.join(_fitting(close, ROOM // 2))}" if close else ""


def shown(value) -> str:
    """``value`` as Python writes it, cut to `SHOWN` characters."""
    if isinstance(value, (str, bytes)):
        text = repr(value[: SHOWN + 1])
    else:
        try:
            text = repr(value)
        except Exception:  # a message must not fail over what it is about
            text = f"a {type(value).__name__}"
    return text if len(text) <= SHOWN + 2 else f"{text[:SHOWN]}…"


def or_none(check: Callable) -> Callable:
    """The same check, of a value that may be None, too."""
    return lambda name, value: None if value is None else check(name, value)


def listed(names: Iterable, room: int = ROOM) -> str:
    """Names joined by commas, and how many more.

    The first `LISTED` of them, or as many of these as ``room`` characters hold.
    """
    names = [n if isinstance(n, str) else shown(n) for n in names]
    first = _fitting(names[:LISTED], room)
    more = f", … and {len(names) - len(first)} more" if names[len(first) :] else ""
    return ", ".join(first) + more


def _fitting(names: Sequence[str], room: int) -> list[str]:
    """The first of ``names`` that fit into ``room``; each is cut to `SHOWN`."""
    cut = [name[:SHOWN] for name in names]
    ends = accumulate(len(name) + 2 for name in cut)
    return cut[: sum(end - 2 <= room for end in ends)]


def _as_float(value) -> float:
    """Not-a-number for what is no real number."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return math.inf
