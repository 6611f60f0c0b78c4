"""Configurations: every field is checked at once, by name, and comes back from JSON."""

import json
from dataclasses import asdict, fields, replace
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maml_en_llm import TrainConfig
from maml_en_llm.methods import METHODS
from maml_en_llm.optimizers import OPTIMIZERS
from maml_en_llm.training.config import CHECKS

NAN, INF = float("nan"), float("inf")

# field: values that are refused, each with what the message says beside the field
BAD = {
    "benchmark": [None, 3, "", " ", ["a"]],
    "setting": [None, True, ""],
    "allow_missing": [1, "yes", None],
    "faithful": [0, "False"],
    "bos": [1, "yes", None],
    "task_share": [0, -0.5, 1.5, NAN, "1", True, 2],
    "record_share": [0.0, 1.0001, INF, None],
    "model": [None, 1.0, "", b"gpt2"],
    "tokenizer": ["", 3, False],
    "method": ["maml", "MetaICL", None, ["metaicl"]],
    "seed": [-1, 1.5, None, "1", True, 2**63],
    "steps": [0, -5, 1.5, "10", True, NAN, None],
    "tasks_per_step": [0, NAN, 2.0, "4"],
    "inner_steps": [-1, 1.5, None],
    "prompts": [0, True, "1"],
    "demonstrations": [-1, "2", 3.0],
    "optimizer": ["adamx", "Adam", None, 1],
    "inner_optimizer": ["adamx", "", 0],
    "lr": [-1.0, 0, NAN, INF, 1e35, "0.1", True, None],
    "inner_lr": [-1e-9, NAN, INF, "0.1", None],
    "betas": [0.9, (0.9,), (0.9, 1.0), (0.9, NAN), (0.9, -0.1), "ab", (0.9, 0.9, 0.9)],
    "eps_root": [-1.0, NAN, INF, "0", None],
    "moments": ["warm", None, True],
    "clip_support": [1, "yes", None],
    "join": ["sum", None, True],
    "gradient": ["second", None],
    "clip": [0, -1.0, NAN, INF, "1", None],
    "sampling": ["sizes", None],
    "query_tasks": ["other", 1],
    "independent_draws": [1, "no", None],
    "inner_batch": ["two", None],
    "mode": ["chan", None],
    "separator": ["nl", "\n"],
    "max_length": [2, "9", 64.0, -1, None, 10**4000],
    "max_example_length": [0, NAN, True],
    "prompts_at_once": [0, 1.5, "2", True],
    "device": ["gpu", "cuda:x", 0, None, "cpu:1", "auto:0"],
    "dtype": ["float", "torch.float32", None, 32],
    "skip_steps": [-1, 0.5, None, True, 10**4000],
    "lora": [-1, 0.5, None, True, "8", 10**4000],
    "looks": [-1, 0.5, None, True, 10**6],
}
ROWS = [(name, value) for name, values in BAD.items() for value in values]


def test_every_field_has_a_check_and_bad_values():
    names = {field.name for field in fields(TrainConfig)}
    assert names == set(CHECKS) == set(BAD)
    assert len(ROWS) >= 100


@pytest.mark.parametrize("name, value", ROWS, ids=[f"{n}={v!r}" for n, v in ROWS])
def test_a_bad_value_is_refused_by_its_field(name, value):
    with pytest.raises(ValueError, match=rf"^{name}: expected .*found ") as caught:
        TrainConfig(**{name: value})
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("value, near", [("maml_en_llm", "maml-en-llm"), ("maml", "")])
def test_the_nearest_name_is_told(value, near):
    known = "metaicl, metaict, multi-task, maml-en-llm, fomaml, reptile"
    with pytest.raises(
        ValueError, match=f"method: expected one of {known}, found"
    ) as e:
        TrainConfig(method=value)
    assert near in str(e.value)


class Name(str, Enum):  # noqa: UP042 (a StrEnum writes its value)
    BASE = "tiny-base"
    METHOD = "fomaml"
    DEVICE = "cuda:1"


TAKEN = {
    "benchmark": (Path("tasks") / "x", "tasks/x"),
    "model": (Path("m"), "m"),
    "tokenizer": (Path("t"), "t"),
    "steps": (np.int64(7), 7),
    "seed": (np.uint8(3), 3),
    "lr": (np.float32(0.5), 0.5),
    "inner_lr": (0, 0.0),
    "clip": (np.float64(2), 2.0),
    "betas": ([np.float64(0.5), 0], (0.5, 0.0)),
    "prompts_at_once": (np.int32(2), 2),
    "device": (Name.DEVICE, "cuda:1"),
    "method": (Name.METHOD, "fomaml"),
    "setting": (Name.BASE, "tiny-base"),
    "optimizer": (np.str_("sgd"), "sgd"),
}


@pytest.mark.parametrize("name", TAKEN)
def test_values_of_other_libraries_are_kept_as_plain_ones(name):
    given_value, kept = TAKEN[name]
    value = getattr(TrainConfig(**{name: given_value}), name)
    assert value == kept and type(value) is type(kept)
    assert json.loads(json.dumps(value)) in (kept, list(np.atleast_1d(kept)))


def test_a_configuration_comes_back_from_json():
    config = TrainConfig(betas=(0.8, 0.9), tokenizer="t", prompts_at_once=3, lr=1 / 3)
    back = TrainConfig(**json.loads(json.dumps(asdict(config))))
    assert back == config and back.hash == config.hash != TrainConfig().hash


