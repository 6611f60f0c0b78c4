"""Experiments E1 to E6: their grids, their budgets, their rates, and the control."""

import json
import math
from dataclasses import replace

import pytest

from maml_en_llm import DataError
from maml_en_llm.runs import (
    CONTROL,
    EXPERIMENTS,
    Chosen,
    Run,
    get_experiment,
    get_preset,
    rates,
)
from maml_en_llm.runs.experiments.table import CELLS, FURTHER, PRIMARY, Table
from maml_en_llm.runs.rates import best_rates, has_inner_rate, rates_of, trials_of

TINY = replace(get_preset("mini"), model="tiny-base")
TUNED = (*PRIMARY, *FURTHER)
NEW = [name for name in EXPERIMENTS if name != "baselines"]


@pytest.fixture(autouse=True)
def no_rates(monkeypatch, tmp_path):
    """Without the published search."""
    monkeypatch.setattr(rates, "RATES_FILE", tmp_path / "tuning.json")


def trained(runs):
    return [run for run in runs if run.training is not None]


@pytest.mark.parametrize("name", NEW)
def test_a_grid_of_runs_each_once(name):
    experiment = get_experiment(name)
    runs = experiment.runs(TINY)
    assert runs and len({run.hash for run in runs}) == len(runs)
    assert len(experiment.about) > 20
    assert {run.rates for run in trained(runs)} <= {"untuned", ""}
    assert all(run.held for run in trained(runs))


def test_the_primary_comparison_comes_first_seed_by_seed():
    runs = trained(get_experiment("E1").runs(TINY, cells=CELLS[:1]))
    first = runs[: 2 * len(PRIMARY)]  # two budgets
    assert {run.name for run in first} == set(PRIMARY)
    assert {(run.config.seed, run.training.steps) for run in first} == {(1, 320)}
    assert {run.budget for run in first} == {"steps", "gradients"}
    assert runs[len(first)].config.seed == 2
    lengths = [run.training.steps for run in runs]
    assert lengths == sorted(lengths, key=[320, 160, 640, 1280].index)


def test_three_budgets_give_every_method_as_much():
    table = Table(TINY)

    def n(name, budget):
        return table.run(name, CELLS[0], budget=budget).training.tasks_per_step

    found = {
        name: [n(name, b) for b in ("steps", "prompts", "gradients")]
        for name in PRIMARY
    }
    assert found == {
        "MetaICL": [4, 8, 16],
        "MAML-en-LLM": [4, 4, 4],
        CONTROL: [4, 4, 4],
        "FOMAML": [4, 4, 8],
        "Reptile": [4, 4, 8],
    }


def test_the_control_is_maml_at_rate_0_and_nothing_else():
    table = Table(TINY)
    control = table.run(CONTROL, CELLS[0], train=dict(inner_lr=1.0)).training
    ours = table.run("MAML-en-LLM", CELLS[0]).training
    assert control.inner_lr == 0
    assert replace(control, method=ours.method, inner_lr=ours.inner_lr) == ours


def test_choices_cut_an_experiment():
    runs = get_experiment("E2").runs(
        TINY,
        cells=["qa_to_qa:channel"],
        seeds=[3],
        j=[0, 2],
        shown=["without"],
        names=["FOMAML"],
    )
    assert {run.config.mode for run in runs} == {"channel"}
    assert {run.evaluation["adapt"].steps for run in runs} == {0, 2}
    assert {run.evaluation["k"] for run in runs} == {0}
    for name, bad in (
        ("E1", dict(cells=["hr_to_lr"])),
        ("E1", dict(cells=["hr:direct"])),
        ("E1", dict(cells=[5])),
        ("E1", dict(budgets=["time"])),
        ("E1", dict(seeds=[])),
        ("E2", dict(shown=["both"])),
        ("E4", dict(parts=["m"])),
        ("E5", dict(parts=["m"])),
        ("E5", dict(n=[1, 1])),
        ("tuning", dict(trials=0)),
        *((name, dict(steps=0)) for name in NEW if name != "E1"),
        ("E1", dict(steps=[0])),
        ("E4", dict(times=[3])),
        ("E4", dict(times=[1, 1])),
        ("E4", dict(times=[0.5], parts=["inner rate"])),
        ("E6", dict(times=[0.5, 0.5])),
        ("E6", dict(times=[1e308])),
        ("E6", dict(rated=["zero-shot"], parts=["rates"])),
        ("E6", dict(rated=["x"], parts=["fresh"])),
        *((name, dict(names=["in-context"])) for name in ("tuning", "E3", "E4", "E6")),
        ("E1", dict(seeds=5)),
        ("E1", dict(seeds=[[1], [1]])),
    ):
        with pytest.raises(ValueError, match=f"{next(iter(bad))}.*: expected|choices"):
            get_experiment(name).runs(TINY, **bad)


