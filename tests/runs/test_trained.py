"""Runs that share a training, records of adapted models, processes, checks by date."""

import json
import math
import multiprocessing
import re
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from helpers import distance, records, write_benchmark, write_lines, write_model
from safetensors.torch import load_file, save_file

from maml_en_llm import (
    Adam,
    Adaptation,
    TrainConfig,
    evaluate,
    load_benchmark,
    load_model,
    meta_train,
    parameters,
)
from maml_en_llm.evaluation import evaluate_adapted
from maml_en_llm.protocol import SEEDS
from maml_en_llm.provenance import weights_hash
from maml_en_llm.reproduction import _left
from maml_en_llm.runs import (
    CONTROL,
    Chosen,
    Run,
    RunsFailed,
    compute_again,
    inconsistencies,
    reproduce,
    run_of,
)
from maml_en_llm.runs.again import is_here, stored_records
from maml_en_llm.runs.costs import Pace, units_of_group
from maml_en_llm.runs.failed import failures_of
from maml_en_llm.runs.inputs import SETTINGS
from maml_en_llm.runs.log import missing, read_log, trained_by
from maml_en_llm.runs.store import Store, checksum_of
from maml_en_llm.runs.workers import How, Outcome, compute

LOG = sys.modules["maml_en_llm.runs.log"]
START = sys.modules["maml_en_llm.training.start"]
INPUTS = sys.modules["maml_en_llm.runs.inputs"]
TRAINED = sys.modules["maml_en_llm.runs.trained"]


@pytest.fixture
def config(tmp_path):
    return config_of(tmp_path)


def config_of(tmp_path, train=("a", "b")) -> TrainConfig:
    for cached in (INPUTS._examples, INPUTS._weights, TRAINED._held_tasks):
        cached.cache_clear()
    folder = write_benchmark(
        tmp_path / "tasks", train, ("c", "d"), unseen=("d",), n_train=60
    )
    for task in train:  # examples of their own, which no training reads
        write_lines(
            folder / task / f"{task}_16_100_test.jsonl", records(task, 8, start=900)
        )
        for seed in SEEDS:
            write_lines(
                folder / task / f"{task}_16_{seed}_train.jsonl", records(task, 16)
            )
    return TrainConfig(
        benchmark=str(folder),
        setting="mini",
        model=str(write_model(tmp_path / "model")),
        demonstrations=2,
        steps=3,
        tasks_per_step=2,
        prompts=2,
        max_length=200,
        lr=1e-3,
        inner_lr=1e-3,
    )


def run_of_mini(config, name="MetaICL", **changes) -> Run:
    return Run(
        **dict(name=name, config=config, seeds=(100,), held=1, budget="steps") | changes
    )


def several(config, name="MetaICL") -> list[Run]:
    """One training, four ways to ask."""
    asked = [
        {},
        dict(k=0),
        *(dict(adapt=Chosen(steps=j, rates=(1e-3, 1e-2))) for j in (0, 2)),
    ]
    return [run_of_mini(config, name, evaluate=how) for how in asked]


def test_runs_that_differ_in_their_evaluation_train_once(config, tmp_path, monkeypatch):
    calls = []

    def counted(*given, **how):
        calls.append(given)
        return meta_train(*given, **how)

    monkeypatch.setattr(TRAINED, "meta_train", counted)
    runs, log = several(config), tmp_path / "log"
    rows = reproduce(runs, log)
    assert len(calls) == 1 and len({row["hash"] for row in rows}) == 4
    assert len({row["moved"] for row in rows}) == 1
    plain, _, after_none, after_two = rows
    assert after_none["tasks"] == plain["tasks"]
    assert after_two["adapted"]["rate"] in (1e-3, 1e-2)
    assert set(after_two["adapted"]["held"]) == {"0.001", "0.01"}
    for row in rows:
        assert row["held"]["tasks"] == 2 and row["held"]["nll"] > 0
        assert (
            0 < row["moved_share"] < 1 and row["n"] == 2 and inconsistencies(row) == []
        )
        assert run_of(json.loads(json.dumps(row))).hash == row["hash"]
    # killed after the first: the training is made again, or comes from the store
    store = Store(tmp_path / "store")
    assert (
        reproduce(runs[:1], tmp_path / "second", store=store)[0]["tasks"]
        == plain["tasks"]
    )
    assert len(calls) == 2
    again = reproduce(runs, tmp_path / "second", store=store)
    assert len(calls) == 2 and [row["tasks"] for row in again] == [
        row["tasks"] for row in rows
    ]
    assert again[0]["seconds"] == again[1]["seconds"]
    # demonstrations of targets train nothing
    others = [run_of_mini(config, seeds=(13,))]
    (row,) = reproduce(others, tmp_path / "third", store=store)
    assert len(calls) == 2 and row["seconds"] == again[0]["seconds"]
    kept = trained_by(runs[0], store)  # whatever asks it
    assert len(calls) == 2 and kept.spent["seconds"] == row["seconds"]
    assert kept.record(runs[0])["tasks"] == plain["tasks"]