@pytest.mark.parametrize(
    "changes, field",
    [
        (dict(inner_optimizer="sgd"), "moments"),
        (dict(inner_optimizer="momentum", moments="shared-frozen"), "moments"),
        (dict(optimizer="adam-8bit", inner_optimizer="lion"), "moments"),
        (dict(method="reptile", inner_lr=0), "inner"),
        (dict(optimizer="momentum", moments="second"), "moments"),
        (dict(optimizer="lion", moments="second"), "moments"),
        (dict(dtype="bfloat16"), "dtype"),
        (dict(dtype="float16", gradient="unrolled"), "dtype"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, field):
    with pytest.raises(ValueError, match=rf"^{field}: expected"):
        TrainConfig(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        dict(inner_optimizer="sgd", moments="fresh"),
        dict(inner_optimizer="sgd", method="metaicl"),
        dict(inner_optimizer="adamw"),
        dict(optimizer="rmsprop", moments="second"),
        dict(optimizer="nadam", moments="second", inner_lr=0),
        dict(clip_support=False, join="mean-gradient"),
        dict(optimizer="adam-8bit", inner_optimizer="adam"),
        dict(dtype="bfloat16", gradient="first_order"),
        dict(dtype="bfloat16", method="fomaml"),
        dict(dtype="float16", inner_steps=0),
        dict(dtype="float64", gradient="unrolled"),
    ],
)
def test_what_goes_together_is_taken(changes):
    config = TrainConfig(**changes)
    assert replace(config, seed=2) != config


def test_inner_and_outer_optimizer_can_differ():
    config = TrainConfig(
        inner_optimizer="rmsprop", moments="fresh", lr=0.1, inner_lr=0.2, eps_root=1e-6
    )
    inner, outer = config.make_method().inner, config.make_outer_optimizer()
    assert (type(inner), inner.lr) == (OPTIMIZERS["rmsprop"], 0.2)
    assert (type(outer), outer.lr, outer.betas) == (
        OPTIMIZERS["adam"],
        0.1,
        (0.9, 0.995),
    )
    assert inner.eps_root == outer.eps_root == 1e-6


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("method", METHODS)
def test_every_optimizer_goes_with_every_method(name, method):
    made = TrainConfig(optimizer=name, method=method).make_method()
    assert made.passes(2)[-1] == (1, 1, 1)


OTHER = dict(
    method="metaicl",
    optimizer="sgd",
    inner_optimizer="adamw",
    moments="fresh",
    clip_support=False,
    join="mean-gradient",
    gradient="unrolled",
    sampling="uniform",
    mode="channel",
    separator="space",
    task_share=0.5,
    record_share=0.5,
    faithful=True,
    bos=True,
    query_tasks="fresh",
    independent_draws=False,
    inner_batch="all",
    betas=(0.8, 0.9),
    tokenizer="other",
    allow_missing=True,
    prompts_at_once=2,
    device="cuda",
    dtype="float64",
    skip_steps=3,
    lora=8,
)


@pytest.mark.parametrize("name", [field.name for field in fields(TrainConfig)])
def test_hash_changes_with_every_field(name):
    base, value = TrainConfig(), getattr(TrainConfig(), name)
    changed = value + "x" if isinstance(value, str) else value and value * 2
    other = OTHER.get(name, changed)
    assert asdict(base)[name] != other
    assert replace(base, **{name: other}).hash != base.hash == TrainConfig().hash


OLDER = {  # hashes of records from before `clip_support`, a default of 4 prompts, and
    # draws of task and example apart
    "79ff93b3aae6": {},
    "16e212fbe249": dict(method="metaicl"),
    "e3dd50c8bf05": dict(method="reptile", lr=2e-3, inner_lr=4e-4),
    "e4aa1ecab05f": dict(method="fomaml", prompts=2, moments="fresh"),
    "929a076b041c": dict(method="metaicl", prompts=4),
}


@pytest.mark.parametrize("older", OLDER)
def test_a_run_that_is_what_it_was_keeps_its_hash(older):
    as_it_was = dict(prompts=1, independent_draws=False) | OLDER[older]
    assert TrainConfig(**as_it_was, clip_support=False).hash == older
    clipped = TrainConfig(**as_it_was)
    inner = clipped.method not in ("metaicl", "metaict", "multi-task")
    assert (clipped.hash != older) == inner
    apart = replace(
        TrainConfig(**as_it_was, clip_support=False), independent_draws=True
    )
    assert apart.hash != older
    assert TrainConfig(**OLDER[older]).hash != older or "prompts" in OLDER[older]


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=3),
    st.lists(st.one_of(st.floats(), st.text(max_size=2)), max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    st.builds(Path, st.sampled_from(["a", "b/c"])),
    st.sampled_from([*METHODS, *OPTIMIZERS, "fresh", "cuda", "float64", "channel"]),
)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(CHECKS)), ANYTHING, max_size=3))
def test_anything_is_taken_whole_or_refused_by_a_field(values):
    try:
        config = TrainConfig(**values)
    except ValueError as error:
        field = str(error).partition(":")[0]
        assert field in {*CHECKS, "inner"} and len(str(error)) < 500
    else:
        assert TrainConfig(**json.loads(json.dumps(asdict(config)))) == config
        assert len(config.hash) == 12
