"""Checks of a checkpoint's facts, and of the names in a folder of checkpoints."""

import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from ..checkpoint import CARD, FILE_NAMES, read_file
from ..errors import shown
from ..methods import Budget

# what a run may leave among its checkpoints
LAST_GOOD, OUTPUT = "last-good", "output"
_OWN = re.compile(rf"{FILE_NAMES}|\.({LAST_GOOD}|{OUTPUT})\.[0-9a-f]{{16}}")

_COUNTS = ("slots", "optimizer_step")
_MEASURED = {"loss", "inner_losses", "norm"}  # in every row


def is_number(value) -> bool:
    """Whether a value of JSON is a number that a float can hold."""
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**63)


def is_loss(value) -> bool:
    """Whether a value of JSON is a finite number, or null for a skipped step."""
    return value is None or (is_number(value) and math.isfinite(value))


def check_facts(step: int, facts, steps: int) -> None:
    """Raise `ValueError`, naming the part, for facts that no run saves after ``step``.

    The run has ``steps`` in all; `TrainState.facts` are the "state" of its facts.
    """
    facts = facts if isinstance(facts, dict) else {}
    state = facts.get("state")
    state = state if isinstance(state, dict) else {}
    fits = {
        "step": step <= steps,
        "origin": isinstance(facts.get("origin"), dict),
        "seconds": facts.get("seconds") is not None and is_loss(facts["seconds"]),
        "made": _are(dict, facts.get("made", [])),
        **{name: _is_count(state.get(name)) for name in _COUNTS},
        "budget": _is_budget(state.get("budget")),
        "rows": _are_rows(state.get("rows"), step),
        "skipped": _are(int, state.get("skipped")),
    }
    for name, fit in fits.items():
        if not fit:
            found = {**facts, **state, "step": step}.get(name)
            raise ValueError(
                f"expected the {name} of step {step} of {steps}, found {shown(found)}"
            )


@contextmanager
def checkpoint_named(folder: Path, step: int) -> Iterator[None]:
    """Within, a `ValueError` is about the checkpoint of ``step``, which it names."""
    try:
        yield
    except ValueError as error:
        path = folder / f"step-{step:09}.json"
        raise ValueError(
            f"checkpoint: {path} is damaged ({shown(str(error))}); remove it, and the "
            "one before it is used"
        ) from error


def foreign_names(folder: Path) -> list[str]:
    """What lies in a folder of checkpoints and is none of a run's files."""
    if not folder.is_dir():
        return []
    names = sorted(path.name for path in folder.iterdir())
    found = [n for n in names if n not in (LAST_GOOD, OUTPUT) and not _OWN.fullmatch(n)]
    if os.path.lexists(folder / LAST_GOOD):
        whole = (folder / LAST_GOOD / "tokenizer_config.json").is_file()
        found += [] if whole else [LAST_GOOD]
    return found + _foreign_in_output(folder / OUTPUT)


def _foreign_in_output(output: Path) -> list[str]:
    """What lies in a finished output beside the files that its record names."""
    if not os.path.lexists(output):
        return []
    try:
        names = sorted(path.name for path in output.iterdir())
        record = json.loads(read_file(output / "record.json"))
        own = {*record.get("files", names), CARD, "record.json"}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return [OUTPUT]
    return [f"{OUTPUT}/{name}" for name in names if name not in own]


def _is_count(value) -> bool:
    return type(value) is int and value >= 0


def _is_budget(value) -> bool:
    names = {each.name for each in fields(Budget)}
    named = isinstance(value, dict) and value.keys() == names
    return named and all(map(_is_count, value.values()))


def _are_rows(value, step: int) -> bool:
    if not _are(dict, value) or len(value) != step:
        return False
    return all(row.keys() >= _MEASURED and is_loss(row["loss"]) for row in value)


def _are(kind: type, values) -> bool:
    return isinstance(values, list) and all(type(value) is kind for value in values)
