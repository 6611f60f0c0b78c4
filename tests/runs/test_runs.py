"""Runs: every method at one budget, kept in a log, and the published table recomputed."""

import json
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from helpers import records, write_benchmark, write_lines, write_model

from maml_en_llm import SGD, Adam, TrainConfig, evaluate, load_benchmark, load_model
from maml_en_llm.evaluation import adaptation_curve, choose_rate
from maml_en_llm.protocol import SEEDS
from maml_en_llm.runs import METHODS, RULES, Run, baselines, reproduce
from maml_en_llm.runs.run import GRADIENTS
from maml_en_llm.tasks import load_settings as settings

PUBLISHED = Path(__file__).parents[1] / "results/baselines.json"
BASE = TrainConfig(
    benchmark="minicrossfit",
    model="tiny-base",
    setting="non_nli_to_nli",
    steps=2,
    lr=2e-3,
    inner_lr=4e-4,
    sampling="uniform",
    max_length=512,
)


def table(**changes) -> list[Run]:
    sizes = dict(modes=["direct"], seeds=[1], demonstration_seeds=(100,), max_records=6)
    return baselines(BASE, **sizes | changes)


def test_all_methods_have_the_same_budget(tmp_path):
    rows = reproduce(table(), tmp_path / "log")
    assert [row["method"] for row in rows] == [*METHODS, *RULES]
    for row in rows:
        trains = row["method"] in METHODS and METHODS[row["method"]].train is not None
        assert (
            ("budget" in row) == trains
            and row["failed"] == {}
            and 0 <= row["mean"] <= 100
        )
        assert set(row["unseen"]) < set(row["tasks"])
        if trains:
            assert row["budget"]["gradients"] == BASE.steps * GRADIENTS
            assert 1 < row["loss"] < 20
    means = {row["method"]: row["mean"] for row in rows}
    assert means["oracle"] > means["random guess"] + 10


def test_an_interrupted_table_goes_on(tmp_path, monkeypatch):
    runs = [
        run
        for run in table()
        if run.name in ("zero-shot", "majority", "oracle", "MetaICL")
    ]
    first = reproduce(runs[:2], tmp_path / "log")
    computed = []
    rows = reproduce(
        runs, tmp_path / "log", progress=lambda row: computed.append(row["method"])
    )
    assert computed == [run.name for run in runs[2:]] and rows[:2] == first
    monkeypatch.setattr(Run, "compute", None)  # nothing is left to do
    assert reproduce(runs, tmp_path / "log") == rows


def test_what_depends_on_neither_seed_nor_mode_is_computed_once():
    runs = table(modes=["direct", "channel"], seeds=[1, 2])
    assert len({run.hash for run in runs}) == len(runs)
    count = {name: sum(run.name == name for run in runs) for name in (*METHODS, *RULES)}
    assert count == {
        "zero-shot": 2,
        "PMI zero-shot": 1,
        "in-context": 2,
        "PMI in-context": 1,
        "oracle": 1,
        "majority": 1,
        "random guess": 1,
    } | {name: 4 for name, method in METHODS.items() if method.train is not None}


@pytest.mark.parametrize("name", [field.name for field in fields(Run)])
def test_hash_changes_with_every_field(name):
    run = table()[0]
    other = dict(
        name="MetaICL", config=replace(BASE, seed=9), seeds=(13,), max_records=7
    )[name]
    assert replace(run, **{name: other}).hash != run.hash


def test_a_run_passes_its_whole_configuration_on(monkeypatch, tmp_path):
    told = {}
    module = sys.modules["maml_en_llm.runs.log"]
    monkeypatch.setattr(
        sys.modules["maml_en_llm.runs.run"],
        "evaluate",
        lambda *a, **how: told.update(how) or evaluate(*a, **how),
    )
    monkeypatch.setattr(
        module,
        "load_benchmark",
        lambda *a, **how: told.update(how) or load_benchmark(*a, **how),
    )
    config = replace(
        BASE, max_example_length=64, demonstrations=3, faithful=True, mode="channel"
    )
    reproduce(
        [Run(name="in-context", config=config, seeds=(100,), max_records=2)],
        tmp_path / "log",
    )
    expected = dict(
        max_example_length=64,
        k=3,
        faithful=True,
        mode="channel",
        seeds=(100,),
        max_records=2,
    )
    assert {name: told[name] for name in expected} == expected


