"""Presets and a chapter's parameters: unknown names are refused."""

import math
import types

import pytest

from maml_en_llm.runs import PRESETS, check_parameters, get_preset


def test_presets_of_the_design():
    assert list(PRESETS) == ["smoke", "cpu", "colab", "paper"]
    assert all(get_preset(name) is preset for name, preset in PRESETS.items())
    assert (
        PRESETS["paper"].steps,
        PRESETS["paper"].demonstrations,
        PRESETS["paper"].tokens,
    ) == (30_000, 16, 1024)


@pytest.mark.parametrize(
    ("name", "hint"), [("smok", "; nearest: smoke"), ("", ""), ("large", "")]
)
def test_unknown_preset(name, hint):
    with pytest.raises(
        ValueError,
        match=f"preset: expected one of smoke, cpu, colab, paper, found '{name}'{hint}$",
    ):
        get_preset(name)


def test_known_parameters_pass():
    # what a notebook's globals hold beside its parameters
    others = dict(
        _=1,
        __name__="__main__",
        _i1="x",
        In=[""],
        Out={},
        torch=types,
        exit=print,
        quit=print,
    )
    check_parameters(
        others | dict(preset="smoke", seed=1, lr=None, tasks=["a"], fast=True),
        "preset",
        "seed",
        "lr",
        "tasks",
        "fast",
    )


@pytest.mark.parametrize("value", ["x", 3, 0.5, math.inf, True, None, ["a"]])
def test_unknown_parameter_of_any_plain_type(value):
    with pytest.raises(
        ValueError,
        match="parameter: expected one of preset, inner_lr, found 'iner_lr'; nearest: inner_lr",
    ):
        check_parameters(dict(preset="smoke", iner_lr=value), "preset", "inner_lr")
