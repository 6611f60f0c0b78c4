"""Runs: every method at one budget, hashes, and grids."""

import json
import sys
from dataclasses import fields, replace

import numpy
import pytest

from maml_en_llm import (
    Adam,
    Adaptation,
    TrainConfig,
    evaluate,
    load_benchmark,
    load_model,
)
from maml_en_llm import runs as room
from maml_en_llm.provenance import plain
from maml_en_llm.runs import (
    EXPERIMENTS,
    GRADIENTS_PER_STEP,
    METHODS,
    RULES,
    Chosen,
    Method,
    Run,
    baselines,
    get_experiment,
    get_preset,
    grid,
    reproduce,
)
from maml_en_llm.tasks import load_settings

BASE = get_preset("cpu").train_config(
    setting="non_nli_to_nli", steps=2, inner_steps=1, prompts=1
)


def table(base=BASE, **changes) -> list[Run]:
    sizes = dict(modes=["direct"], seeds=[1], demonstration_seeds=(100,), max_records=6)
    return baselines(base, **sizes | changes)


def run_of(name: str = "in-context", **changes) -> Run:
    return Run(**dict(name=name, config=BASE, seeds=(100,), max_records=4) | changes)


# --- a table ---


@pytest.mark.long
def test_all_methods_have_the_same_budget(tmp_path):
    base = replace(BASE, steps=1)
    rows = reproduce(table(base), tmp_path / "log")
    assert [row["method"] for row in rows] == [*METHODS, *RULES]
    for row in rows:
        trains = row["method"] in METHODS and METHODS[row["method"]].train is not None
        assert ("budget" in row) == trains
        assert row["failed"] == {} and 0 <= row["mean"] <= 100
        assert set(row["unseen"]) < set(row["tasks"])
        about = row["provenance"]
        assert about["device"] == "cpu" and about["seconds"] > 0
        assert {"code", "versions", "date", "command", "threads"} <= set(about)
        if trains:
            assert row["budget"]["gradients"] == base.steps * GRADIENTS_PER_STEP
            assert 1 < row["loss"] < 20 and row["moved"] > 0
    means = {row["method"]: row["mean"] for row in rows}
    assert means["oracle"] > means["random guess"] + 10
    assert json.loads(json.dumps(rows)) == rows


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


def test_a_run_passes_its_whole_configuration_on(monkeypatch, tmp_path):
    told = {}

    def telling(function):
        return lambda *a, **how: told.update(how) or function(*a, **how)

    run_module, start_module, inputs_module = (
        sys.modules[f"maml_en_llm.{name}"]
        for name in ("runs.trained", "training.start", "runs.inputs")
    )
    monkeypatch.setattr(run_module, "evaluate", telling(evaluate))
    monkeypatch.setattr(inputs_module, "load_benchmark", telling(load_benchmark))
    monkeypatch.setattr(start_module, "load_model", telling(load_model))
    inputs_module._examples.cache_clear()
    config = replace(
        BASE, max_example_length=64, demonstrations=3, faithful=True, mode="channel"
    )
    adapt = Adaptation(steps=1, optimizer=Adam(1e-3))
    run = run_of(config=config, max_records=2, evaluate=dict(adapt=adapt))
    (row,) = reproduce([run], tmp_path / "log")
    expected = dict(
        max_example_length=64,
        k=3,
        faithful=True,
        mode="channel",
        seeds=(100,),
        max_records=2,
        adapt=adapt,
        device="cpu",
        dtype="float32",
    )
    assert {name: told[name] for name in expected} == expected
    assert row["run"]["evaluate"]["adapt"]["steps"] == 1
    inputs_module._examples.cache_clear()


# --- any training, any budget ---


@pytest.mark.parametrize(
    ("changes", "n"),
    [
        (dict(inner_steps=4), 1),
        (dict(inner_steps=4, inner_batch="all"), 4),
        (dict(inner_steps=1), 4),
    ],
)
def test_equal_gradients(changes, n):
    run = run_of("MAML-en-LLM", config=replace(BASE, **changes))
    assert run.training.tasks_per_step == n


@pytest.mark.parametrize(
    ("name", "budget", "n"),
    [
        ("MetaICL", "gradients", 16),
        ("MetaICL", "prompts", 16),
        ("MetaICL", "steps", 4),
        ("MAML-en-LLM", "gradients", 4),
        ("MAML-en-LLM", "prompts", 8),
        ("MAML-en-LLM", "steps", 4),
        ("FOMAML", "gradients", 8),
    ],
)
def test_three_budgets(name, budget, n):
    assert run_of(name, budget=budget).training.tasks_per_step == n


def test_changes_to_training_and_evaluation():
    control = run_of("MAML-en-LLM", train=dict(inner_lr=0.0), evaluate=dict(k=0))
    assert control.training.inner_lr == 0 and control.evaluation["k"] == 0
    assert run_of("MetaICT").evaluation["instructions"] is True
    assert run_of("zero-shot").training is None and run_of("oracle").training is None


# --- hashes ---

