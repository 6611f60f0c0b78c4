"""The code of this package as it was when it was imported.

A run may outlast a change of its files, such as a `git pull`. What is hashed is read
here, before any of it has run.
"""

import hashlib
import os
from contextlib import suppress
from functools import cache

DIGITS = 12  # hexadecimal digits of a hash in a record

_ROOT = os.path.dirname(os.path.abspath(__file__))


def _read(ending: str) -> dict[str, bytes]:
    """Contents of files by their names below the package, folder by folder."""
    found = {}
    for folder, _, names in os.walk(_ROOT):
        for name in names:
            if not name.endswith(ending):
                continue
            path = os.path.join(folder, name)
            with suppress(OSError), open(path, "rb") as file:
                found[os.path.relpath(path, _ROOT).replace(os.sep, "/")] = file.read()
    return {name: found[name] for name in sorted(found, key=lambda n: n.split("/"))}


_SOURCE = _read(".py")
SOURCES = _SOURCE or _read(".pyc")  # contents by name; none of a package in an archive

# what a hash of the code begins with, where it is not that of source files
if _SOURCE:
    KIND = ""
elif SOURCES:
    KIND = "bytecode-"
else:
    KIND = "unknown"


@cache
def code_hash() -> str:
    """A hash of every source file of this package, as they were when it was imported.

    One of bytecode alone, or of no files at all, says so in words.
    """
    parts = [part for file in SOURCES.items() for part in file]
    return f"{KIND}{digest(*parts)}" if SOURCES else KIND


def digest(*parts: bytes | str) -> str:
    """The first `DIGITS` hexadecimal digits of SHA-256 over the parts in order."""
    found = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        found.update(len(content).to_bytes(8, "big") + content)
    return found.hexdigest()[:DIGITS]
