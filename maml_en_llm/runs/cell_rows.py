"""The rows of one cell, a setting in a mode, sorted: rules, base model, trained models.

A trained model is a row that was trained, whatever its method; its records are one per
training seed, as the row is asked and, where there are any, without demonstrations.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ..errors import listed
from ..protocol import SEEDS, SHOTS
from .comparable import check_comparable
from .record_rows import Record

TRAINING_SEEDS = 3  # one seed moves a mean by 4 to 6 points, and tells of no other
ZERO_SHOT, IN_CONTEXT = "zero-shot", "in-context"
RANDOM_GUESS, MAJORITY, RULE = "random guess", "majority", "oracle"
BY_RULE = (RANDOM_GUESS, MAJORITY, RULE)
# what `Run.evaluate` holds where no demonstrations are shown
NO_DEMONSTRATIONS = {"k": 0}
# parts of a run that say how a model is asked, not which one it is
ASKING = ("evaluate", "seeds", "max_records", "held", "targets")


@dataclass(frozen=True)
class Model:
    """A trained model: records by training seed, as asked and without demonstrations"""

    name: str
    asked: Mapping[int, Record]
    alone: Mapping[int, Record]

    @property
    def mean(self) -> float:
        """Mean over seeds and targets, as asked."""
        return fmean(map(mean_of, self.asked.values()))

    def on(self, target: str) -> float:
        """Mean over seeds of one target's score, as asked."""
        return fmean(row["tasks"][target] for row in self.asked.values())

    def both(self) -> "Model":
        """The seeds that are there with and without demonstrations."""
        seeds = [seed for seed in self.asked if seed in self.alone]
        asked, alone = (
            {seed: part[seed] for seed in seeds} for part in (self.asked, self.alone)
        )
        return Model(self.name, asked, alone)


@dataclass(frozen=True)
class Rows:
    """The rows of one cell, sorted."""

    where: str
    base: Mapping[str, Record]
    by_rule: Mapping[str, Record]
    trained: Sequence[Model]
    targets: tuple[str, ...]

    @classmethod
    def of(cls, records: Iterable[Record], setting: str, mode: str) -> "Rows":
        """Sort the rows of a cell; `ValueError` as in `judge_cell`."""
        where = f"cell {setting}, {mode}"
        mine = [row for row in records if row["setting"] == setting and row["tasks"]]
        mine = each_once(mine)
        by_rule = _by_method(where, mine, BY_RULE)
        mine = [row for row in mine if row["mode"] == mode and _plain(row)]
        check_comparable(where, by_rule.values(), mine)
        names = (ZERO_SHOT, IN_CONTEXT)
        base = _by_method(where, mine, names)
        trained = _models(where, [row for row in mine if "budget" in row])
        lacking = [n for n in (*BY_RULE, *names) if n not in {**by_rule, **base}]
        lacking += [] if trained else ["a trained model"]
        if lacking:
            raise ValueError(
                f"{where}: expected the rows it is judged by, found none of "
                f"{listed(lacking)}; compute what is missing"
            )
        used = [*by_rule.values(), *base.values()]
        for model in trained:
            used += [*model.asked.values(), *model.alone.values()]
        _check_targets(where, used)
        return cls(where, base, by_rule, trained, tuple(used[0]["tasks"]))

    def mean(self, name: str) -> float:
        """The mean over targets of a row that was not trained."""
        return mean_of({**self.by_rule, **self.base}[name])

    def models(self, compared: bool = False) -> list[Model]:
        """Trained models; those with seeds enough, where there are any."""
        found = list(self.trained)
        if compared:
            found = [model.both() for model in found if model.both().asked]
        enough = [model for model in found if len(model.asked) >= TRAINING_SEEDS]
        return enough or found

    def best_trained(self) -> Model:
        """The trained model of the highest mean."""
        return max(self.models(), key=lambda model: model.mean)

    def best_compared(self) -> Model | None:
        """The same among those that were also asked without demonstrations."""
        return max(self.models(compared=True), key=lambda m: m.mean, default=None)

    def missing(self, models: Sequence[Model]) -> tuple[str, ...]:
        """What a final verdict lacks."""
        found = [
            f"{model.name}: {len(model.asked)} of {TRAINING_SEEDS} training seeds"
            for model in models
            if len(model.asked) < TRAINING_SEEDS
        ]
        rows = {name: [row] for name, row in {**self.by_rule, **self.base}.items()}
        rows |= {m.name: [*m.asked.values(), *m.alone.values()] for m in models}
        for name, some in rows.items():
            for row in some:
                found += [f"{name}: {what}" for what in _shortened(name, row)]
        return tuple(dict.fromkeys(found))