OTHER = dict(
    name="MetaICL",
    config=replace(BASE, seed=9),
    seeds=(13,),
    max_records=7,
    train=dict(lr=1e-4),
    evaluate=dict(k=2),
    budget="steps",
    per_step=8,
    held=2,
    targets=False,
    rates="tuned",
)


@pytest.mark.parametrize("name", [field.name for field in fields(Run)])
def test_hash_changes_with_every_field(name):
    run = run_of("MAML-en-LLM", held=1)
    assert replace(run, **{name: OTHER[name]}).hash != run.hash


NUMPY = {
    "per_step": (numpy.int64(16), 16),
    "held": (numpy.int64(2), 2),
    "max_records": (numpy.int32(4), 4),
    "train": ({"lr": numpy.float32(0.5)}, {"lr": 0.5}),
    "evaluate": ({"k": numpy.int64(2)}, {"k": 2}),
    "config": (replace(BASE, steps=numpy.int64(2)), BASE),
}


@pytest.mark.parametrize("name", NUMPY)
def test_numbers_of_other_libraries_make_the_same_run(name):
    given, plain_one = NUMPY[name]
    own = {"name": "MetaICL", "held": 2}
    run, same = run_of(**own | {name: given}), run_of(**own | {name: plain_one})
    assert run.hash == same.hash
    assert json.dumps(plain(run)) == json.dumps(plain(same))


def test_a_hash_covers_what_its_name_stands_for(monkeypatch):
    run, other = run_of(), run_of("zero-shot")
    before = run.hash, other.hash
    monkeypatch.setitem(room.METHODS, "in-context", Method(evaluate=dict(k=8)))
    assert run.hash != before[0] and other.hash == before[1]


def test_the_device_does_not_decide_a_hash():
    assert run_of(config=replace(BASE, device="cuda")).hash == run_of().hash
    assert run_of(config=replace(BASE, dtype="float64")).hash != run_of().hash


def test_a_run_keeps_what_it_was_made_with():
    train, evaluate = dict(betas=[0.9, 0.99]), dict(k=2)
    run = run_of("MetaICL", train=train, evaluate=evaluate)
    before = run.hash
    train["betas"][0] = 0.5
    train["method"] = "reptile"
    evaluate["k"] = 99
    assert run.train == dict(betas=[0.9, 0.99]) and run.evaluate == dict(k=2)
    assert run.hash == before and run.training.method == "metaicl"


# --- experiments ---


def test_experiments_are_grids_with_a_reason():
    for name, experiment in EXPERIMENTS.items():
        assert get_experiment(name) is experiment and len(experiment.about) > 20
    runs = get_experiment("baselines").runs()
    assert len({run.hash for run in runs}) == len(runs)
    seeds = {
        s: {r.config.seed for r in runs if r.config.setting == s}
        for s in load_settings("minicrossfit")
    }
    assert seeds.pop("hr_to_lr") == {1, 2, 3} and set(map(tuple, seeds.values())) == {
        (1,)
    }
    some = get_experiment("baselines").runs(
        get_preset("smoke"),
        settings=["qa_to_qa"],
        modes=["channel"],
        seeds=[4],
        steps=3,
    )
    assert {(r.config.setting, r.config.mode, r.config.steps) for r in some} == {
        ("qa_to_qa", "channel", 3)
    }


def test_in_a_grid_what_is_not_trained_is_there_once():
    runs = grid(
        BASE,
        ["in-context", "MetaICL", "oracle"],
        modes=["direct"],
        seeds=[1, 2],
        demonstration_seeds=(100,),
    )
    found = [(run.name, run.config.seed) for run in runs]
    assert sorted(found) == [
        ("MetaICL", 1),
        ("MetaICL", 2),
        ("in-context", 1),
        ("oracle", 1),
    ]


# --- refusals ---

