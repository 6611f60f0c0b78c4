"""The log: what counts, what is refused, and who may write at the same time."""

import copy
import hashlib
import json
import multiprocessing
import os
import pickle
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import records, write_benchmark, write_lines, write_model
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

from maml_en_llm import TrainConfig, load_model
from maml_en_llm.errors import DataError
from maml_en_llm.models.adapters import save_model, with_adapters
from maml_en_llm.provenance import weights_hash
from maml_en_llm.runs import (
    Run,
    RunsFailed,
    compare,
    inconsistencies,
    is_current,
    reproduce,
)
from maml_en_llm.runs.code import bare, code_below, codes_alike, read_changes
from maml_en_llm.runs.experiments.table import lists_of
from maml_en_llm.runs.failed import failures_of
from maml_en_llm.runs.inputs import places_of
from maml_en_llm.runs.json_lines import read_rows
from maml_en_llm.runs.log import read_log
from maml_en_llm.runs.record_rows import read_table
from maml_en_llm.runs.run_locks import RunLocks, clear_locks
from maml_en_llm.runs.trained import Trained
from maml_en_llm.runs.workers import How, compute

INPUTS = sys.modules["maml_en_llm.runs.inputs"]
LOG = sys.modules["maml_en_llm.runs.log"]


@pytest.fixture
def config(tmp_path):
    INPUTS._examples.cache_clear()
    INPUTS._weights.cache_clear()
    folder = write_benchmark(tmp_path / "tasks", test=("c", "d"))
    write_model(tmp_path / "model")
    return TrainConfig(
        benchmark=str(folder), setting="mini", model=str(tmp_path / "model")
    )


def runs_of(config, *names) -> list[Run]:
    return [Run(name=name, config=config, seeds=(100,)) for name in names]


def test_an_interrupted_log_goes_on(config, tmp_path, monkeypatch):
    runs = runs_of(config, "zero-shot", "majority", "oracle", "random guess")
    first = reproduce(runs[:2], tmp_path / "log")
    computed = []
    rows = reproduce(  # what progress does to a record stays with it
        runs, tmp_path / "log", progress=lambda row: computed.append(row.pop("method"))
    )
    assert computed == ["oracle", "random guess"] and rows[:2] == first
    monkeypatch.setattr(Trained, "record", None)  # nothing is left to do
    assert reproduce(runs, tmp_path / "log") == rows
    assert reproduce(runs[::-1], tmp_path / "log") == rows[::-1]
    assert all(is_current(row) for row in rows)


def test_a_run_that_is_there_twice_is_computed_once(config, tmp_path):
    rows = reproduce(runs_of(config, "majority") * 2, tmp_path / "log")
    assert rows[0] == rows[1] and len(read_log(tmp_path / "log")) == 1


# --- what counts ---


def test_a_record_counts_for_its_own_examples_and_weights_only(config, tmp_path):
    log, run = tmp_path / "log", runs_of(config, "majority")
    (first,) = reproduce(run, log)
    write_lines(tmp_path / "tasks/c/c_16_100_test.jsonl", records("c", 9, start=500))
    (second,) = reproduce(run, log)
    assert second["inputs"] != first["inputs"] and second["data"] != first["data"]
    assert second["weights"] == first["weights"]
    other = [replace(run[0], config=replace(config, seed=2))]  # other random weights
    (third,) = reproduce(other, log)
    assert third["weights"] != first["weights"] and len(read_log(log)) == 3


def test_what_has_changed_in_a_folder_is_read_again(config, tmp_path):
    """In one process, as a notebook is."""
    log, run = tmp_path / "log", runs_of(config, "in-context")
    model, words = load_model(config.model)
    model.save_pretrained(config.model)
    (first,) = reproduce(run, log)
    torch.nn.init.normal_(model.transformer.wte.weight)
    model.save_pretrained(config.model)
    (second,) = reproduce(run, log)
    assert first["weights"] != second["weights"] == weights_hash(model)
    assert reproduce(run, log) == [second] and len(read_log(log)) == 2
    lists = lists_of(config.benchmark)["mini"]["test"]
    settings = tmp_path / "tasks" / "settings.json"
    settings.write_text(settings.read_text().replace('"c", "d"', '"d"'))
    assert (lists, lists_of(config.benchmark)["mini"]["test"]) == (["c", "d"], ["d"])
    assert list(reproduce(run, log)[0]["tasks"]) == ["d"]