def _by_method(where: str, rows: Sequence[Record], names) -> dict[str, Record]:
    """The row of each method; what is there for both modes is the same in both."""
    found: dict[str, Record] = {}
    for row in rows:
        if row["method"] not in names:
            continue
        other = found.setdefault(row["method"], row)
        if other["tasks"] != row["tasks"]:
            raise ValueError(
                f"{where}: expected one row of {row['method']}, found two that differ; "
                "choose those of one log"
            )
    return found


def _shortened(name: str, row: Record) -> list[str]:
    found = []
    seeds = [seed for seed in SEEDS if seed in row["run"]["seeds"]]
    if name != RANDOM_GUESS and len(seeds) < len(SEEDS):
        found.append(f"{len(seeds)} of {len(SEEDS)} demonstration seeds")
    shots = row["run"]["config"].get("demonstrations", SHOTS)
    if name not in (RANDOM_GUESS, ZERO_SHOT) and shots < SHOTS:
        found.append(f"{shots} of {SHOTS} demonstrations")
    most = row["run"].get("max_records")
    if most is not None:
        found.append(f"only {most} test examples per target")
    return found


def _models(where: str, rows: Sequence[Record]) -> list[Model]:
    groups: dict[str, dict[bool, dict[int, Record]]] = {}
    for row in rows:
        parts = groups.setdefault(_model_key(row), {False: {}, True: {}})
        part = parts[row["run"].get("evaluate") == NO_DEMONSTRATIONS]
        if row["seed"] in part:
            raise ValueError(
                f"{where}: expected one row per training seed, found two of "
                f"{row['method']}, seed {row['seed']}; choose those of one log"
            )
        part[row["seed"]] = row
    return [
        Model(model_name(next(iter(parts[False].values()))), parts[False], parts[True])
        for parts in groups.values()
        if parts[False]
    ]


def model_name(row: Record) -> str:
    """A trained row in words: its method, its budget, what else its training has."""
    run = row["run"]
    changes = dict(run.get("train") or {})
    words = [f"{name} {value}" for name, value in changes.items()]
    if run.get("per_step"):
        words.insert(0, f"{run['per_step']} per step")
    budget = run.get("budget", "gradients")
    return ", ".join([row["method"], f"equal {budget}", *words])


def _model_key(row: Record) -> str:
    """What the rows of one model share: all but the seed, the device, the asking."""
    run = {name: part for name, part in row["run"].items() if name not in ASKING}
    config = {n: x for n, x in run["config"].items() if n not in ("seed", "device")}
    parts = [row["method"], run | {"config": config}]
    return json.dumps(parts, sort_keys=True)


def _plain(row: Record) -> bool:
    return (row["run"].get("evaluate") or {}) in ({}, NO_DEMONSTRATIONS)


def _check_targets(where: str, rows: Sequence[Record]) -> None:
    for row in rows:
        if row["failed"] or set(row["tasks"]) != set(rows[0]["tasks"]):
            raise ValueError(
                f"{where}: expected the same targets in all rows, found others in "
                f"{row['method']}, seed {row['seed']}"
                f"{' (failed: ' + listed(row['failed']) + ')' if row['failed'] else ''}"
            )


def each_once(rows: Iterable[Record]) -> list[Record]:
    """The rows without those that are there before, as where logs are joined.

    Two of one hash with other scores both stay.
    """
    found: dict[tuple, Record] = {}
    for row in rows:
        key = (row.get("hash", id(row)), tuple(sorted(row["tasks"].items())))
        found.setdefault(key, row)
    return list(found.values())


def mean_of(row: Record) -> float:
    """The mean over targets, in points."""
    return fmean(row["tasks"].values())
