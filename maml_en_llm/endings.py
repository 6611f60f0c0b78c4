"""How a command ends: with what it wrote, or with one line and an exit status."""

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from .errors import shown
from .signals import BY_SIGNAL, code_of

# in errors of torch, which are `RuntimeError`s
NO_MEMORY = ("allocate memory", "not enough memory", "size calculation overflowed")
LONGEST_MESSAGE = 480  # characters of a message
FLAGS = "flags"  # attribute of an error that came while a command's options were known
# left as they are: what was found, and calls of Python
_KEPT = r"""(?<!\w)'[^']*'|(?<!\w)"[^"]*"|\w\((?:[^()]|\([^()]*\))*\)"""
_VALUE = r"""'[^']*'|"[^"]*"|\w+(?:[.+-]\w+)*|…"""
# before and after a name that is no part of a path, a call or another option
_BEFORE, _AFTER = r"(?<![\w/.=-])", r"(?![\w/.=(\[-])"


def run_command(name: str, command: Callable[[], None], stopped: str) -> None:
    """Do ``command()``; whatever the user got wrong is said in one line.

    ``stopped`` is said where Ctrl-C or SIGTERM came and the command said nothing.
    """
    try:
        command()
        if sys.stdout is not None:
            with _named("standard output"):
                sys.stdout.flush()  # a full disk or a reader that has gone shows here
    except KeyboardInterrupt as error:
        end(code_of(error), f"{name}: {str(error) or stopped}")
    except BrokenPipeError:
        _close_output()
        sys.exit(BY_SIGNAL + signal.SIGPIPE)
    except Exception as error:
        if not is_the_users(error):
            raise
        end(1, f"{name}: {in_one_line(error)}")


def is_the_users(error: Exception) -> bool:
    """Whether the message helps; anything else is a fault of this package."""
    if isinstance(error, ImportError):
        return not (error.name or "").startswith(__package__ or "maml_en_llm")
    if isinstance(error, RuntimeError) and any(w in str(error) for w in NO_MEMORY):
        return True
    kinds = (ValueError, OSError, ArithmeticError, MemoryError)
    return isinstance(error, kinds) or type(error).__name__ in (
        "OutOfMemoryError",
        "RankLost",
        "SafetensorError",
    )


def in_one_line(error: Exception) -> str:
    """What an error says, with its notes, in at most `LONGEST_MESSAGE` characters."""
    text = str(error) or type(error).__name__
    if text == "MemoryError":
        text = "not enough memory for what was asked; ask for less at once"
    if isinstance(error, OSError) and error.filename and error.strerror:
        text = f"{shown(str(error.filename))}: {error.strerror}"
    text = "; ".join([text, *getattr(error, "__notes__", [])])
    return shortened(as_options(text, getattr(error, FLAGS, {})))


def as_options(text: str, flags: Mapping[str, str]) -> str:
    """A message with options as a command line has them: ``steps=3`` as ``--steps 3``.

    ``flags``: name → option. A name is one where it has a value, where it begins the
    message, or has an underscore. What is quoted, or an argument of a call, stays.
    """
    if not flags:
        return text
    every = "|".join(flags)
    long = "|".join(name for name in flags if "_" in name) or "(?!)"
    parts = (
        _KEPT,
        rf"{_BEFORE}(?P<name>{every})=(?P<value>{_VALUE})",
        rf"(?P<first>^(?:{every})(?=: )|{_BEFORE}(?:{long}){_AFTER})",
    )

    def spelled(found: re.Match) -> str:
        name, value, first = found.group("name", "value", "first")
        if first is not None:
            return flags[first]
        return found[0] if name is None else _given(flags[name], value)

    return re.sub("|".join(parts), spelled, text)


def _given(flag: str, value: str) -> str:
    """An option with a value that Python would write so."""
    if value in ("True", "None"):
        return flag if value == "True" else f"no {flag}"
    if value == "False":
        return f"--no-{flag.removeprefix('--')}"
    return f"{flag} {value.strip(chr(34) + chr(39))}"


def shortened(text: str) -> str:
    """One line of at most `LONGEST_MESSAGE` characters.

    It is cut in its middle, since the cure comes last.
    """
    text = " ".join(text.split())
    if len(text) <= LONGEST_MESSAGE:
        return text
    part = LONGEST_MESSAGE // 2 - 2
    return f"{text[:part]} … {text[-part:]}"


def end(code: int, message: str) -> None:
    """Say a message on stderr and exit."""
    with suppress(OSError):
        print(shortened(message), file=sys.stderr)
    _close_output()
    sys.exit(code)


@contextmanager
def _named(stream: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            error.filename = stream
        raise


def _close_output() -> None:
    """Give up what could not be written, so that Python does not try again at exit."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def speak_anywhere() -> None:
    """Print what the terminal's encoding lacks as escapes, not as an error."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
