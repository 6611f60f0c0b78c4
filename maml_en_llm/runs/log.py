"""A log of runs: an interrupted reproduction goes on from it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..errors import check_callable, shown
from ..provenance import check_file
from ..sittings import torch_version
from ..training.start import loaded
from .adapted import Chosen
from .code import code_below, codes_alike
from .failed import note_failure, warn_of_failures
from .inputs import Inputs, inputs_of
from .json_lines import append_row
from .record_rows import read_log, seal
from .run import Run
from .run_locks import locks_on
from .store import Store
from .trained import Trained, check_askable


class Key(NamedTuple):
    """What has to agree for a record to count: the run, and all it was made from.

    Older records have no ``further``: it is not asked of them.
    """

    hash: str
    inputs: str
    code: str
    torch: str
    further: str


class RunsFailed(ValueError):
    """Some runs could not be computed. ``rows`` are the others, all in the log;
    ``reasons`` say what went wrong, one for each run that failed."""

    def __init__(self, message: str, rows: Sequence[dict], reasons: Sequence[str]):
        super().__init__(message)
        self.rows = list(rows)
        self.reasons = list(reasons)

    def __reduce__(self):
        """So that it comes out of another process: pickle passes on ``args`` alone."""
        return type(self), (*self.args, self.rows, self.reasons)


def reproduce(
    runs: Iterable[Run],
    log: str | Path,
    progress: Callable[[dict], None] | None = None,
    *,
    store: Store | None = None,
    old: bool = False,
) -> list[dict]:
    """Records of ``runs``, in their order: read from ``log``, or computed and added.

    A record of the log counts if the run, the base model with its configuration and
    tokenizer, the examples, torch and the code below figures and command line are the
    same, or the code one of `codes_alike`; others stay in the log and are passed over.
    With ``old`` those of other code and torch count too, the newest of them, where
    there is none of these (`is_current`). Killed at any moment, nothing but the run at
    hand is lost. Other processes may work on the same log: each run is computed by one
    of them. Runs that differ in their evaluation alone are trained once; with a
    ``store`` also over several calls. ``progress`` is called with every new record.
    A warning names runs that failed before; they are tried again.

    Raises:
        ValueError: another thing than a run, or a file that is no log of runs, which is
            left as it is; before anything is computed.
        RunsFailed: at the end, where runs could not be computed. What went wrong is in
            the file of failures beside the log, too (`failed.failures_of`).
    """
    runs = _checked(runs, progress)
    log = check_file(log, "log")
    keys = [_key(run) for run in runs]
    found = _found(log, keys, old)
    failed: dict[Key, str] = {}
    wanted = {key: run for key, run in zip(keys, runs, strict=True) if key not in found}
    warn_of_failures(log, wanted.values())
    waiting = _groups(wanted)
    with locks_on(log) as locks:
        for wait in (False, True):  # first what nobody else is at
            for name, group in list(waiting.items()):
                if not locks.take(name, wait):
                    continue
                failed |= _complete(group, log, progress, store, old)
                locks.give_up(name)
                del waiting[name]
    found = _found(log, keys, old)
    rows = [found[key] for key in keys if key in found]
    if failed:
        reasons = list(failed.values())
        told = f"{len(failed)} of {len(runs)} runs failed, the others are in {log}: "
        raise RunsFailed(told + reasons[0], rows, reasons)
    return rows


def _checked(runs, progress) -> list[Run]:
    if not isinstance(runs, Iterable):
        raise ValueError(f"runs: expected a list of runs, found {shown(runs)}")
    if progress is not None:
        check_callable("progress", progress)
    found = list(runs)
    for run in found:
        if not isinstance(run, Run):
            raise ValueError(f"runs: expected runs, found {shown(run)}")
    return found


def missing(runs: Iterable[Run], log: str | Path, old: bool = False) -> list[list[Run]]:
    """The runs that the log lacks, in groups that share a training, in their order."""
    wanted = {_key(run): run for run in runs}
    found = _found(Path(log), wanted, old)
    left = {key: run for key, run in wanted.items() if key not in found}
    return [list(group.values()) for group in _groups(left).values()]


def records(runs: Iterable[Run], log: str | Path, old: bool = False) -> list[dict]:
    """The records of the runs that the log has, in their order."""
    keys = [_key(run) for run in runs]
    found = _found(Path(log), keys, old)
    return [found[key] for key in keys if key in found]


def is_current(record: Mapping) -> bool:
    """Whether a record was made by the torch that is here now and by its code, or by
    code that differs in no number (`codes_alike`)."""
    alike = codes_alike(code_below())
    return record.get("code") in alike and record.get("torch") == torch_version()


def _groups(wanted: Mapping[Key, Run]) -> dict[tuple, dict[Key, Run]]:
    """Runs that one model can answer, by what names them.

    Without a training these are runs that differ in their adaptation alone.
    """
    found: dict[tuple, dict[Key, Run]] = {}
    for key, run in wanted.items():
        found.setdefault(_group_of(key, run), {})[key] = run
    return found


def _group_of(key: Key, run: Run) -> tuple:
    training = run.training
    common = ("group", key.inputs, str(run.seeds), run.config.device)
    if training is not None:
        return (*common, training.hash)
    if isinstance(run.evaluation.get("adapt"), Chosen):
        others = {name: x for name, x in run.evaluate.items() if name != "adapt"}
        return (*common, replace(run, evaluate=others).hash)
    return key


def _complete(
    group: Mapping[Key, Run], log: Path, progress, store: Store | None, old: bool
) -> dict[Key, str]:
    """Add the records of runs that share a training; what went wrong, by run.

    An error of any library costs the run at hand and not the others.
    """
    found = _found(log, group, old)  # another process may have been faster
    left = {key: run for key, run in group.items() if key not in found}
    failed = _refused(left, log)
    left = {key: run for key, run in left.items() if key not in failed}
    trained = None
    for key, run in left.items():
        try:
            inputs = _unchanged(key, run)
            if trained is None:
                trained = _trained(key, run, left, store)
            record = trained.record(run)
            _unchanged(key, run)
        except Exception as error:
            failed[key] = note_failure(log, run, error)
            if trained is None:  # the training failed: for all of them
                return failed | dict.fromkeys(left, failed[key])
            continue
        record |= key._asdict() | dict(weights=inputs.weights, data=inputs.data)
        record["seal"] = seal(record)
        append_row(log, record, key=_key_of)
        if progress is not None:
            progress(deepcopy(record))  # what it does to it stays with it
    return failed


def _refused(group: Mapping[Key, Run], log: Path) -> dict[Key, str]:
    """What is wrong with runs that could not be asked, known before the training."""
    failed = {}
    tokenizers = {}
    for key, run in group.items():
        place = run.config.model, run.config.tokenizer
        try:
            if run.format.bos and place not in tokenizers:
                tokenizers[place] = loaded(run.config, run.config.device)[1]
            check_askable(run, inputs_of(run).bench, tokenizers.get(place))
        except Exception as error:
            failed[key] = note_failure(log, run, error)
    return failed


def _unchanged(key: Key, run: Run) -> Inputs:
    """What a run is made from; `ValueError` where it is other than its key says."""
    inputs = inputs_of(run)
    if _key(run, inputs) != key:
        raise ValueError(
            "config: expected a model and examples that stay as they are while records "
            f"are computed, found other ones in {shown(run.config.model)} or "
            f"{shown(run.config.benchmark)} now; call reproduce again"
        )
    return inputs


def trained_by(run: Run, store: Store | None = None) -> Trained:
    """The model of a run, ready to be asked: from the store, or trained now."""
    key = _key(run)
    return _trained(key, run, {key: run}, store)


def _trained(key: Key, run: Run, group: Mapping[Key, Run], store: Store | None):
    """The model that answers a group of runs: from the store, or trained now."""
    inputs = inputs_of(run)
    bench, (model, tokenizer) = inputs.bench, loaded(run.config, run.config.device)
    together = list(group.values())
    training = run.training
    if store is None or training is None:
        return Trained.by(run, bench, model, tokenizer, together)
    made_from = inputs.weights, inputs.trained_on, inputs.settings
    made_by = key.code, key.torch, model.device.type
    path = store.path(training.hash, *made_from, *made_by)
    spent = store.fetch(path, model)
    if spent is not None:
        return Trained(bench, model, tokenizer, spent, together)
    found = Trained.by(run, bench, model, tokenizer, together)
    store.keep(path, model, found.spent)
    return found


def _found(log: Path, keys: Iterable[Key], old: bool) -> dict[Key, dict]:
    """The log's records of these keys; with ``old`` also those of other code."""
    rows = read_log(log)
    now = code_below()
    same = dict.fromkeys(codes_alike(now), now)
    exact = {}
    for row in rows:
        key = _key_of(row)
        exact[key._replace(code=same.get(key.code, key.code))] = row
    alike = {_without_code(_key_of(row)): row for row in rows}  # the newest
    found = {}
    for key in keys:
        row = None
        for one in (key, key._replace(further="")):
            row = row or exact.get(one)
        for one in (key, key._replace(further="")) if old else ():
            row = row or alike.get(_without_code(one))
        if row is not None:
            found[key] = row
    return found


def _without_code(key: Key) -> Key:
    return key._replace(code="", torch="")


def _key_of(row: Mapping) -> Key:
    return Key(*(str(row.get(name, "")) for name in Key._fields))


def _key(run: Run, inputs: Inputs | None = None) -> Key:
    inputs = inputs_of(run) if inputs is None else inputs
    made_by = code_below(), torch_version()
    return Key(run.hash, inputs.hash, *made_by, inputs.further)
