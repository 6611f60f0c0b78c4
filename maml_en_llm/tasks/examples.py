"""Examples: one labelled text per line of a JSON-lines file (protocol 1.1)."""

import gzip
import stat
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..errors import DataError, shown
from .labels import check_labels, is_blank
from .strict_json import SURROGATE, parse

LONGEST_LINE = 2**22  # bytes; the longest published line has about 10,000
_FIELDS = ("task", "input", "output", "options")
_GZIP_START = b"\x1f\x8b"
_LFS_START = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class Example:
    """A text, its answer, and the answers to choose from (none in a free-form task).

    `Task.from_dataset` makes examples of rows, `read_examples` those of a file.
    """

    input: str
    output: str
    options: tuple[str, ...] = ()

    def __post_init__(self):
        if isinstance(self.options, list):  # so that it can be hashed and compared
            object.__setattr__(self, "options", tuple(self.options))


class _Line(NamedTuple):
    where: str
    task: str
    example: Example


def read_examples(
    path: str | Path,
    *,
    task: str | None = None,
    others: Collection[str] = (),
    demonstrations: bool = False,
) -> tuple[Example, ...]:
    """Read one JSON-lines file, plain or ``.gz``.

    Args:
        path: the file.
        task: the task that the file belongs to. Files may carry another name inside, as
            renamed copies do, but not one of ``others``.
        others: names of tasks of the same source.
        demonstrations: whether the file holds demonstrations, which may lack answers:
            published ablations show texts alone, with ``"output": ""`` and
            ``"options": [""]``. A text may be empty in every file.

    Raises:
        DataError: names the file and the first bad line.
    """
    if not isinstance(path, (str, Path)) or "\0" in str(path):
        raise DataError(f"path: expected that of a file, found {shown(path)}")
    path = Path(path)
    try:
        with _opened(path) as file:
            lines = _lines(file, path, demonstrations)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path}: expected a complete gzip file, found {error}; fetch it again"
        ) from error
    except OSError as error:
        raise DataError(
            f"{path}: expected a file that can be read, found {error.strerror or error}"
        ) from error
    if not lines:
        raise DataError(
            f"{path}: expected one JSON object per line, found an empty file"
        )
    _check_task(lines, task, others)
    check_labels([(line.where, line.example) for line in lines])
    return tuple(line.example for line in lines)


def _opened(path: Path) -> Any:
    kind = path.stat().st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):  # a pipe may never say a word
        raise DataError(f"{path}: expected a file of examples, found a device or pipe")
    with path.open("rb") as raw:
        start = raw.read(len(_LFS_START))
    if start == _LFS_START:
        raise DataError(
            f"{path}: expected examples, found a git-lfs pointer to them; fetch the "
            "file itself, for instance with `git lfs pull`"
        )
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _lines(file: BinaryIO, path: Path, demonstrations: bool) -> list[_Line]:
    found = []
    while line := file.readline(LONGEST_LINE + 1):
        where = f"{path}:{len(found) + 1}"
        if line.startswith(_GZIP_START):
            raise DataError(
                f"{where}: expected JSON lines, found gzip once more than the file's "
                "name says; end it with .gz, or unpack the file"
            )
        if len(line) > LONGEST_LINE:
            raise DataError(
                f"{where}: expected a line of at most {LONGEST_LINE:,} bytes, found a "
                f"longer one that begins {shown(line[:60])}"
            )
        found.append(_example(line, where, demonstrations))
    return found


def _example(line: bytes, where: str, demonstrations: bool) -> _Line:
    record = parse(line, where)
    if not isinstance(record, dict):
        raise DataError(
            f"{where}: expected a JSON object, found a {type(record).__name__}"
        )
    lacking = [key for key in _FIELDS if key not in record]
    if lacking:
        raise DataError(
            f"{where}: expected keys {', '.join(_FIELDS)}; {', '.join(lacking)} missing"
        )
    task, text, answer, options = (record[key] for key in _FIELDS)
    if not isinstance(task, str) or not task.strip():
        raise DataError(
            f"{where}: expected a non-empty string in 'task', found {shown(task)}"
        )
    check_example(text, answer, options, where, unanswered=demonstrations)
    if answer == "":
        options = []
    return _Line(where, task, Example(text, answer, tuple(options)))


def check_example(
    text, answer, options, where: str, *, unanswered: bool = False
) -> None:
    """Raise `DataError` unless these are the parts of an `Example`.

    The options are a list of two strings or more with the answer among them, or empty.
    ``unanswered`` allows an empty answer, with no options or a single empty one.
    """
    if not isinstance(text, str) or (text and not text.strip()):
        raise DataError(
            f"{where}: expected a text, or an empty string, in 'input', "
            f"found {shown(text)}"
        )
    for part in (text, answer, *(options if isinstance(options, list) else ())):
        if isinstance(part, str) and not part.isascii() and SURROGATE.search(part):
            raise DataError(
                f"{where}: expected whole characters, found half a surrogate pair in "
                f"{shown(part)}; remove it"
            )
    if not isinstance(options, list) or not all(
        isinstance(option, str) for option in options
    ):
        raise DataError(
            f"{where}: expected a list of strings in 'options', found {shown(options)}"
        )
    if unanswered and answer == "" and options in ([], [""]):
        return
    if not isinstance(answer, str) or is_blank(answer):
        raise DataError(
            f"{where}: expected a non-empty string in 'output', found {shown(answer)}"
        )
    for option in options:
        if is_blank(option):
            raise DataError(
                f"{where}: expected non-empty strings in 'options', "
                f"found {shown(option)} among them"
            )
    if len(options) == 1:
        raise DataError(
            f"{where}: expected two options or more to choose from, or none, in "
            f"'options', found {shown(options)}"
        )
    if options and answer not in options:
        raise DataError(
            f"{where}: expected 'output' to be one of {shown(options)}, "
            f"found {shown(answer)}"
        )


def _check_task(lines: list[_Line], task: str | None, others: Collection[str]) -> None:
    """Refuse examples of another task; a renamed copy keeps its old name throughout."""
    if task is None:
        return
    first = lines[0].task
    own = first in others or any(line.task == task for line in lines)
    meant = task if own else first
    for line in lines:
        if line.task != meant:
            raise DataError(
                f"{line.where}: expected an example of task {shown(meant)}, found one "
                f"of {shown(line.task)} in 'task'; keep one task per file"
            )
