"""Options of the command line, made from the fields of a dataclass or a function."""

import argparse
import inspect
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import MISSING, fields
from functools import partial
from itertools import islice
from types import NoneType, UnionType
from typing import get_args, get_origin, get_type_hints

from .endings import FLAGS, end
from .errors import SHOWN, nearest, shown

PROGRAM = "python -m maml_en_llm"
# what an error calls a place, and the option that names it
_PLACES = {"model": "model", "tokenizer": "tokenizer", "source": "benchmark"}
# the same of other arguments, where no option is called so itself
_SAID_AS = _PLACES | {"seeds": "demonstration_seeds", "steps": "adaptation_steps"}
_NO_FOLDERS = ("minicrossfit",)  # that are no folder
_MOST_BESIDE = 1000  # names that are looked at
# a comment above a field, the field, a comment beside it
COMMENT = re.compile(
    r"^(?:    # (.*)\n)?    (\w+): [^#\n]*?(?:#\s*(.*))?$", re.MULTILINE
)

# numbers that begin with a dash and are no options; `argparse` knows no 1e-3
NEGATIVE = re.compile(r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$|-inf$|-nan$", re.IGNORECASE)


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are one line, and that takes each option once."""

    def __init__(self, name: str, about: str | None):
        super().__init__(
            prog=f"{PROGRAM} {name}", description=about, allow_abbrev=False
        )
        self.name = name
        self._negative_number_matcher = NEGATIVE
        for action in (None, "store"):
            self.register("action", action, _Once)
        for kind, what in ((int, "a whole number"), (float, "a number")):
            self.register("type", kind, partial(_number, kind, what))

    def parse_args(self, args=None, namespace=None):
        """The options; what is not known is said before what then is missing."""
        words = sys.argv[1:] if args is None else args
        required = [action for action in self._actions if action.required]
        asked = {"-h", "--help"} & set(words)  # help says what is required
        for action in required:
            action.required = bool(asked)
        found, unknown = self.parse_known_args(words, namespace)
        if unknown:
            known = [flag for flag in self._option_string_actions if flag != "-h"]
            word = unknown[0].partition("=")[0]
            self.error(f"unknown option {shown(word)}{nearest(word, known)}")
        for action in required:
            if getattr(found, action.dest) is None:
                self.error(f"expected {'/'.join(action.option_strings)}, found none")
        return found

    @property
    def flags(self) -> dict[str, str]:
        """The long options by the names that Python has for them."""
        long = [word[2:] for word in self._option_string_actions if word[:2] == "--"]
        own = {n.replace("-", "_"): f"--{n.replace('_', '-')}" for n in long}
        return {n: own[other] for n, other in _SAID_AS.items() if other in own} | own

    @contextmanager
    def reading(self, arguments: list[str]) -> Iterator[argparse.Namespace]:
        """The options; an error within is told with them, by `endings.as_options`."""
        options = self.parse_args(arguments)
        try:
            yield options
        except Exception as error:
            setattr(error, FLAGS, self.flags)
            _note_neighbours(error, options)
            raise

    def error(self, message: str):
        end(2, f"{self.name}: {message}; {self.prog} --help lists all options")


def _number(kind: type, what: str, word: str):
    """A word as a number; of thousands of digits Python itself reads no whole one."""
    try:
        return kind(word)
    except ValueError:
        long = f" of {len(word):,} characters" if len(word) > SHOWN else ""
        raise argparse.ArgumentTypeError(
            f"expected {what}, found {shown(word)}{long}"
        ) from None


def _note_neighbours(error: Exception, options: argparse.Namespace) -> None:
    """Add what lies beside a model or benchmark that was not found, if it is near."""
    argument = str(error).partition(":")[0]
    place = getattr(options, _PLACES.get(argument, ""), None)
    if not isinstance(place, str) or os.path.lexists(place) or "nearest:" in str(error):
        return
    folder, name = os.path.split(place)
    known = [*_NO_FOLDERS] if argument == "source" else []
    with suppress(OSError):
        known += islice(sorted(os.listdir(folder or os.curdir)), _MOST_BESIDE)
    near = nearest(name, known)
    if near:
        error.add_note(near.removeprefix("; ") + (f" in {folder}" if folder else ""))


class _Once(argparse.Action):
    """Keeps a value, as argparse does, but only one."""

    given = False

    def __call__(self, parser, namespace, values, option_string=None):
        if self.given and option_string:
            parser.error(f"{option_string}: expected once, found twice")
        self.given = True
        setattr(namespace, self.dest, values)


class _Truth(argparse.BooleanOptionalAction):
    """--this or --no-this, once."""

    given = False

    def __call__(self, parser, namespace, values, option_string=None):
        if self.given:
            parser.error(f"{option_string}: expected once, found twice or its opposite")
        self.given = True
        super().__call__(parser, namespace, values, option_string)


def add_fields(
    parser: argparse.ArgumentParser,
    kind: type,
    only: Collection[str] | None = None,
    choices: Mapping[str, Iterable[str]] | None = None,
) -> None:
    """An option per field of a dataclass, checked by the dataclass itself.

    What the source says beside or above a field is its help, with the ``choices`` that
    it has. An option that is not given leaves nothing behind, so that the field has its
    default.
    """
    types = get_type_hints(kind)
    comments = COMMENT.findall(_source_of(kind))
    told = {name: beside or above for above, name, beside in comments}
    for field in fields(kind):
        if only is not None and field.name not in only:
            continue
        default = "" if field.default is MISSING else f" ({field.default})"
        about = told.get(field.name, "")
        if choices and field.name in choices:
            about += f"; one of {', '.join(choices[field.name])}"
        about = f"{about}{default}".strip(" ;").replace("%", "%%")
        _add(parser, field.name, types[field.name], about, [])


def _source_of(kind: type) -> str:
    """The source of a class; nothing of one that came without."""
    try:
        return inspect.getsource(kind)
    except OSError:
        return ""


def add_parameters(
    parser: argparse.ArgumentParser,
    function: Callable,
    aliases: Mapping[str, list[str]],
) -> list[str]:
    """An option per keyword-only parameter of a function; returns their names."""
    types = get_type_hints(function)
    found = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        about = f"({parameter.default})".replace("%", "%%")
        _add(parser, name, types[name], about, aliases.get(name, []))
        found.append(name)
    return found


def given(options: argparse.Namespace, names: type | Collection[str]) -> dict:
    """Those of ``names``, or of a dataclass's fields, that were given."""
    if isinstance(names, type):
        names = [field.name for field in fields(names)]
    return {name: value for name, value in vars(options).items() if name in names}


def spelled(*names: str) -> list[str]:
    """The flags of an option: each of its names, with dashes and as Python has it."""
    flags = [f"--{each}" for name in names for each in (name.replace("_", "-"), name)]
    return list(dict.fromkeys(flags))


def _add(parser, name: str, kind, about: str, aliases: list[str]) -> None:
    flags = list(dict.fromkeys([*spelled(name), *aliases]))
    how: dict = {"dest": name, "help": about, "default": argparse.SUPPRESS}
    item, many = _item(kind)
    if item is bool:
        parser.add_argument(*flags, action=_Truth, **how)
    elif many:
        parser.add_argument(*flags, type=item, nargs="+", **how)
    else:
        parser.add_argument(*flags, type=item, **how)


def _item(kind) -> tuple[type, bool]:
    """What one word of an option is read as, and whether there may be several."""
    if isinstance(kind, UnionType):
        (kind,) = [part for part in get_args(kind) if part is not NoneType]
    many = get_origin(kind) is not None
    item = get_args(kind)[0] if many else kind
    return (item if item in (int, float, bool) else str), many


def quiet() -> None:
    """Switch the bars of libraries off; a command has one of its own."""
    from transformers.utils import logging

    logging.disable_progress_bar()
