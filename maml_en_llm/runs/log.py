"""A log of runs: an interrupted reproduction goes on from it."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ..errors import listed, shown
from ..models import load_model
from ..provenance import check_file, digest, weights_hash
from ..tasks import Benchmark, load_benchmark
from ..training import TrainConfig
from .claims import claims_on
from .code import code_below, torch_version
from .json_lines import append_rows, read_rows
from .run import Run

KEY_NAMES = ("hash", "inputs", "code", "torch")
REASON = 400  # characters of a failed run's error


class Key(NamedTuple):
    """What has to agree for a record to count: the run, and all it was made from."""

    hash: str
    inputs: str
    code: str
    torch: str


class RunsFailed(ValueError):
    """Some runs could not be computed. ``rows`` are the others, all in the log."""

    def __init__(self, message: str, rows: Sequence[dict]):
        super().__init__(message)
        self.rows = list(rows)


def reproduce(
    runs: Iterable[Run],
    log: str | Path,
    progress: Callable[[dict], None] | None = None,
) -> list[dict]:
    """Records of ``runs``, in their order: read from ``log``, or computed and added.

    A record of the log counts if the run, the base model's weights, the examples, the
    code below figures and command line, and torch are the same; others stay in the log
    and are passed over. Killed at any moment, nothing but the run at hand is lost.
    Other processes may work on the same log: each run is computed by one of them.
    ``progress`` is called with every new record.

    Raises:
        ValueError: another thing than a run, or a file that is no log of runs, which is
            left as it is; before anything is computed.
        RunsFailed: at the end, where runs could not be computed.
    """
    if not isinstance(runs, Iterable):
        raise ValueError(f"runs: expected a list of runs, found {shown(runs)}")
    if progress is not None and not callable(progress):
        raise ValueError(f"progress: expected a function, found {shown(progress)}")
    runs = list(runs)
    for run in runs:
        if not isinstance(run, Run):
            raise ValueError(f"runs: expected runs, found {shown(run)}")
    log = check_file(log, "log")
    keys = [_key(run) for run in runs]
    found = _by_key(log)
    failed: dict[Key, str] = {}
    wanted = {key: run for key, run in zip(keys, runs, strict=True) if key not in found}
    with claims_on(log) as claims:
        for wait in (False, True):  # first what nobody else is at
            for key, run in list(wanted.items()):
                if not claims.take(key, wait):
                    continue
                found, message = _complete(run, key, log, progress)
                claims.give_up(key)
                del wanted[key]
                if message:
                    failed[key] = f"{run.name}, {run.config.setting}: {message}"
    rows = [found[key] for key in keys if key in found]
    if failed:
        raise RunsFailed(
            f"{len(failed)} of {len(runs)} runs failed, the others are in {log}: "
            f"{next(iter(failed.values()))}",
            rows,
        )
    return rows


def is_current(record: Mapping) -> bool:
    """Whether a record was made by the code and the torch that are here now."""
    made = (record.get("code"), record.get("torch"))
    return made == (code_below(), torch_version())


def _complete(run, key, log: Path, progress) -> tuple[dict, str]:
    """The log's records with this run's, and what went wrong with it, if anything.

    An error of any library costs the run at hand and not the others.
    """
    found = _by_key(log)  # another process may have been faster
    if key in found:
        return found, ""
    bench, parts = _inputs(run)
    try:
        model, tokenizer = _model(run.config)
        record = run.compute(bench, model, tokenizer)
    except Exception as error:
        message = f"{type(error).__name__}: {error}"[:REASON]
        warnings.warn(f"run {run.name!r} failed: {message}", stacklevel=3)
        return found, message
    record |= key._asdict() | parts
    append_rows(log, [record], key=_key_of)
    if progress is not None:
        progress(record)
    return found | {key: record}, ""


def _read(log: str | Path) -> list[dict]:
    """The records of a log, which is left as it is; see `read_rows`."""
    log = Path(log)
    rows = read_rows(log)
    for number, row in enumerate(rows, 1):
        lacking = [name for name in KEY_NAMES[:2] if not isinstance(row.get(name), str)]
        if lacking:
            raise ValueError(
                f"{log}:{number}: expected a record of a run, found none of its "
                f"{listed(lacking)}; name another file"
            )
    return rows


def _by_key(log: Path) -> dict[Key, dict]:
    return {_key_of(row): row for row in _read(log)}


def _key_of(row: Mapping) -> Key:
    return Key(*(str(row.get(name, "")) for name in KEY_NAMES))


def _key(run: Run) -> Key:
    _, parts = _inputs(run)
    inputs = digest(parts["weights"], parts["data"])
    return Key(run.hash, inputs, code_below(), torch_version())


def _model(config: TrainConfig):
    """Base model and tokenizer, anew each time: training changes the model."""
    return load_model(
        config.model,
        tokenizer=config.tokenizer,
        dtype=config.dtype,
        device=config.device,
        seed=config.seed,
    )


def _inputs(run: Run) -> tuple[Benchmark, dict[str, str]]:
    """The benchmark, and hashes of the base model's weights and of all examples."""
    config = run.config
    bench, data = _examples(
        config.benchmark,
        config.setting,
        run.seeds,
        config.allow_missing,
        config.faithful,
    )
    seed = config.seed if _is_random(config.model) else 0
    weights = _weights(config.model, config.tokenizer, config.dtype, seed)
    return bench, dict(weights=weights, data=data)


@lru_cache(maxsize=8)
def _examples(
    source: str, setting: str, seeds: tuple[int, ...], allow_missing, faithful
) -> tuple[Benchmark, str]:
    bench = load_benchmark(
        source,
        setting,
        seeds=seeds,
        allow_missing=allow_missing,
        faithful=faithful,
    )
    return bench, digest(repr(bench.train), repr(bench.test))


@lru_cache(maxsize=32)
def _weights(model: str, tokenizer: str | None, dtype: str, seed: int) -> str:
    loaded, _ = load_model(model, tokenizer=tokenizer, dtype=dtype, seed=seed)
    return weights_hash(loaded)


def _is_random(model: str) -> bool:
    """Whether the seed may decide the weights: a folder may hold none."""
    path = Path(model)
    return path.suffix == ".json" or path.is_dir()
