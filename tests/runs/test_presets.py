"""Presets, and a chapter's parameters: unknown names and values are refused."""

import math
import types
from dataclasses import replace

import pytest

from maml_en_llm import TrainConfig
from maml_en_llm.protocol import SEEDS
from maml_en_llm.runs import PRESETS, Preset, check_parameters, get_preset, resolve
from maml_en_llm.runs.presets import SMOKE_OWN


def test_presets_of_the_design():
    assert list(PRESETS) == ["smoke", "cpu", "mini", "colab", "paper"]
    assert all(get_preset(name) is preset for name, preset in PRESETS.items())
    paper = PRESETS["paper"]
    assert (paper.steps, paper.demonstrations, paper.tokens) == (30_000, 16, 1024)


@pytest.mark.parametrize(
    ("name", "hint"), [("smok", "; nearest: smoke"), ("", ""), ("large", "")]
)
def test_unknown_preset(name, hint):
    message = (
        f"preset: expected one of smoke, cpu, mini, colab, paper, found '{name}'{hint}$"
    )
    with pytest.raises(ValueError, match=message):
        get_preset(name)


# --- configurations from presets ---


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_makes_its_configuration(name):
    size = get_preset(name)
    config = size.train_config(setting="qa_to_qa", seed=3)
    same = ("benchmark", "model", "steps", "inner_steps", "demonstrations", "lr")
    for field in (*same, "eps_root"):
        assert getattr(config, field) == getattr(size, field)
    assert (config.setting, config.seed) == ("qa_to_qa", 3)
    assert (config.inner_lr, config.max_length) == (size.lr / 5, size.tokens)
    how = size.evaluation(k=4)
    assert how["k"] == 4 and how["max_records"] == size.test_records
    assert how["seeds"] == SEEDS[: size.eval_seeds]
    assert len(size.training_seeds) == size.runs and size.training_seeds[0] == 1


def test_the_safety_term_of_real_models_is_smaller():
    """It leaves a step its length; the shipped models' is kinder to fresh moments."""
    found = {name: preset.eps_root for name, preset in PRESETS.items()}
    real = dict.fromkeys(("colab", "paper"), 1e-12)
    assert found == dict.fromkeys(PRESETS, TrainConfig().eps_root) | real


# --- values that a reader gives ---


def test_none_is_the_presets_and_nothing_else_is():
    smoke = get_preset("smoke")
    assert resolve("smoke", steps=None, lr=None, model=None) == smoke
    found = resolve("cpu", steps=7, seeds=2, draws=5, max_length=64, adaptation=0)
    assert (found.steps, found.runs, found.eval_seeds) == (7, 2, 5)
    assert (found.tokens, found.adaptation) == (64, 0)
    assert found.model == get_preset("cpu").model


def test_the_inner_rate_follows_the_outer_one_unless_it_is_given():
    assert resolve("smoke", lr=0.5).inner_rate == 0.1
    assert resolve("smoke", lr=0.5, inner_lr=0.0).inner_rate == 0  # α = 0, the control
    assert resolve("smoke", inner_lr=0.3).train_config().inner_lr == 0.3


def test_a_readers_own_model_or_files_need_less_work(tmp_path):
    found = resolve("smoke", model=tmp_path)
    assert (found.steps, found.model) == (SMOKE_OWN.steps, str(tmp_path))
    assert resolve("cpu", model="gpt2").steps == get_preset("cpu").steps


@pytest.mark.parametrize(
    "given",
    [
        dict(model="mini-base"),
        dict(benchmark="minicrossfit:easy"),
        dict(model="tiny-base", benchmark="minicrossfit"),
    ],
)
def test_a_shipped_model_on_the_generated_benchmark_keeps_the_presets_rate(given):
    smoke = get_preset("smoke")
    assert resolve("smoke", **given) == replace(smoke, **given)
    assert resolve("smoke", **given | dict(model="gpt2")).lr == SMOKE_OWN.lr
    files = dict(benchmark="minicrossfits")
    assert resolve("smoke", **given | files).lr == SMOKE_OWN.lr


COUNTS = ("steps", "seeds", "inner_steps", "tasks_per_step", "draws", "max_length")
WRONG = [
    *((name, value) for name in COUNTS for value in (0, -1, "3", 2.5, True, math.nan)),
    *(("lr", value) for value in (0, -1, "1e-3", math.nan, math.inf, True)),
    *(("inner_lr", value) for value in (-1e-3, "0.1", math.inf)),
    *(("demonstrations", value) for value in (-1, 17, "16", 1.5)),
    *(("adaptation", value) for value in (-1, "4", 0.5)),
    *(("model", value) for value in (0, "", "  ", 3.5, ["gpt2"])),
    *(("benchmark", value) for value in (1, "")),
    *(("test_records", value) for value in (0, -1, "32")),
    ("draws", 6),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_gives_one_line_that_names_it(name, value):
    with pytest.raises(ValueError, match=f"^{name}: expected .*, found ") as caught:
        resolve("smoke", **{name: value})
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


def test_a_wrong_name():
    with pytest.raises(ValueError, match="parameter: .* found 'stesp'; nearest: steps"):
        resolve("smoke", stesp=3)
    with pytest.raises(ValueError, match="^steps: expected a whole number"):
        Preset(**vars(get_preset("smoke")) | dict(steps=0))


# --- names of a chapter's parameters ---

KNOWN = ("preset", "seed", "lr", "tasks", "fast")
# what a notebook's globals hold beside its parameters
OTHERS = dict(
    _=1,
    __name__="__main__",
    _i1="x",
    In=[""],
    Out={},
    torch=types,
    exit=print,
    quit=print,
)


def test_known_parameters_pass():
    given = dict(preset="smoke", seed=1, lr=None, tasks=["a"], fast=True)
    check_parameters(OTHERS | given, *KNOWN)


@pytest.mark.parametrize("value", ["x", 3, 0.5, math.inf, True, None, ["a"]])
def test_unknown_parameter_of_any_plain_type(value):
    message = (
        "parameter: expected one of preset, inner_lr, found 'iner_lr'; "
        "nearest: inner_lr"
    )
    with pytest.raises(ValueError, match=message):
        check_parameters(dict(preset="smoke", iner_lr=value), "preset", "inner_lr")


def test_a_parameter_cell_can_be_run_again():
    names = OTHERS | dict(preset="smoke", seed=1, In=["", "preset = 'smoke'\nseed = 1"])
    check_parameters(names, *KNOWN)
    names |= dict(rows=[1], steps=40, window=8)  # the chapter's own variables
    names["In"] += ["rows = [1]\nsteps = 40", "train(names)", "%matplotlib inline"]
    check_parameters(names, *KNOWN)
    names["In"].append("preset = 'cpu'  # sizes\nseed = 2")
    names["seed"] = 2
    check_parameters(names, *KNOWN)


def test_a_misspelt_parameter_is_found_when_the_cell_is_run_again_too():
    names = OTHERS | dict(preset="smoke", In=["", "preset = 'smoke'"])
    check_parameters(names, *KNOWN)
    names["In"].append("preset = 'smoke'\nseeed = -3")
    with pytest.raises(ValueError, match="found 'seeed'; nearest: seed"):
        check_parameters(names, *KNOWN)
    names["In"].append("preset = 'smoke'\nseed = -3")  # mended
    check_parameters(names, *KNOWN)