def test_what_failed_can_come_from_another_process():
    failed = RunsFailed("1 of 2 runs failed", [{"a": 1}], ["why"])
    for again in (pickle.loads(pickle.dumps(failed)), copy.deepcopy(failed)):
        assert isinstance(again, RunsFailed) and str(again) == str(failed)
        assert (again.rows, again.reasons) == ([{"a": 1}], ["why"])


def test_a_buffer_that_is_saved_is_part_of_a_model(config, tmp_path):
    """As a router's bias, which is no parameter and decides what a model answers."""
    log, run = tmp_path / "log", runs_of(config, "zero-shot")
    load_model(config.model)[1].save_pretrained(config.model)
    sizes = ("intermediate_size", "moe_intermediate_size", "kv_lora_rank")
    heads = ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    few = ("num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    shape = dict.fromkeys(sizes, 16) | dict.fromkeys(heads, 8) | dict.fromkeys(few, 2)
    experts = dict(n_routed_experts=4, num_experts_per_tok=1, n_group=1, topk_group=1)
    model = DeepseekV3ForCausalLM(
        DeepseekV3Config(
            vocab_size=257,
            hidden_size=16,
            q_lora_rank=16,
            first_k_dense_replace=0,
            **shape,
            **experts,
        )
    )
    model.save_pretrained(config.model)
    (first,) = reproduce(run, log)
    name = "model.layers.1.mlp.gate.e_score_correction_bias"
    model.get_buffer(name)[0] += 1
    model.save_pretrained(config.model)
    (second,) = reproduce(run, log)
    assert first["weights"] != second["weights"] == weights_hash(model)
    assert len(read_log(log)) == 2


def test_the_hash_of_a_model_without_saved_buffers_is_of_its_parameters():
    """So that the hashes of older records stay as they are."""
    model = torch.nn.Linear(2, 1)
    parts = [("bias", model.bias), ("weight", model.weight)]
    content = [name.encode() + p.detach().numpy().tobytes() for name, p in parts]
    expected = hashlib.sha256(b"".join(content)).hexdigest()
    assert weights_hash(model) == expected
    model.register_buffer("places", torch.arange(2), persistent=False)
    assert weights_hash(model) == expected
    model.register_buffer("table", torch.tensor(2**24))
    found = weights_hash(model)
    model.table += 1  # which float32 does not tell apart
    assert expected != found != weights_hash(model)


def test_what_changes_while_a_record_is_computed_makes_none(
    config, tmp_path, monkeypatch
):
    whole = Trained.record

    def record(self, run):
        write_lines(tmp_path / "tasks/c/c_16_100_test.jsonl", records("c", 9))
        return whole(self, run)

    monkeypatch.setattr(Trained, "record", record)
    message = "config: expected a model and examples that stay .*call reproduce again"
    with pytest.warns(UserWarning), pytest.raises(RunsFailed, match=message):
        reproduce(runs_of(config, "majority"), tmp_path / "log")
    with pytest.warns(UserWarning, match="1 of the runs to compute failed before"):
        assert len(reproduce(runs_of(config, "majority"), tmp_path / "log")) == 1


@pytest.mark.parametrize("what", ["code_below", "torch_version"])
def test_a_record_of_other_code_or_torch_is_stale(config, tmp_path, monkeypatch, what):
    log, run = tmp_path / "log", runs_of(config, "majority")
    (first,) = reproduce(run, log)
    monkeypatch.setattr(LOG, what, lambda: "other")
    assert not is_current(first)
    (second,) = reproduce(run, log)
    assert is_current(second) and second["tasks"] == first["tasks"]
    assert read_log(log) == [first, second]  # nothing is thrown away


def test_code_is_what_decides():
    source = '''"""Doc."""
import os  # why


def f(x):
    """Says
    so."""
    # a remark

    return ["a",
        "b",  # kept
    ], x
'''
    expected = 'import os\ndef f(x):\n    return ["a",\n        "b",\n    ], x'
    assert bare(source) == expected
    assert bare(source.replace('"b"', '"c"')) != expected
    assert bare(source.replace("Says", "Told").replace("# why", "")) == expected


# --- what is refused, and left as it is ---

FOREIGN = {
    "text": b"dear diary\n",
    "text without an end": b"dear diary",
    "a number": b"3\n",
    "a list": b"[1]\n",
    "another record": b'{"machine": {}, "rows": []}\n',
    "another record without an end": b'{"machine": {}, "rows": []}',
    "half of a log": b'{"hash": "x", "inputs": "y"}\nnothing\n',
    "no text": bytes(range(256)),
    "bare rows": b'{"hash": "x", "inputs": "y"}\n' * 2,
    "inputs of another type": b'{"hash": "x", "inputs": 3}\n',
    "a long line": b"x" * 100_000 + b"\n",
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_a_file_that_is_no_log_is_refused_and_left(config, tmp_path, content):
    log = tmp_path / "log"
    log.write_bytes(content)
    with pytest.raises(ValueError, match="log:.* name another file") as caught:
        reproduce(runs_of(config, "majority"), log)
    assert log.read_bytes() == content and len(str(caught.value)) < 400


def test_another_thing_than_runs_or_a_path(config, tmp_path):
    with pytest.raises(ValueError, match="runs: expected runs, found 'majority'"):
        reproduce(["majority"], tmp_path / "log")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="log: expected a path that can be written"):
        reproduce(runs_of(config, "majority"), tmp_path / "file" / "log")


# --- torn lines ---


def test_a_torn_last_line_is_left_out_and_mended_by_the_next_row(config, tmp_path):
    log = tmp_path / "log"
    (first,) = reproduce(runs_of(config, "majority"), log)
    whole = log.read_text()
    log.write_text(whole + whole[:20])
    assert read_log(log) == [first] and log.read_text() == whole + whole[:20]
    reproduce(runs_of(config, "majority", "oracle"), log)
    assert log.read_text().startswith(whole) and len(read_log(log)) == 2


def test_a_last_line_without_its_end_counts(config, tmp_path):
    log = tmp_path / "log"
    (first,) = reproduce(runs_of(config, "majority"), log)
    log.write_text(log.read_text().rstrip("\n"))
    rows = reproduce(runs_of(config, "majority", "oracle"), log)
    assert (
        rows[0] == first
        and [json.loads(x) for x in log.read_text().splitlines()] == rows
    )


# --- failures ---


def test_one_failing_run_does_not_lose_the_others(config, tmp_path, monkeypatch):
    whole = Trained.record

    def record(self, run):
        if run.name == "majority":
            raise RuntimeError("out of memory " * 999)
        return whole(self, run)

    monkeypatch.setattr(Trained, "record", record)
    runs = runs_of(config, "majority", "oracle", "random guess")
    with (
        pytest.warns(UserWarning, match="run 'majority' failed: RuntimeError: out of"),
        pytest.raises(
            RunsFailed, match="1 of 3 runs failed, .*: majority, mini"
        ) as caught,
    ):
        reproduce(runs, tmp_path / "log")
    assert [row["method"] for row in caught.value.rows] == ["oracle", "random guess"]
    assert read_log(tmp_path / "log") == caught.value.rows
    assert len(str(caught.value)) < 700
    (noted,) = read_rows(failures_of(tmp_path / "log"))
    assert noted["hash"] == runs[0].hash and "out of memory" in noted["error"]
    monkeypatch.setattr(Trained, "record", whole)
    before = r"log: 1 of the runs .* failed before \(majority\), .*out of memory.*again"
    with pytest.warns(UserWarning, match=before):
        assert len(reproduce(runs, tmp_path / "log")) == 3
    assert len(reproduce(runs, tmp_path / "log")) == 3  # none is to be tried now


@pytest.mark.parametrize("kind", ["foreign", "folder"])
def test_a_failure_that_cannot_be_noted_stops_no_other(
    config, tmp_path, monkeypatch, kind
):
    whole = Trained.record

    def record(self, run):
        if run.name == "majority":
            raise RuntimeError("out of memory")
        return whole(self, run)

    monkeypatch.setattr(Trained, "record", record)
    beside = failures_of(tmp_path / "log")
    beside.mkdir() if kind == "folder" else beside.write_text("my notes\n")
    runs = runs_of(config, "majority", "oracle")
    with (
        pytest.warns(UserWarning, match="run 'majority' failed: RuntimeError: out of"),
        pytest.warns(UserWarning, match="the failure is not noted down: .*failed"),
        pytest.raises(RunsFailed, match="1 of 2 runs failed") as caught,
    ):
        reproduce(runs, tmp_path / "log")
    assert [row["method"] for row in caught.value.rows] == ["oracle"]
    assert kind == "folder" or beside.read_text() == "my notes\n"


@pytest.mark.parametrize("kind", ["foreign", "folder"])
def test_a_file_of_failures_that_is_none_is_refused_first(config, tmp_path, kind):
    beside = failures_of(tmp_path / "log")
    beside.mkdir() if kind == "folder" else beside.write_text("my notes\n")
    with pytest.raises(ValueError, match="log.failed.jsonl"):
        compute(runs_of(config, "oracle"), tmp_path / "log", How())
    assert [path.name for path in tmp_path.glob("*log*")] == [beside.name]


def test_who_wants_to_stop_is_not_held_up(config, tmp_path, monkeypatch):
    def record(self, run):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trained, "record", record)
    with pytest.raises(KeyboardInterrupt):
        reproduce(runs_of(config, "majority"), tmp_path / "log")


