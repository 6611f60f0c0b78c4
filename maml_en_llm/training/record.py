"""The record of a run: what was measured, and where it comes from."""

import hashlib
import inspect
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import listed, shown
from ..models import source_of
from ..provenance import describe, digest, filled
from ..sittings import versions
from ..tasks import Task
from .config import TrainConfig
from .damage import is_loss
from .inner_loop import NOTED, are_columns, as_columns
from .state import TrainState


def make_record(loop, state: TrainState, before: str, seconds: float) -> dict:
    """What JSON can hold of a run that has ended.

    ``losses``, ``norms`` and ``inner_losses`` have an entry per outer step, which is
    null (or empty) for a step that was skipped. ``inner_loop`` says what the inner
    loops did at a few outer steps (`inner_loop.NOTED`), and is empty without any.
    ``cut`` says what ``max_length`` left of the prompts of the first outer steps.
    ``weights_before`` and ``weights`` are SHA-256 of the weights before and after,
    ``data`` of the training examples.
    """
    source = source_of(loop.model)
    return {
        "config": as_json(loop.config),
        "hash": loop.config.hash,
        "losses": [row["loss"] for row in state.rows],
        "inner_losses": [row["inner_losses"] for row in state.rows],
        "norms": [row["norm"] for row in state.rows],
        "inner_loop": as_columns(state.rows),
        "skipped": list(state.skipped),
        "left_out": dict(loop.sampler.left_out),
        "cut": loop.cut._asdict(),
        "budget": asdict(state.budget),
        "model": {name: source[name] for name in ("name", "revision")},
        "weights_before": before,
        "weights": source["weights"],
        "data": data_hash(loop.sampler.tasks),
        "processes": loop.ranks.size,
        **describe(loop.model.device, seconds),
    }


def wrong_part(record: dict, steps: int, files: Iterable[str]) -> tuple | None:
    """What was expected and what was found, where no run has written this record.

    ``files`` are some that its hashes have to name; an older record has none.
    """
    losses, weights = record["losses"], record["weights"]
    columns = record.get("inner_loop", {})
    hashes = record.get("files", dict.fromkeys(files, ""))
    whole = isinstance(losses, list) and len(losses) == steps
    if not whole or not all(map(is_loss, losses)):
        return f"losses of {steps} steps", losses
    if not isinstance(weights, str):
        return "a SHA-256 as weights", weights
    if not are_columns(columns):
        return f"a list of numbers for each of {listed(NOTED)} as inner_loop", columns
    named = isinstance(hashes, dict) and all(name in hashes for name in files)
    if not named or not all(isinstance(one, str) for one in hashes.values()):
        return "the hashes of all files that the run wrote as files", hashes
    return None


def config_changes(old, config: TrainConfig) -> str:
    """Fields whose values differ, as a message has them; empty where none does."""
    new: dict = as_json(config)
    if not isinstance(old, dict):
        return "not known"
    old = as_json(TrainConfig()) | filled(old, config)  # fields newer than the record
    return listed(
        f"{name}: {shown(old.get(name))} there, {shown(new.get(name))} here"
        for name in {**new, **old}
        if old.get(name) != new.get(name)
    )


def as_json(config: TrainConfig) -> dict:
    """All fields of a configuration; ``TrainConfig(**…)`` is their inverse."""
    return asdict(config) | {"betas": list(config.betas)}


def data_hash(tasks: Iterable[Task]) -> str:
    """SHA-256 of the training examples of all tasks, in their order."""
    found = hashlib.sha256()
    for task in tasks:
        found.update(repr((task.name, task.instruction, len(task.train))).encode())
        for example in task.train:
            parts = (example.input, example.output, example.options)
            found.update(repr(parts).encode())
    return found.hexdigest()


def origin_of(model, tokenizer, tasks: Iterable[Task], weights: str) -> dict[str, str]:
    """Hashes of all that a run begins with and its configuration only names.

    What is hashed as a library writes it has that library's version in its name: with
    another version it cannot be compared.
    """
    used = versions()
    settings = json.loads(model.config.to_json_string(use_diff=False))
    for name in ("_name_or_path", "transformers_version"):
        settings.pop(name, None)
    return {
        "weights": weights,
        "examples": data_hash(tasks),
        f"tokens (tokenizers {used['tokenizers']})": _json_hash(
            _vocabulary_of(tokenizer)
        ),
        f"settings of the model (transformers {used['transformers']})": _json_hash(
            settings
        ),
        **_saved_words(tokenizer, used["transformers"]),
    }


def _saved_words(tokenizer, version: str) -> dict[str, str]:
    """Hash of what one written in Python saves, with its switches such as lower case.

    Its merges or pieces are in these files alone; a backend is hashed whole.
    """
    has_backend = getattr(tokenizer, "backend_tokenizer", None) is not None
    if has_backend or not hasattr(tokenizer, "save_vocabulary"):
        return {}
    taken = inspect.signature(type(tokenizer)).parameters
    given = getattr(tokenizer, "init_kwargs", {})
    switches = {n: x for n, x in given.items() if n in taken and isinstance(x, bool)}
    with TemporaryDirectory() as folder:
        try:
            tokenizer.save_vocabulary(folder)
        except (NotImplementedError, OSError):  # the files it copies may be gone
            return {}
        files = [file for file in sorted(Path(folder).iterdir()) if file.is_file()]
        parts = [part for file in files for part in (file.name, file.read_bytes())]
    name = f"tokens as saved (transformers {version})"
    return {name: digest(json.dumps(switches, sort_keys=True), *parts)}


def _vocabulary_of(tokenizer) -> list:
    """What decides the ids that a tokenizer turns a text into."""
    ids = [getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "unk")]
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return [ids, type(tokenizer).__name__, tokenizer.get_vocab()]
    content = json.loads(backend.to_str())
    return [ids, content | {"truncation": None, "padding": None}]


def _json_hash(content) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