def test_kinds_of_tasks_are_compared_at_equal_counts():
    runs = trained(get_experiment("E5").runs(TINY, parts=["kind"], seeds=[1]))
    lists = {}
    for run in runs:
        share = run.training.task_share
        lists.setdefault(run.config.setting, set()).add(share)
    assert len(lists) == 2 and 1.0 in set.union(*lists.values())


# --- tuned rates ---


def test_random_labels_beside_the_right_ones_for_the_base_and_each_row():
    runs = get_experiment("E5").runs(TINY, parts=["labels"], seeds=[1, 2])
    named = [(run.name, run.evaluate) for run in runs]
    for name in ("in-context", "MetaICL", "MAML-en-LLM", CONTROL):
        seeds = 1 if name == "in-context" else 2
        for asked in (dict(k=16), dict(k=16, random_labels=True)):
            assert named.count((name, asked)) == seeds
    shown = get_experiment("E5").runs(TINY, parts=["demonstrations"], seeds=[1, 2])
    right = {run.hash for run in trained(runs) if "random_labels" not in run.evaluate}
    assert right <= {run.hash for run in shown}  # computed once


def test_as_many_trials_for_every_row():
    runs = get_experiment("tuning").runs(TINY, trials=4)
    counts = {name: sum(run.name == name for run in runs) for name in TUNED}
    assert set(counts.values()) == {4}
    assert not any(run.targets for run in runs)
    assert [run.name for run in runs[: len(counts)]] == list(TUNED)
    inner = {name: has_inner_rate(name) for name in TUNED}
    assert [name for name, has in inner.items() if has] == [
        "MAML-en-LLM",
        "FOMAML",
        "Reptile",
    ]


def trial(name, i, nll, seed=101) -> dict:
    run = dict(
        train=trials_of(name, 8)[i],
        config=dict(model="tiny-base", benchmark="minicrossfit"),
    )
    return dict(method=name, run=run, seed=seed, held=dict(nll=nll, score=50.0))


def test_the_best_of_the_trials_that_all_rows_have():
    rows = [trial("MetaICL", i, nll) for i, nll in enumerate((0.9, 0.7, 0.1))]
    rows += [trial("FOMAML", i, nll) for i, nll in enumerate((0.5, 0.6))]
    rows += [trial("FOMAML", 3, 0.0)]  # its third trial is not there
    rows += [trial("FOMAML", 0, 0.8, seed=102)]  # two seeds: 0.65 on average
    found = best_rates(rows)
    assert found["trials"] == 2
    assert found["rates"]["MetaICL"]["nll"] == 0.7
    assert found["rates"]["FOMAML"]["lr"] == trials_of("FOMAML", 2)[1]["lr"]
    with pytest.raises(ValueError, match="tuning: expected records"):
        best_rates([])


def test_a_trial_without_a_held_nll_never_wins():
    rows = [trial("MetaICL", i, nll) for i, nll in enumerate((math.nan, 0.7))]
    with pytest.raises(ValueError, match="held nll of MetaICL at .*lr.*found nan"):
        best_rates(rows)
    good = trial("MetaICL", 0, 0.9)
    for damage in ({}, 5, good | dict(held=None), good | dict(method=["MetaICL"])):
        with pytest.raises(DataError, match="tuning: row 2: expected the record of a"):
            best_rates([good, damage])