# --- several processes ---


def work(runs, log, counts):
    computed = []
    rows = reproduce(runs, log, progress=computed.append)
    counts.put((len(computed), len(rows)))


def test_two_processes_share_the_work(config, tmp_path):
    log, runs = tmp_path / "log", runs_of(config, "majority", "oracle", "random guess")
    fork = multiprocessing.get_context("fork")
    counts = fork.Queue()
    both = [fork.Process(target=work, args=(runs, log, counts)) for _ in range(2)]
    for process in both:
        process.start()
    found = [counts.get(timeout=120) for _ in both]
    for process in both:
        process.join()
    assert sum(computed for computed, _ in found) == 3
    assert [rows for _, rows in found] == [3, 3] and len(read_log(log)) == 3


def hold(log, ready):
    RunLocks(log).take(("key",))
    ready.set()
    time.sleep(60)


def test_a_killed_process_leaves_no_lock(tmp_path):
    fork = multiprocessing.get_context("fork")
    ready = fork.Event()
    other = fork.Process(target=hold, args=(tmp_path / "log", ready))
    other.start()
    assert ready.wait(60)
    mine = RunLocks(tmp_path / "log")
    assert not mine.take(("key",)) and mine.take(("another key",))
    os.kill(other.pid, 9)
    other.join()
    assert mine.take(("key",), wait=True)
    mine.give_up(("key",))
    mine.close()