ADAPTED = dict(adapt=Chosen(steps=1, rates=(0.03,), judged_at=1))
BY_SGD = dict(adapt=replace(ADAPTED["adapt"], optimizer="sgd"))
UNLIKE = {  # row, changes of a run, of its configuration
    "another length": ("in-context", {}, dict(max_length=24)),
    "other held tasks": ("in-context", dict(held=2), {}),
    "another tokenizer": ("in-context", {}, dict(tokenizer="other")),
    "another type": ("in-context", {}, dict(dtype="float64")),
    "another optimizer": ("in-context", dict(evaluate=BY_SGD), {}),
    "trained alike, asked in another length": (
        "MetaICL",
        dict(train=dict(max_length=200)),
        dict(max_length=24),
    ),
    "trained alike, other held tasks": ("MetaICL", dict(held=2), {}),
    "asked in another format": ("MetaICL", dict(evaluate=dict(max_length=24)), {}),
}


# where the length is another, prompts are cut
@pytest.mark.filterwarnings("ignore:max_length. 24 tokens are too few")
@pytest.mark.parametrize(("name", "changes", "about"), UNLIKE.values(), ids=UNLIKE)
def test_a_record_is_the_same_whatever_is_computed_before_it(
    tmp_path, name, changes, about
):
    config = config_of(tmp_path, ("a-1", "a-2", "b-1"))
    if "tokenizer" in about:
        shutil.copytree(config.model, tmp_path / "other")
        _renumber(tmp_path / "other" / "vocab.json")
        about = dict(tokenizer=str(tmp_path / "other"))
    how = dict(evaluate=ADAPTED if name == "in-context" else {})
    one = run_of_mini(config, name, **how)
    two = run_of_mini(replace(config, **about), name, **how | changes)
    after, alone = (
        reproduce(runs, tmp_path / f"{len(runs)}")[-1] for runs in ([one, two], [two])
    )
    for part in ("tasks", "ece", "held", "adapted"):
        assert after.get(part) == alone.get(part)


def _renumber(path):
    """Two words of a tokenizer with each other's ids."""
    content = json.loads(path.read_text())
    content["e"], content["t"] = content["t"], content["e"]
    path.write_text(json.dumps(content))


def test_a_damaged_file_of_the_store_is_passed_over(config, tmp_path):
    store, runs = Store(tmp_path / "store"), several(config)
    first = reproduce(runs[:1], tmp_path / "log", store=store)
    (path,) = (tmp_path / "store").iterdir()
    path.write_bytes(path.read_bytes()[:100])
    again = reproduce(runs[:1], tmp_path / "another", store=store)
    assert again[0]["tasks"] == first[0]["tasks"]


@pytest.mark.parametrize("place", [-2, "seconds"], ids=["weights", "cost"])
def test_a_changed_bit_in_the_store_is_told_and_trained_anew(config, tmp_path, place):
    store, runs = Store(tmp_path / "store"), several(config)
    first = reproduce(runs[:1], tmp_path / "log", store=store)
    (path,) = (tmp_path / "store").iterdir()
    content = bytearray(path.read_bytes())
    content[place if place == -2 else content.index(place.encode())] ^= 1
    path.write_bytes(content)
    with pytest.warns(
        UserWarning, match=f"{path.name}: expected the weights that were"
    ):
        again = reproduce(runs[:1], tmp_path / "another", store=store)
    assert again[0]["tasks"] == first[0]["tasks"]
    reproduce(runs[:1], tmp_path / "third", store=store)  # it is whole again