def test_a_log_counts_for_its_own_inputs_only_and_may_be_torn(tmp_path):
    folder, log = write_benchmark(tmp_path / "tasks"), tmp_path / "log"
    write_model(tmp_path / "model")
    config = TrainConfig(
        benchmark=str(folder), setting="mini", model=str(tmp_path / "model")
    )
    run = Run(name="majority", config=config, seeds=(100,))
    (first,), whole = reproduce([run], log), log.read_text()
    log.write_text(whole + whole[:20])
    assert reproduce([run], log) == [first] and log.read_text() == whole
    module = sys.modules["maml_en_llm.runs.log"]
    module._fingerprint.cache_clear()  # another process
    write_lines(folder / "c" / "c_16_100_test.jsonl", records("c", 9, start=500))
    (second,) = reproduce([run], log)
    assert (
        second["inputs"] != first["inputs"] and len(log.read_text().splitlines()) == 2
    )


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        (dict(inner_steps=3), False),
        (dict(inner_steps=4), True),
        (dict(inner_steps=4, inner_batch="all"), True),
    ],
)
def test_a_budget_that_cannot_be_equal_is_refused(changes, fits):
    run = Run(name="MAML-en-LLM", config=replace(BASE, **changes), seeds=(100,))
    if not fits:
        with pytest.raises(
            ValueError,
            match="inner_steps: expected a cost that divides 16 gradients, found 12 a task at 3 steps",
        ):
            run.training
    else:
        assert run.training.tasks_per_step == (4 if "inner_batch" in changes else 1)


def test_unknown_method():
    with pytest.raises(
        ValueError, match="name: expected one of zero-shot, .* found 'maml'"
    ):
        replace(table()[0], name="maml")


# --- the published table ---


@pytest.fixture(scope="module")
def published():
    return json.loads(PUBLISHED.read_text())


def test_the_published_table_is_whole(published):
    found = {(row["setting"], row["mode"], row["method"]) for row in published["rows"]}
    expected = {
        (s, mode, n)
        for s in settings("minicrossfit")
        for n, m in METHODS.items()
        for mode in m.modes
    }
    assert expected <= found and all(row["failed"] == {} for row in published["rows"])
    for row in published["rows"]:
        if "budget" in row:
            assert row["budget"]["gradients"] == published["sizes"]["steps"] * GRADIENTS


@pytest.mark.parametrize(
    "name",
    ["zero-shot", "in-context", "PMI in-context", "oracle", "multi-task zero-shot"],
)
def test_rows_of_the_published_table_are_computed_again(published, name):
    stored = next(
        row
        for row in published["rows"]
        if row["method"] == name and row["setting"] == "non_nli_to_nli"
    )
    sizes = published["sizes"]
    config = replace(
        BASE, steps=sizes["steps"], seed=stored["seed"], mode=stored["mode"]
    )
    run = Run(
        name=name,
        config=config,
        seeds=SEEDS[: sizes["demonstration_seeds"]],
        max_records=sizes["records"],
    )
    assert run.hash == stored["hash"]
    bench = load_benchmark("minicrossfit", "non_nli_to_nli", seeds=run.seeds)
    fresh = run.compute(bench, *load_model("tiny-base"))
    # training amplifies how another processor rounds; nothing else may differ
    assert fresh["mean"] == pytest.approx(
        stored["mean"], abs=5 if run.training else 0.5
    )
    assert list(fresh["tasks"]) == list(stored["tasks"])


# --- adaptation curves ---


def test_adaptation_curve_begins_at_the_model_as_it_is():
    bench = load_benchmark(
        "minicrossfit:easy",
        "class_to_class",
        seeds=[100],
        tasks=["colour-travel", "size-sea"],
    )
    model, words = load_model("tiny-base")
    how = dict(seeds=[100], max_length=512, max_records=16)
    curve = adaptation_curve(
        model, words, bench, optimizer=Adam(3e-3), steps=(0, 8), **how
    )
    for name, k in (("with", 16), ("without", 0)):
        assert (
            curve[name][0]["tasks"]
            == evaluate(model, words, bench, k=k, **how)["tasks"]
        )
    assert (
        curve["without"][8]["mean"] > curve["without"][0]["mean"]
    )  # what is not in the prompt has gone into the weights


def test_the_rate_is_chosen_on_meta_training_tasks():
    bench = load_benchmark("minicrossfit:easy", "class_to_class", seeds=[100])
    model, words = load_model("tiny-base")
    rate = choose_rate(
        model, words, bench.train, rates=(1e-8, 1e-3, 1.0), n_tasks=3, max_length=512
    )
    assert rate == 1e-3
    assert (
        choose_rate(
            model,
            words,
            bench.train,
            rates=(0.05,),
            make=SGD,
            n_tasks=1,
            max_length=512,
        )
        == 0.05
    )
    assert (
        choose_rate(
            model, words, bench.train, rates=(1e-3, 1e30), n_tasks=2, max_length=512
        )
        == 1e-3
    )
    with pytest.raises(
        ValueError,
        match="rates: expected one that leaves scores finite, found none among",
    ):
        choose_rate(model, words, bench.train, rates=(1e30,), n_tasks=1, max_length=512)
    with pytest.raises(
        ValueError,
        match="tasks: expected tasks with options and more than 16 records, found none",
    ):
        choose_rate(model, words, [])