def test_a_killed_processs_file_of_locks_is_taken_away_once_nobody_has_one(tmp_path):
    fork = multiprocessing.get_context("fork")
    ready = fork.Event()
    other = fork.Process(target=hold, args=(tmp_path / "log", ready))
    clear_locks(tmp_path / "log")
    other.start()
    assert ready.wait(60)
    clear_locks(tmp_path / "log")
    assert [path.name for path in tmp_path.iterdir()] == [".log.locks"]
    os.kill(other.pid, 9)
    other.join()
    clear_locks(tmp_path / "log")
    assert not list(tmp_path.iterdir())


# --- comparison ---

RECORD = dict(
    method="MetaICL",
    setting="mini",
    mode="direct",
    seed=1,
    hash="h",
    mean=50.0,
    worst=40.0,
    unseen_mean=60.0,
    unseen_worst=50.0,
    tasks={"c": 40.0, "d": 60.0},
    unseen=["d"],
    budget=dict(outer_steps=2, gradients=32),
)


def changed(**changes) -> dict:
    return RECORD | changes


def test_records_within_the_tolerance_agree():
    near = changed(mean=50.4, unseen_mean=60.8, tasks={"c": 40.0, "d": 60.8})
    assert compare([RECORD], [near], 1.0) == []
    assert compare([RECORD, changed(hash="g")], [RECORD], 0.0) == []


DIFFERENT = {
    "mean": (
        dict(mean=52.0),
        "MetaICL, mini, direct, 1: mean: stored 50.0, found 52.0",
    ),
    "worst": (dict(worst=30.0), "worst: stored 40.0, found 30.0"),
    "unseen": (dict(unseen_mean=None), "unseen_mean: stored 60.0, found None"),
    "a target": (dict(tasks={"c": 40.0, "d": 69.0}), "d: stored 60.0, found 69.0"),
    "a target less": (dict(tasks={"c": 40.0}), "tasks: stored .*d.*, found None"),
    "a target more": (dict(tasks=RECORD["tasks"] | {"e": 1.0}), "e: stored None"),
    "budget": (
        dict(budget=dict(outer_steps=2, gradients=33)),
        "gradients: stored 32, found 33",
    ),
    "no budget": (dict(budget=None), "outer_steps: stored 2, found None"),
    "another run": (dict(hash="g"), "record: stored None, found g"),
}


@pytest.mark.parametrize(("changes", "message"), DIFFERENT.values(), ids=DIFFERENT)
def test_what_differs_is_said(changes, message):
    found = compare([RECORD], [changed(**changes)], 1.0)
    assert found
    with pytest.raises(ValueError, match=message):
        raise ValueError("; ".join(map(str, found)))


