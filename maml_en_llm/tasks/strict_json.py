"""JSON as files of others may hold it: bounded, and each thing said once."""

import json
import re
from typing import Any

from ..errors import DataError, shown

DEEPEST = 32  # brackets inside brackets
LONGEST_NUMBER = 400  # digits
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?')
SURROGATE = re.compile("[\ud800-\udfff]")


class _Refused(Exception):
    """What a value holds that a file of a benchmark must not hold."""


def parse(content: bytes, where: str) -> Any:
    """The value that ``content`` holds, one JSON text in UTF-8.

    Raises:
        DataError: no UTF-8, no JSON, a key that is given twice, half a surrogate pair,
            nesting deeper than `DEEPEST`, a number longer than `LONGEST_NUMBER` digits
            or none at all (NaN, Infinity). Its message begins with ``where``.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        bad = content[error.start : error.end]
        raise DataError(
            f"{where}: expected UTF-8 text, found {shown(bad)} at byte {error.start}; "
            "convert the file"
        ) from error
    try:
        if text.startswith("\ufeff"):
            raise _Refused("a byte-order mark; save the file without it")
        _check_depth(text)
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_number(int),
            parse_float=_number(float),
            parse_constant=_constant,
        )
        if "\\u" in text:  # only an escape can bring half a pair into UTF-8
            _check_strings(value)
    except _Refused as refused:
        raise DataError(f"{where}: expected a JSON object, found {refused}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{where}: expected a JSON object, found {shown(text.strip())} "
            f"({str(error)[:80]})"
        ) from error
    return value


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= DEEPEST:
        return
    depth = 0
    for bracket in re.finditer(r"[\[\]{}]", _STRING.sub("", text)):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > DEEPEST:
            raise _Refused(f"brackets more than {DEEPEST} deep")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Refused(f"the key {shown(twice)} twice; keep one of them")
    return found


def _number(read):
    def bounded(digits: str):
        if len(digits) > LONGEST_NUMBER:
            raise _Refused(f"a number of {len(digits):,} digits")
        return read(digits)

    return bounded


def _constant(name: str):
    raise _Refused(f"{name}, which is no JSON")


def _check_strings(value) -> None:
    if isinstance(value, str):
        half = SURROGATE.search(value)
        if half:
            raise _Refused(
                f"half a surrogate pair (\\u{ord(half[0]):04x}) in {shown(value)}; "
                "remove it"
            )
    elif isinstance(value, dict):
        for name, part in value.items():
            _check_strings(name)
            _check_strings(part)
    elif isinstance(value, list):
        for part in value:
            _check_strings(part)