def test_a_file_of_the_store_without_a_checksum_is_not_there(config, tmp_path):
    store, model = Store(tmp_path), load_model(config.model)[0]
    path = store.path("a")
    store.keep(path, model, {"seconds": 1})
    save_file(load_file(path), path, {"spent": '{"seconds": 1}'})
    assert store.fetch(path, model) is None


UNASKABLE = {  # what is asked, and what is wrong with it
    "bos": (dict(bos=True), "bos: expected a tokenizer with a beginning-of-text"),
    "no instruction": (dict(instructions=True), "instructions: task 'c' has none"),
    "held": (dict(), "held: expected meta-training tasks with options, found none"),
}


@pytest.mark.parametrize(("how", "message"), UNASKABLE.values(), ids=UNASKABLE)
def test_what_cannot_be_asked_is_known_before_the_training(
    config, tmp_path, monkeypatch, how, message
):
    if not how:
        monkeypatch.setattr(TRAINED, "_held_tasks", lambda *_: ((), ""))
    monkeypatch.setattr(START, "load_model", without_bos)
    trained = []
    monkeypatch.setattr(TRAINED, "meta_train", lambda *given: trained.append(given))
    bad = run_of_mini(config, evaluate=how)
    with pytest.warns(UserWarning), pytest.raises(ValueError, match=message):
        reproduce([bad], tmp_path / "log")
    assert not trained
    model, words = without_bos(config.model)
    with pytest.raises(ValueError, match=message):
        bad.compute(load_benchmark(config.benchmark, "mini"), model, words)


def without_bos(name, **how):
    model, words = load_model(name, **how)
    words.bos_token = None
    return model, words


def test_one_that_cannot_be_asked_stops_no_other_of_its_training(config, tmp_path):
    runs = [run_of_mini(config, evaluate=how) for how in (dict(instructions=True), {})]
    with (
        pytest.warns(UserWarning, match="instructions"),
        pytest.raises(RunsFailed) as e,
    ):
        reproduce(runs, tmp_path / "log")
    assert [row["hash"] for row in e.value.rows] == [runs[1].hash]


def test_the_loss_of_a_training_is_that_of_steps_that_were_not_skipped(config):
    bench = load_benchmark(config.benchmark, "mini")

    def loss(inner_lr):
        given = replace(config, inner_lr=inner_lr, skip_steps=3)
        run = run_of_mini(given, "FOMAML")
        return run.compute(bench, *load_model(config.model))["loss"]

    assert loss(1e-3) > 0 and loss(1e34) is None


@pytest.mark.parametrize("what", ["config.json", "vocab.json", "held tasks"])
def test_a_record_counts_for_what_it_was_read_from_only(config, tmp_path, what):
    log, run = tmp_path / "log", run_of_mini(config, max_records=2)
    model, words = load_model(config.model)
    model.save_pretrained(config.model)
    path = tmp_path / "model" / what
    if what == "held tasks":
        path = tmp_path / "tasks" / "a" / "a_16_100_test.jsonl"
    store, before = Store(tmp_path / "store"), path.read_text()
    (first,) = reproduce([run], log, store=store)
    if what == "config.json":
        path.write_text(json.dumps(json.loads(before) | dict(layer_norm_epsilon=0.5)))
    elif what == "vocab.json":
        _renumber(path)
    else:
        write_lines(path, records("a", 8, start=5))
    (second,) = reproduce([run], log, store=store)
    (alone,) = reproduce([run], tmp_path / "alone")
    assert second["held"] == alone["held"] != first["held"]
    assert second["moved"] == alone["moved"]  # trained anew where that decides it
    assert second["inputs"] == first["inputs"] and second["further"] != first["further"]
    assert not is_here(run, first) and is_here(run, second)
    path.write_text(before)
    assert reproduce([run], log) == [first] and len(read_log(log)) == 2


