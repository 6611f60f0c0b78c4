"""Records: one labelled text a line of a JSON-lines file (protocol section 1.1)."""

import gzip
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError


@dataclass(frozen=True, slots=True)
class Example:
    """One record: a text, its answer, and the answers to choose from (none in a free-form task)."""

    input: str
    output: str
    options: tuple[str, ...] = ()


def read_examples(path: Path) -> tuple[Example, ...]:
    """Read one JSON-lines file (plain or ``.gz``); `DataError` names the file and line of the first bad record."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as lines:
            examples = tuple(
                _parse(line, f"{path}:{n}") for n, line in enumerate(lines, 1)
            )
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path}: expected a complete gzip file, found {error}; fetch it again"
        ) from error
    if not examples:
        raise DataError(f"{path}: expected one JSON object a line, found an empty file")
    return examples


def _parse(line: bytes, where: str) -> Example:
    try:
        text = line.decode()
        record = json.loads(text)
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: expected UTF-8 text, found {error}") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: expected a JSON object, found {text.strip()[:60]!r} ({error})"
        ) from error
    if not isinstance(record, dict):
        raise DataError(
            f"{where}: expected a JSON object, found a {type(record).__name__}"
        )
    lacking = [
        key for key in ("task", "input", "output", "options") if key not in record
    ]
    if lacking:
        raise DataError(
            f"{where}: expected keys task, input, output, options; {', '.join(lacking)} missing"
        )
    text, answer, options = record["input"], record["output"], record["options"]
    for key in ("input", "output"):
        if not isinstance(record[key], str) or not record[key].strip():
            raise DataError(
                f"{where}: expected a non-empty string in {key!r}, found {record[key]!r}"
            )
    if not isinstance(options, list) or not all(
        isinstance(option, str) for option in options
    ):
        raise DataError(
            f"{where}: expected a list of strings in 'options', found {options!r}"
        )
    if options and answer not in options:
        raise DataError(
            f"{where}: expected 'output' to be one of {options}, found {answer!r}"
        )
    return Example(text, answer, tuple(options))
