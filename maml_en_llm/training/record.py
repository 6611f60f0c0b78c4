"""The record of a run: what was measured, and where it comes from."""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict

from ..models import source_of
from ..provenance import describe
from ..tasks import Task
from .config import TrainConfig
from .inner_loop import as_columns
from .state import TrainState


def make_record(loop, state: TrainState, before: str, seconds: float) -> dict:
    """What JSON can hold of a run that has ended.

    ``losses``, ``norms`` and ``inner_losses`` have an entry per outer step, which is
    null (or empty) for a step that was skipped. ``inner_loop`` says what the inner
    loops did at a few outer steps (`inner_loop.NOTED`), and is empty without any.
    ``weights_before`` and ``weights`` are
    SHA-256 of the weights before and after, ``data`` of the training examples.
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
        "budget": asdict(state.budget),
        "model": {name: source[name] for name in ("name", "revision")},
        "weights_before": before,
        "weights": source["weights"],
        "data": data_hash(loop.sampler.tasks),
        "processes": loop.ranks.size,
        **describe(loop.model.device, seconds),
    }


def are_losses(losses, steps: int) -> bool:
    """Whether a record's losses are a number, or null, for each of ``steps``."""
    kinds = (int, float, type(None))
    return (
        isinstance(losses, list)
        and len(losses) == steps
        and all(isinstance(loss, kinds) for loss in losses)
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
