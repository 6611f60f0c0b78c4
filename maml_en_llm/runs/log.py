"""A log of runs that an interrupted reproduction goes on from."""

import hashlib
import json
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

from ..models.attention import TWICE
from ..models.loading import load_model
from ..provenance import weights_hash
from ..tasks.benchmark import Benchmark, load_benchmark
from ..training.config import TrainConfig
from .run import Run


def reproduce(
    runs: Iterable[Run], log: str | Path, progress: Callable[[dict], None] | None = None
) -> list[dict]:
    """Records of ``runs``, in their order; those that ``log`` holds are read from it, and new ones are added to it.

    A record in the log counts only if it was made from the same weights and the same texts.
    """
    log, rows = Path(log), []
    log.parent.mkdir(parents=True, exist_ok=True)
    found = {(record["hash"], record["inputs"]): record for record in _read(log)}
    for run in runs:
        bench, inputs = _inputs(run.config, run.seeds)
        if (run.hash, inputs) not in found:
            found[run.hash, inputs] = run.compute(bench, *_model(run.config)) | dict(
                inputs=inputs
            )
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found[run.hash, inputs]) + "\n")
            if progress is not None:
                progress(found[run.hash, inputs])
        rows.append(found[run.hash, inputs])
    return rows


def _read(log: Path) -> list[dict]:
    """The records of a log; a last line that was being written when the run broke off is taken out."""
    if not log.is_file():
        return []
    text = log.read_text(encoding="utf-8")
    if not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
        log.write_text(text, encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _model(config: TrainConfig):
    """Base model and tokenizer as the configuration says, anew each time: training changes the model."""
    return load_model(
        config.model, tokenizer=config.tokenizer, attention=TWICE, seed=config.seed
    )


def _inputs(config: TrainConfig, seeds: tuple[int, ...]) -> tuple[Benchmark, str]:
    """The benchmark, and twelve hexadecimal digits that change with the base model's weights and with any of its records."""
    decisive = (
        "benchmark",
        "setting",
        "allow_missing",
        "faithful",
        "model",
        "tokenizer",
    )
    return _fingerprint(
        TrainConfig(**{name: getattr(config, name) for name in decisive}), seeds
    )


@lru_cache(maxsize=8)
def _fingerprint(config: TrainConfig, seeds: tuple[int, ...]) -> tuple[Benchmark, str]:
    bench = load_benchmark(
        config.benchmark,
        config.setting,
        seeds=seeds,
        allow_missing=config.allow_missing,
        faithful=config.faithful,
    )
    content = weights_hash(_model(config)[0]) + repr(bench.train) + repr(bench.test)
    return bench, hashlib.sha256(content.encode()).hexdigest()[:12]
