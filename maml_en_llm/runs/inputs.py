"""What a run is made from, besides its configuration: base model and examples."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ..models import load_model
from ..provenance import digest, weights_hash
from ..tasks import Benchmark, load_benchmark
from .run import Run


class Inputs(NamedTuple):
    """A benchmark; hashes of the base model's weights, of all its examples, and of
    those that train: the examples that are asked about train nothing."""

    bench: Benchmark
    weights: str
    data: str
    trained_on: str


def inputs_of(run: Run) -> Inputs:
    """The benchmark of a run, with hashes of what it is made from."""
    config = run.config
    where = config.benchmark, config.setting
    given = _examples(*where, run.seeds, config.allow_missing, config.faithful)
    seed = config.seed if _is_random(config.model) else 0
    weights = _weights(config.model, config.tokenizer, config.dtype, seed)
    return Inputs(given[0], weights, *given[1:])


def inputs_hash(run: Run) -> str:
    """A hash of the base model's weights and of all examples."""
    inputs = inputs_of(run)
    return digest(inputs.weights, inputs.data)


@lru_cache(maxsize=16)
def _examples(
    source: str, setting: str, seeds: tuple[int, ...], allow_missing, faithful
) -> tuple[Benchmark, str, str]:
    bench = load_benchmark(
        source,
        setting,
        seeds=seeds,
        allow_missing=allow_missing,
        faithful=faithful,
    )
    train = repr(bench.train)
    return bench, digest(train, repr(bench.test)), digest(train)


@lru_cache(maxsize=32)
def _weights(model: str, tokenizer: str | None, dtype: str, seed: int) -> str:
    loaded, _ = load_model(model, tokenizer=tokenizer, dtype=dtype, seed=seed)
    return weights_hash(loaded)


def _is_random(model: str) -> bool:
    """Whether the seed may decide the weights: a folder may hold none."""
    path = Path(model)
    return path.suffix == ".json" or path.is_dir()