def files_of_tokenizers() -> set[str]:
    """The names of all files that a tokenizer of `transformers` is read from."""
    names = re.compile(r"^VOCAB_FILES_NAMES = {([^}]*)}", re.MULTILINE)
    folder = Path(transformers.__file__).parent / "models"
    codes = [path.read_text() for path in folder.glob("*/tokenization_*.py")]
    found = [part for code in codes for part in names.findall(code)]
    return {name for part in found for name in re.findall(r': "([^"]+)"', part)}


def test_whatever_file_a_tokenizer_is_read_from_is_an_input(tmp_path):
    files = files_of_tokenizers()
    assert {"vocab.json", "merges.txt", "bpe.codes", "emoji.json"} <= files
    for file in files:
        (tmp_path / file).write_text("")
    read = {path.name for kind in SETTINGS for path in tmp_path.glob(kind)}
    assert files - read == set()


def test_a_record_of_before_these_were_hashed_counts(config, tmp_path, monkeypatch):
    log, run = tmp_path / "log", run_of_mini(config, "in-context")
    (row,) = reproduce([run], log)
    older = {name: x for name, x in row.items() if name not in ("further", "seal")}
    older["seal"] = LOG.seal(older)
    write_lines(log, [older])
    assert reproduce([run], log) == [older] and is_here(run, older)
    monkeypatch.setattr(LOG, "code_below", lambda: "other")
    assert missing([run], log, old=True) == [] and len(missing([run], log)) == 1


STORED = {  # what a file of the store might hold instead
    "fewer": lambda weights, _: weights.popitem(),
    "more": lambda weights, _: weights.update(weird=torch.ones(1)),
    "not a number": lambda weights, _: next(iter(weights.values())).fill_(math.nan),
    "half": lambda weights, _: weights.update(
        {n: w.half() for n, w in weights.items()}
    ),
    "long": lambda weights, _: weights.update(
        {n: w.long() for n, w in weights.items()}
    ),
    "a list": lambda _, about: about.update(spent="[1]"),
    "deep": lambda _, about: about.update(spent="[" * 100_000),
}


@pytest.mark.parametrize("change", STORED.values(), ids=STORED)
def test_what_the_store_would_not_keep_is_not_fetched(config, tmp_path, change):
    store, model = Store(tmp_path), load_model(config.model)[0]
    path = store.path("a")
    store.keep(path, model, {"seconds": 1})
    assert store.fetch(path, model) == {"seconds": 1}
    weights, about = load_file(path), {"spent": '{"seconds": 1}'}
    change(weights, about)
    about["sha256"] = checksum_of(about["spent"], weights)
    save_file(weights, path, about)
    before = weights_hash(model)
    assert store.fetch(path, model) is None and weights_hash(model) == before


def test_where_rates_are_tuned_no_target_is_looked_at(config, tmp_path, monkeypatch):
    monkeypatch.setattr(TRAINED, "evaluate", None)
    (row,) = reproduce([run_of_mini(config, targets=False)], tmp_path / "log")
    assert row["tasks"] == {} and row["mean"] is None and row["held"]["nll"] > 0
    assert inconsistencies(row) == []


def test_the_control_takes_the_same_way_as_maml_at_rate_0(config):
    """In first order, which at α = 0 is the second; and another way than at α > 0."""
    bench = load_benchmark(config.benchmark, "mini")

    def end(name, **train):
        model, tokenizer = load_model(config.model)
        training = run_of_mini(config, name, train=train).training
        meta_train(model, tokenizer, bench.train, training)
        return parameters(model)

    control = end(CONTROL)
    same = end("MAML-en-LLM", inner_lr=0.0)
    other = end("MAML-en-LLM")
    # what rounding does: the same run in float32 with its prompts one by one
    split = end(CONTROL, prompts_at_once=1)
    rounding = max(distance(control, split), 1e-7)
    assert distance(control, same) <= 10 * rounding
    assert distance(control, other) > 20 * rounding


