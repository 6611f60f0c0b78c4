"""The code that decides a record, as twelve hexadecimal digits.

Comments, docstrings and blank lines decide nothing and are left out, and so are the
rooms above a record: figures, the command line, and of this room all but the run.
"""

import io
import json
import tokenize
from functools import cache
from pathlib import Path

from ..errors import DataError, shown
from ..sources import KIND, SOURCES, code_hash, digest
from .record_files import record_file

ABOVE = (
    *("plots", "__main__.py", "assessment.py", "reproduction.py", "options.py"),
    "bar.py",
    *("endings.py", "runs"),
)
DECISIVE = ("runs/run.py", "runs/rows.py", "runs/trained.py", "runs/adapted.py")
SAME_CODE = "same_code"  # the record of benchmarks/same_code.py
_BREAKS = (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT)


@cache
def code_below() -> str:
    """A hash of the code that a record is computed by, as it was when imported.

    Without source files it is that of all code, see `code_hash`.
    """
    if KIND:
        return code_hash()
    parts: list[str | bytes] = []
    for name, content in SOURCES.items():
        if name in DECISIVE or name.split("/")[0] not in ABOVE:
            parts += [name, bare(content.decode().replace("\r\n", "\n"))]
    return digest(*parts)


def codes_alike(code: str, changes: list[dict] | None = None) -> set[str]:
    """``code``, and all codes that give the same records to the bit.

    ``changes``: pairs of codes, "before" and "after", as `SAME_CODE` has them. Each was
    written down when records of the one had been computed again by the other; what two
    codes have in common with a third they have in common with each other.
    """
    changes = _changes() if changes is None else changes
    alike, before = {code}, set()
    while alike != before:
        before = set(alike)
        for change in changes:
            pair = {change["before"], change["after"]}
            if alike & pair:
                alike |= pair
    return alike


@cache
def _changes() -> list[dict]:
    try:
        path = record_file(SAME_CODE)
    except (ValueError, FileNotFoundError):  # no change was shown to be one
        return []
    return read_changes(path)


def read_changes(path: Path) -> list[dict]:
    """The changes that a file holds, the oldest first. Raises `DataError`."""
    try:
        changes = json.loads(path.read_bytes())["changes"]
        if all(isinstance(x[n], str) for x in changes for n in ("before", "after")):
            return changes
        found = changes
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        found = error
    raise DataError(
        f"{path}: expected changes of code from one hash to another, found "
        f"{shown(found)}; take the file of the repository"
    )


def bare(source: str) -> str:
    """Python source without comments, docstrings, blank lines and trailing spaces."""
    lines = source.splitlines()
    before = tokenize.NEWLINE
    depth = 0  # of brackets: inside them a string is no docstring
    cut = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.OP:
            depth += (token.string in "([{") - (token.string in ")]}")
        alone = token.type == tokenize.STRING and before in _BREAKS and depth == 0
        if token.type == tokenize.COMMENT or (alone and _ends(lines, token)):
            cut.append(token)
        if token.type != tokenize.COMMENT:
            before = token.type
    for token in reversed(cut):
        (first, left), (last, right) = token.start, token.end
        kept = lines[first - 1][:left] + lines[last - 1][right:]
        lines[first - 1 : last] = [kept]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _ends(lines: list[str], token: tokenize.TokenInfo) -> bool:
    """Whether a string has its lines to itself, but for a comment: a docstring."""
    rest = lines[token.end[0] - 1][token.end[1] :].strip()
    starts = not lines[token.start[0] - 1][: token.start[1]].strip()
    return starts and (not rest or rest.startswith("#"))
