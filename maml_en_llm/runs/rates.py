"""The rates that every method runs with: those of the search, from its record.

`results/tuning.json` is the only place where a tuned rate is written; the search that
made it is the experiment "tuning". A method that it does not name runs at the preset's
rates, and its records say "untuned".
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from ..errors import check_number, shown
from ..provenance import describe
from .presets import Preset
from .record_files import results_folder
from .record_rows import checked_rows
from .rows import row_of

RATES_FILE = results_folder() / "tuning.json"

# (outer rate, inner rate) of each trial, in their order: a search that is cut short has
# the first of them, of every method as many. What has no inner rate has twice as many
# outer rates to choose from.
WITH_INNER: tuple[tuple[float, float], ...] = (
    *((2e-3, 4e-4), (1e-3, 4e-4), (4e-3, 4e-4)),
    *((2e-3, 2e-3), (1e-3, 2e-3), (4e-3, 2e-3), (2e-3, 1e-4), (8e-3, 4e-4)),
)
OUTER_ALONE = (2e-3, 1e-3, 4e-3, 5e-4, 8e-3, 1.4e-3, 2.8e-3, 2.5e-4)
TRIALS = 6  # of each method


def has_inner_rate(name: str) -> bool:
    """Whether a row's inner rate decides anything."""
    row = row_of(name)
    train = dict(row.train or {}) if row else {}
    inner = train.get("method") in ("maml-en-llm", "fomaml", "reptile")
    return inner and "inner_lr" not in train


def trials_of(name: str, count: int = TRIALS) -> list[dict[str, float]]:
    """The rates that are tried for a row, as changes of its training."""
    if has_inner_rate(name):
        return [dict(lr=lr, inner_lr=inner) for lr, inner in WITH_INNER[:count]]
    return [dict(lr=lr) for lr in OUTER_ALONE[:count]]


def rates_of(
    name: str, preset: Preset, tuned_on: str | None = None
) -> tuple[dict[str, float], str]:
    """A row's rates as changes of its training, and where they are from.

    They are "tuned", "untuned" (the preset's), or "", somebody's choice: those of the
    base model ``tuned_on``, another than the preset's.

    Raises `ValueError` where ``tuned_on`` is not what the search was run with.
    """
    search = _read(RATES_FILE)
    found = search.get("rates", {}).get(name)
    about = (search.get("model"), search.get("benchmark"))
    if tuned_on is not None and about != (tuned_on, preset.benchmark):
        raise ValueError(
            f"rates: expected {shown(about[0])}, the model of {RATES_FILE.name}, on "
            f"the benchmark {shown(about[1])}, found {shown(tuned_on)} on "
            f"{shown(preset.benchmark)}; leave it out for the preset's own rates"
        )
    if found is None or about != (tuned_on or preset.model, preset.benchmark):
        rates = dict(lr=preset.lr)
        if has_inner_rate(name):
            rates["inner_lr"] = preset.inner_rate
        return rates, "untuned"
    rates = {key: found[key] for key in ("lr", "inner_lr") if key in found}
    return rates, "tuned" if tuned_on is None else ""


def best_rates(rows: Iterable[Mapping]) -> dict:
    """What `RATES_FILE` holds, from the records of the trials.

    The best trial of a row is that of the lowest held NLL, a mean over training seeds.
    All rows are judged on as many trials as the row with the fewest has: the first of
    `trials_of`. Raises `DataError` for what is no record of a trial, and `ValueError`
    for a held NLL that is no finite number.
    """
    found: dict[str, list[dict]] = {}
    rows = checked_rows("tuning", rows, _lacking_of_trial)
    for name in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == name]
        found[name] = _judged(trials_of(name, len(OUTER_ALONE)), mine)
    if not found:
        raise ValueError("tuning: expected records of trials, found none")
    count = min(len(trials) for trials in found.values())
    if not count:
        raise ValueError(
            "tuning: expected at least the first trial of every method, found none of "
            f"{shown([name for name in found if not found[name]])}"
        )
    best = {
        name: min(trials[:count], key=lambda trial: trial["nll"])
        for name, trials in found.items()
    }
    config = rows[0]["run"]["config"]
    return {
        "model": config["model"],
        "benchmark": config["benchmark"],
        "trials": count,
        "rates": best,
        "tried": found,
        "machine": describe(),
        "rows": rows,
    }


def _judged(space: Sequence[Mapping], rows: Sequence[Mapping]) -> list[dict]:
    """The trials that are there, up to the first that is not, with their held NLL."""
    found = []
    for rates in space:
        mine = [row for row in rows if row["run"].get("train") == rates]
        if not mine:
            break
        losses = [_held(row, "nll") for row in mine]
        scores = [_held(row, "score") for row in mine]
        means = dict(nll=round(fmean(losses), 4), score=round(fmean(scores), 2))
        found.append(dict(rates) | means | dict(seeds=len(mine)))
    return found


def _lacking_of_trial(row) -> str:
    """What a row would need to be the record of a trial; nothing where it is one."""
    run = row.get("run") if isinstance(row, Mapping) else None
    parts = (run.get("config"), row.get("held")) if isinstance(run, Mapping) else ()
    whole = bool(parts) and all(isinstance(part, Mapping) for part in parts)
    if whole and isinstance(row.get("method"), str):
        return ""
    return "the record of a trial, with its method, run and held NLL"


def _held(row: Mapping, what: str) -> float:
    rates = row["run"]["train"]
    where = f"tuning: held {what} of {row['method']} at {shown(rates)}"
    try:
        return check_number(where, row["held"].get(what))
    except ValueError as error:
        raise ValueError(f"{error}; compute that trial again, by --fresh") from error


def _read(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
        for name, own in found["rates"].items():
            check_number(f"lr of {name}", own["lr"], above=True)
            check_number(f"inner_lr of {name}", own.get("inner_lr", 0.0))
        return found
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as bad:
        raise ValueError(
            f"{path}: expected the record of a search, rates by method, found a "
            f"damaged one ({shown(str(bad))}); remove it, and make it again by "
            "python -m maml_en_llm reproduce tuning"
        ) from bad