def test_rates_come_from_the_record_of_the_search_alone():
    assert rates_of("MetaICL", TINY) == (dict(lr=TINY.lr), "untuned")
    rows = [trial("MetaICL", i, nll) for i, nll in enumerate((0.9, 0.7))]
    rates.RATES_FILE.write_text(json.dumps(best_rates(rows)))
    tuned = trials_of("MetaICL", 2)[1]
    assert rates_of("MetaICL", TINY) == (tuned, "tuned")
    run = Table(TINY).run("MetaICL", CELLS[0])
    assert run.training.lr == tuned["lr"] and run.rates == "tuned"
    assert rates_of("FOMAML", TINY)[1] == "untuned"  # it was not searched for
    other = replace(TINY, model="another")
    assert rates_of("MetaICL", other)[1] == "untuned"


def test_a_second_base_runs_at_the_rates_of_the_first_only_where_it_says_so():
    rows = [trial("MetaICL", i, nll) for i, nll in enumerate((0.9, 0.7))]
    rates.RATES_FILE.write_text(json.dumps(best_rates(rows)))
    tuned = trials_of("MetaICL", 2)[1]
    second = replace(TINY, model="another")
    assert rates_of("MetaICL", second, TINY.model) == (tuned, "")
    how = dict(cells=CELLS[:1], seeds=[1], names=["MetaICL"], rates=TINY.model)
    for name in ("E1", "E2"):
        found = [r for r in get_experiment(name).runs(second, **how) if r.training]
        assert found and all(r.training.lr == tuned["lr"] for r in found)
        assert {r.rates for r in found} == {""}
    for model, benchmark in (("a third", TINY.benchmark), (TINY.model, "other")):
        asked = replace(second, benchmark=benchmark)
        with pytest.raises(ValueError, match="rates: expected .*, the model of tuni"):
            rates_of("MetaICL", asked, model)


NO_RATES = [
    *("{", "[]", "5", "null", "[" * 100_000, '{"rates": []'),
    '{"rates": [["MetaICL", {"lr": 0.1}]]}',
    *(
        json.dumps({"rates": {"MetaICL": own}})
        for own in (5, {}, {"lr": "x"}, {"lr": -1}, {"lr": 0.1, "inner_lr": None})
    ),
]


@pytest.mark.parametrize("text", NO_RATES, ids=[text[:40] for text in NO_RATES])
def test_a_damaged_record_of_a_search_is_named(text):
    rates.RATES_FILE.write_text(text)
    with pytest.raises(ValueError, match="tuning.json: expected the record of a sea"):
        rates_of("MetaICL", TINY)
    assert get_experiment("tuning").runs(TINY)  # the search itself does not read it


# --- what a run may ask ---

BAD = {
    "rates chosen on nothing": (
        dict(evaluate=dict(adapt=Chosen(steps=1))),
        "held: expected",
    ),
    "nothing looked at": (dict(targets=False), "held: expected"),
    "targets": (dict(targets=1), "targets: expected True or False"),
    "held": (dict(held=-1), "held: expected a whole number"),
    "per step": (dict(per_step=0), "per_step: expected a whole number"),
    "rates": (dict(rates="best"), "rates: expected one of"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_bad_run_of_an_experiment(changes, message):
    config = TINY.train_config()
    with pytest.raises(ValueError, match=message):
        Run(**dict(name="MetaICL", config=config, seeds=(100,)) | changes)


@pytest.mark.parametrize(
    "changes",
    [
        dict(steps=-1),
        dict(steps=10**6),
        dict(steps=1, judged_at=10**6),
        dict(steps=1, rates=()),
        dict(steps=1, rates=(math.nan,)),
    ],
)
def test_bad_chosen(changes):
    with pytest.raises(ValueError, match="steps|judged_at|rates"):
        Chosen(**changes)


def test_rates_and_cells_that_are_none_are_said():
    for rates_of_none in (5, "abc", None):
        with pytest.raises(ValueError, match="^rates: expected a list, found"):
            Chosen(steps=1, rates=rates_of_none)
    with pytest.raises(ValueError, match="^cells: expected one of .* found None"):
        Table(TINY).cell(None)