def test_one_way_through_the_steps_gives_every_record_on_it(config):
    bench = load_benchmark(config.benchmark, "mini", seeds=(100, 13))
    model, tokenizer = load_model(config.model)
    how = dict(seeds=(100, 13), max_length=200, max_records=4)
    for k in (0, 3):
        found = evaluate_adapted(
            model, tokenizer, bench, optimizer=Adam(1e-2), steps=(2, 0, 1), k=k, **how
        )
        assert list(found) == [0, 1, 2]
        for j, row in found.items():
            adapt = Adaptation(steps=j, optimizer=Adam(1e-2))
            alone = evaluate(model, tokenizer, bench, adapt=adapt, k=k, **how)
            assert row["tasks"] == alone["tasks"] and row["mean"] == alone["mean"]
    assert not any(p.grad is not None for p in model.parameters())
    with pytest.raises(ValueError, match="steps: expected a whole number"):
        evaluate_adapted(model, tokenizer, bench, optimizer=Adam(1e-2), steps=[-1])


# --- records of older code ---


def test_records_of_older_code_count_where_that_is_said(config, tmp_path, monkeypatch):
    runs, log = several(config)[:2], tmp_path / "log"
    rows = reproduce(runs, log)
    monkeypatch.setattr(LOG, "code_below", lambda: "other")
    assert missing(runs, log, old=True) == [] and len(missing(runs, log)) == 1
    assert reproduce(runs, log, old=True) == rows
    assert reproduce(runs, log) != rows and len(read_log(log)) == 4


# --- several processes, and a time ---


def test_processes_share_the_runs_and_one_failure_stops_no_other(config, tmp_path):
    log = tmp_path / "log.jsonl"
    bad = run_of_mini(replace(config, demonstrations=16, seed=3, prompts=50))
    too = replace(bad, evaluate=dict(k=0))  # of the same training
    runs = [*several(config), bad, too, *several(replace(config, seed=2), CONTROL)]
    heard = []
    found = compute(
        runs,
        log,
        How(jobs=2),
        lambda row, done, total: heard.append((row, done, total)),
    )
    assert len(found.rows) == 8 and found.left == 0
    assert len(found.failed) == 2
    assert all(reason.startswith("MetaICL, mini: ") for reason in found.failed)
    (noted,) = _lines(failures_of(log))
    assert noted["hash"] == bad.hash and "different examples" in noted["error"]
    assert len(heard) == 8 and all(0 <= done <= total for _, done, total in heard)
    alone = reproduce(
        [run for run in runs if run not in (bad, too)], tmp_path / "alone"
    )
    assert [row["tasks"] for row in alone] == [row["tasks"] for row in found.rows]


class Dying:
    """A worker whose process ends when it begins with a group."""

    made: list[int] = []

    def __init__(self, log, how, jobs):
        self.made.append(jobs)
        self.connection, theirs = multiprocessing.Pipe()
        theirs.close()

    def start(self, group):
        self.group = group

    def stop(self):
        self.connection.close()


def test_every_run_of_a_process_that_dies_is_named(config, tmp_path, monkeypatch):
    monkeypatch.setattr("maml_en_llm.runs.workers.Worker", Dying)
    runs = [*several(config), run_of_mini(config, "majority")]
    there = [runs[0]]
    reproduce(there, tmp_path / "log")
    found = compute(runs, tmp_path / "log", How(jobs=8))
    assert len(found.rows) == 1 and found.left == 0
    names = sorted(reason.partition(":")[0] for reason in found.failed)
    assert names == ["MetaICL"] * 3 + ["majority"]
    assert Dying.made == [2, 2]  # none in place of the dead: nothing waits for it


def test_no_run_is_begun_that_would_not_end_in_time(config, tmp_path):
    long = run_of_mini(replace(config, steps=10_000_000))
    found = compute([long], tmp_path / "log", How(minutes=0.1))
    assert (found.rows, found.failed, found.left) == ([], [], 1)
    assert found.given_up == 0