def test_a_number_changed_in_a_stored_record_is_seen():
    assert inconsistencies(RECORD) == []
    for changes in (
        dict(mean=50.1),
        dict(unseen_mean=59.9),
        dict(tasks={"c": 40.2, "d": 60.0}),
        dict(unseen=[]),
    ):
        assert inconsistencies(changed(**changes))
        assert compare([changed(**changes)], [RECORD], 5.0)


def test_a_record_that_was_changed_since_it_was_sealed_is_refused(config, tmp_path):
    log, runs = tmp_path / "log", runs_of(config, "random guess", "majority")
    rows = reproduce(runs, log)
    score = {"c": rows[1]["tasks"]["c"] + 1}
    lines = [rows[0], rows[1] | dict(tasks=score, mean=score["c"])]
    log.write_text("".join(json.dumps(row) + "\n" for row in lines))
    changed = log.read_text()
    message = f"{log}:2: expected a record as it was made, .* changed since"
    for read in (read_log, lambda log: reproduce(runs, log)):
        with pytest.raises(DataError, match=message):
            read(log)
    assert log.read_text() == changed
    table = tmp_path / "table.json"
    table.write_text(json.dumps(dict(rows=lines)))
    with pytest.raises(DataError, match=f"{table}: row 2: expected a record as it was"):
        read_table(table)


def test_a_record_of_before_has_no_seal_and_counts(config, tmp_path):
    log, runs = tmp_path / "log", runs_of(config, "majority")
    (row,) = reproduce(runs, log)
    older = {name: part for name, part in row.items() if name != "seal"}
    log.write_text(json.dumps(older) + "\n")
    assert reproduce(runs, log) == read_log(log) == [older]


@pytest.mark.parametrize("tolerance", [-1, "1", None])
def test_bad_tolerance(tolerance):
    with pytest.raises(ValueError, match="tolerance: expected a finite number"):
        compare([RECORD], [RECORD], tolerance)


# --- code that gives the same ---


@pytest.mark.parametrize("code", "abcd")
def test_codes_are_alike_along_a_chain_of_changes(code):
    changes = [dict(before=x, after=y) for x, y in ("ab", "bc", "xy", "ad")]
    assert codes_alike(code, changes) == set("abcd")  # two of them by way of a third
    assert codes_alike(code, changes[::-1]) == set("abcd")
    assert codes_alike("y", changes) == set("xy")
    assert codes_alike("z", changes) == {"z"}


def test_a_record_of_code_that_gives_the_same_counts(config, tmp_path, monkeypatch):
    run, log = runs_of(config, "majority"), tmp_path / "log"
    (first,) = reproduce(run, log)
    now, newer = code_below(), "0" * 12
    for module in (LOG, sys.modules["maml_en_llm.runs.code"]):
        monkeypatch.setattr(module, "code_below", lambda: newer)
    assert not is_current(first)
    changes = [dict(before=now, after=newer)]
    monkeypatch.setattr(LOG, "codes_alike", lambda code: codes_alike(code, changes))
    assert is_current(first)
    assert reproduce(run, log) == [first] and len(read_log(log)) == 1


@pytest.mark.parametrize("text", ["{", "[]", '{"changes": 5}', '{"changes": [{}]}'])
def test_a_damaged_file_of_changes_is_named(tmp_path, text):
    path = tmp_path / "same_code.json"
    path.write_text(text)
    with pytest.raises(DataError, match="same_code.json: expected changes of code"):
        read_changes(path)


@pytest.mark.parametrize("line", ['{"a": 1, "a": 2}', '{"a": {"b": 1, "b": 1}}', "NaN"])
def test_a_line_that_says_two_things_is_no_row(tmp_path, line):
    line = line if line != "NaN" else '{"a": NaN}'
    (tmp_path / "log").write_text(f'{{"a": Infinity}}\n{line}\n')
    with pytest.raises(ValueError, match="log:2: expected a log .* keys each once"):
        read_rows(tmp_path / "log")


def test_the_files_of_adapters_are_theirs_and_their_bases(tmp_path):
    """A folder of adapters has a tokenizer of its own, and the base may have none."""
    model, tokenizer = load_model("tiny-base")
    base, folder = tmp_path / "base", tmp_path / "adapters"
    model.save_pretrained(base)
    save_model(with_adapters(model, 2), tokenizer, folder)
    about = folder / "adapter_config.json"
    config = json.loads(about.read_text())
    about.write_text(json.dumps(config | {"base_model_name_or_path": str(base)}))
    load_model(folder)
    found = places_of(TrainConfig(model=str(folder)))
    assert found == [str(folder), str(base), str(folder)]
    known = places_of(TrainConfig(model="tiny-base"))
    assert len(set(known)) == 1 and Path(known[0]).is_dir()
