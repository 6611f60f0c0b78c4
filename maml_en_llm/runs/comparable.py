"""What the rows of one table share: base model, examples, and how they were asked."""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from ..base.weights import SHIPPED
from ..errors import shown
from ..models.smollm2 import SMOLLM2

CONFIGURED = ("model", "benchmark")
FORMATTED = ("tokenizer", "separator", "max_length", "max_example_length", "bos")
ASKED = ("seeds", "max_records")  # of demonstrations; of the test examples of a target


def check_comparable(argument: str, *sides: Iterable[Mapping]) -> None:
    """Raise `ValueError` where rows of one table were asked on different things.

    Alike have to be the base model, its tokenizer and its weights, the benchmark and
    its examples in each setting, the demonstration seeds, how many test examples were
    asked and the format of prompts. Base model and benchmark are compared by their
    hashes, and by name where a row has none. How many demonstrations are shown
    may differ: it is what some tables are about. A record of `evaluate` says its
    setting and how it asked, one of the command also its targets' hash; its base model
    it does not say.
    """
    first: dict[str, Any] = {}
    for row in chain(*sides):
        for what, value in _shared(row).items():
            other = first.setdefault(what, value)
            if other != value:
                raise ValueError(
                    f"{argument}: expected rows of one base model, benchmark and way "
                    f"of asking, found {what} {shown(other)} and {shown(value)}; "
                    "choose those of one, or compare tables of seed → target → points"
                )


def _shared(row: Mapping) -> dict[str, Any]:
    run = row.get("run")
    if not isinstance(run, Mapping):
        return _of_evaluation(row)
    config = run.get("config")
    config = config if isinstance(config, Mapping) else {}
    # a place may hold no weights: then the training's seed draws them
    known = config.get("model") in (*SHIPPED, SMOLLM2)
    drawn = "" if known else f", seed {config.get('seed')}"
    setting = f" of {row.get('setting')}"
    parts = dict(weights=drawn, data=setting, inputs=setting + drawn)
    found = {f"{n}{of}": row[n] for n, of in parts.items() if n in row}
    # the same content may have another name on another machine
    named = [] if "inputs" in row else CONFIGURED
    found |= {name: config.get(name) for name in (*named, *FORMATTED)}
    return found | {name: run.get(name) for name in ASKED}


def _of_evaluation(row: Mapping) -> dict[str, Any]:
    """The same of a record of `evaluate`, of Python or as JSON."""
    asked = row.get("protocol")
    if not isinstance(asked, Mapping):
        return {}
    found = {name: row[name] for name in ("setting", "targets") if name in row}
    found |= {name: asked[name] for name in (*FORMATTED, *ASKED) if name in asked}
    return {n: list(x) if isinstance(x, tuple) else x for n, x in found.items()}