def test_a_run_that_outlasts_its_time_is_given_up_and_told(
    config, tmp_path, monkeypatch
):
    monkeypatch.setattr(Pace, "seconds", lambda *_: 0.0)
    long = run_of_mini(replace(config, steps=10_000_000))
    short = run_of_mini(replace(config, steps=9_000_000))
    found = compute([long, short], tmp_path / "log", How(minutes=0.02))
    assert (found.rows, found.failed, found.left) == ([], [], 2)
    assert found.given_up == 1
    assert "2 are left, 1 of them begun and given up" in _left(found)
    assert "given up" not in _left(Outcome([], left=1)) and not _left(Outcome([]))


def test_who_stops_it_finds_the_log_without_locks_beside_it(
    config, tmp_path, monkeypatch
):
    locks = tmp_path / "records" / ".log.locks"

    def stop(*_):
        while not locks.exists():
            time.sleep(0.05)
        raise KeyboardInterrupt

    locks.parent.mkdir()
    monkeypatch.setattr("maml_en_llm.runs.workers.wait", stop)
    long = run_of_mini(replace(config, steps=10_000_000))
    with pytest.raises(KeyboardInterrupt):
        compute([long], tmp_path / "records" / "log", How())
    assert not list(locks.parent.iterdir())


@pytest.mark.parametrize(
    "bad", [dict(jobs=0), dict(minutes=0), dict(minutes=float("inf"))]
)
def test_bad_how(bad):
    with pytest.raises(ValueError, match="jobs|minutes"):
        How(**bad)


def test_a_pace_is_learned(config):
    pace, group = Pace(), several(config)
    units = units_of_group(group)
    assert pace.seconds(group) == pytest.approx(units)
    pace.note("MetaICL", 6 * units, units)
    assert pace.seconds(group) == pytest.approx(6 * units)
    assert (
        pace.seconds(several(config, CONTROL)) > 6 * units
    )  # of the others, until known
    assert units < sum(units_of_group([run]) for run in group)


# --- checks ---


def test_records_are_checked_and_a_changed_number_is_found(config, tmp_path):
    log = tmp_path / "mini.jsonl"
    rows = reproduce([*several(config), run_of_mini(config, "majority", held=0)], log)
    assert [row for _, row in stored_records(tmp_path)] == rows
    done = compute_again(rows, 3, date="2026-01-01")
    assert len(done.checked) == 3 and done.differences == [] and done.of_others == 0
    chosen = {
        compute_again(rows, 1, date=f"2026-01-{d:02}").checked[0]["hash"]
        for d in (1, 2, 3, 4, 5)
    }
    assert len(chosen) > 1
    for change in (
        dict(tasks=rows[0]["tasks"] | {"c": 1.0}),
        dict(held=rows[0]["held"] | {"nll": 0.1}),
        dict(moved=0.5),
    ):
        assert compute_again(
            [rows[0] | change, *rows[1:]], 1, date="2026-01-01"
        ).differences
    # also where whoever changed it knew how to seal it
    forged = rows[0] | dict(tasks={"c": 0.0, "d": 0.0}, mean=0.0, unseen_mean=0.0)
    forged["seal"] = LOG.seal(forged)
    assert inconsistencies(forged) == []
    assert compute_again([forged], 1).differences
    other = [row | dict(inputs="other") for row in rows]
    assert compute_again(other, 1).of_others == 5


def test_a_record_of_a_base_model_that_is_not_here_is_passed_over(config, tmp_path):
    (row,) = reproduce([run_of_mini(config, "in-context", held=0)], tmp_path / "log")
    gone = f"./{tmp_path.name}/gone"
    elsewhere = replace(run_of(row), config=replace(run_of(row).config, model=gone))
    of_gone = row | dict(hash=elsewhere.hash)
    of_gone["run"] = row["run"] | dict(config=row["run"]["config"] | dict(model=gone))
    of_gone["seal"] = LOG.seal(of_gone)
    done = compute_again([of_gone, row], 1)
    assert done.differences == [] and done.of_others in (0, 1)
    assert [each["hash"] for each in done.checked] == [row["hash"]]
    assert compute_again([of_gone], 1).of_others == 1


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]