BAD = {
    "name": (dict(name="maml"), "name: expected one of zero-shot, .* found 'maml'"),
    "no name": (dict(name=None), "name: .* found None"),
    "config": (dict(config={}), "config: expected a TrainConfig, found {}"),
    "no seed": (dict(seeds=()), r"seeds: expected one or more of 100, .* found \(\)"),
    "a seed": (dict(seeds=100), "seeds: expected demonstration seeds, found 100"),
    "seeds in text": (dict(seeds="100"), "seeds: .* found '100'"),
    "seed twice": (dict(seeds=(13, 13)), "seeds: .* each once, found"),
    "unknown seed": (dict(seeds=(7,)), "seeds: expected one or more of 100, 13"),
    "seed in part": (dict(seeds=(1.5,)), "seeds: expected a whole number"),
    "records 0": (dict(max_records=0), "max_records: .* at least 1, found 0"),
    "records in text": (dict(max_records="9"), "max_records: .* found '9'"),
    "a field": (dict(train=dict(lrr=1)), "train: .* found 'lrr'; nearest: lr"),
    "a list": (dict(train=["lr"]), "train: expected options by name"),
    "a value": (dict(name="MetaICL", train=dict(lr=-1)), "lr: .* found -1"),
    "option": (dict(evaluate=dict(kk=1)), "evaluate: .* found 'kk'"),
    "own option": (dict(evaluate=dict(seeds=[13])), "evaluate: .* found 'seeds'"),
    "budget": (
        dict(budget="time"),
        "budget: expected one of gradients, prompts, steps",
    ),
    "unequal": (
        dict(name="MAML-en-LLM", train=dict(inner_steps=3)),
        "inner_steps: expected a cost that divides 16 gradients, found 12 per task",
    ),
    "unequal prompts": (
        dict(name="MAML-en-LLM", budget="prompts", train=dict(inner_steps=2)),
        "inner_steps: expected a cost that divides 16 prompts, found 3 per task at 2",
    ),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_bad_run(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        run_of(**changes)
    assert len(str(caught.value)) < 400


BAD_GRIDS = {
    "seeds twice": (dict(seeds=[1, 1]), "seeds: .* each once, found"),
    "seed -1": (dict(seeds=[-1]), "seeds: expected a whole number of at least 0"),
    "seed in text": (dict(seeds=["1"]), "seeds: expected a whole number"),
    "no seed": (dict(seeds=[]), "seeds: expected one or more"),
    "modes twice": (dict(modes=["direct", "direct"]), "modes: .* each once"),
    "a mode": (dict(modes="direct"), "modes: expected a list, found 'direct'"),
    "unknown mode": (dict(modes=["both"]), "modes: expected one of direct, channel"),
    "demonstration seeds twice": (
        dict(demonstration_seeds=(100, 100)),
        "seeds: .* each once",
    ),
    "records": (dict(max_records=-1), "max_records: .* found -1"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_GRIDS.values(), ids=BAD_GRIDS)
def test_bad_grid(changes, message):
    with pytest.raises(ValueError, match=message):
        table(**changes)


BAD_CHOICES = {
    "experiment": (
        "baseline",
        {},
        "experiment: .* found 'baseline'; nearest: baselines",
    ),
    "setting": (
        "baselines",
        dict(settings=["hr"]),
        "settings: expected one of .* 'hr'",
    ),
    "settings twice": (
        "baselines",
        dict(settings=["qa_to_qa"] * 2),
        "settings: .* once",
    ),
    "close": ("baselines", dict(close=["x"]), "close: expected one of .* found 'x'"),
    "seeds": (
        "baselines",
        dict(seeds=[2, 2]),
        "seeds: expected one or more, each once",
    ),
    "steps": ("baselines", dict(steps=0), "steps: .* found 0"),
}


@pytest.mark.parametrize(
    ("name", "choices", "message"), BAD_CHOICES.values(), ids=BAD_CHOICES
)
def test_bad_choice_of_an_experiment(name, choices, message):
    with pytest.raises(ValueError, match=message):
        get_experiment(name).runs(**choices)


def test_a_configuration_of_its_own_can_be_the_base():
    own = TrainConfig(benchmark="minicrossfit", model="tiny-base", steps=1)
    assert Run(name="MetaICL", config=own, seeds=(100,)).training.steps == 1


ONE_STEP = Chosen(steps=1)


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(evaluate=dict(k=-1)), "evaluate k: expected a whole number"),
        (dict(evaluate=dict(k="x")), "evaluate k: expected a whole number"),
        (dict(evaluate=dict(separator="x")), "separator: expected one of"),
        (dict(evaluate=dict(mode="channel")), "^evaluate: .* found 'mode'"),
        (dict(evaluate=dict(pmi=1)), "evaluate pmi: expected True or False"),
        (dict(evaluate=dict(adapt=4)), "evaluate adapt: expected an Adaptation"),
        (
            dict(evaluate=dict(random_labels=1)),
            "evaluate random_labels: expected True or False",
        ),
        (
            dict(evaluate=dict(random_labels=True, k=0)),
            "evaluate random_labels: expected at least one demonstration",
        ),
        (
            dict(evaluate=dict(random_labels=True, adapt=ONE_STEP), held=1),
            "evaluate random_labels: expected False where rates are chosen",
        ),
        (
            dict(evaluate=dict(pmi=True), config=TrainConfig(mode="channel")),
            "evaluate pmi: expected False, or .* found True in 'channel'",
        ),
        (
            dict(evaluate=dict(pmi=True, adapt=ONE_STEP), held=1),
            "evaluate pmi: expected False where rates are chosen",
        ),
        (
            dict(name="MetaICT", evaluate=dict(adapt=ONE_STEP), held=1),
            "evaluate instructions: expected False where rates are chosen",
        ),
        (dict(train=dict(seed=5)), "train: .* found 'seed'"),
        (dict(train=dict(benchmark="x")), "train: .* found 'benchmark'"),
    ],
    ids=str,
)
def test_what_would_be_refused_after_training_is_refused_now(changes, message):
    with pytest.raises(ValueError, match=message):
        Run(**dict(name="MetaICL", config=TrainConfig(), seeds=(100,)) | changes)


@pytest.mark.parametrize("name", ["PMI in-context", "PMI zero-shot"])
def test_a_row_in_a_mode_that_it_is_not_defined_for_is_refused(name):
    message = f"^mode of '{name}': expected one of direct, found 'channel'"
    with pytest.raises(ValueError, match=message):
        run_of(name, config=replace(BASE, mode="channel"))
