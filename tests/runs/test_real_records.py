"""Records of a real model: provenance, no text of a task, and the plan's peaks."""

import json
from statistics import fmean

import pytest

from maml_en_llm.runs import record_file

RECORDS = ("real_model-cuda", "smollm2-cuda", "smollm2-methods-cuda")
MOST = 200_000  # bytes


@pytest.mark.parametrize("name", RECORDS)
def test_device_date_versions_and_code_are_there(name):
    text = record_file(name).read_text()
    assert len(text) < MOST
    record = json.loads(text)
    machines = [x for n, x in record.items() if n.endswith("machine")]
    for machine in machines:
        assert machine["device"] == "cuda" and machine["accelerator"]
        assert machine["date"][:2] == "20" and len(machine["code"]) == 12
        assert {"python", "torch", "transformers"} <= machine["versions"].keys()
    assert machines and "/" not in "".join(m["command"] for m in machines)


def test_predicted_peaks_of_exact_steps_hold_on_a_cpu_too():
    """Of the whole process, with all parameters; the plan was not made on these."""
    record = json.loads(record_file("real_model-cpu").read_text())
    assert record["machine"]["device"] == "cpu"
    rows = [r for r in record["rows"] if "maml" in r["step"] and not r["rank"]]
    assert {(r["step"], r["length"]) for r in rows} == {
        (f"maml k={k}", length) for k in (1, 4) for length in (128, 256)
    }
    for row in rows:
        assert row["predicted_gib"] == pytest.approx(row["peak_gib"], rel=0.15), row


def test_predicted_peaks_are_within_15_percent_of_the_measured():
    rows = json.loads(record_file("real_model-cuda").read_text())["rows"]
    steps = [row for row in rows if "predicted_gib" in row]
    assert len(steps) == 17
    for row in steps:
        assert row["predicted_gib"] == pytest.approx(row["peak_gib"], rel=0.15), row


@pytest.mark.parametrize("name", RECORDS[1:])
def test_nothing_of_the_tasks_but_their_names_and_scores(name):
    """Every string is a name: no sentence, no line break."""
    record = json.loads(record_file(name).read_text())

    def strings(value):
        if isinstance(value, dict):
            for key, part in value.items():
                yield key
                yield from strings(part)
        elif isinstance(value, list):
            for part in value:
                yield from strings(part)
        elif isinstance(value, str):
            yield value

    parts = [record[part] for part in ("held", "raw", "sweep", "stopped")]
    compared = record.get("compare", ())
    parts += [{n: x for n, x in row.items() if n != "row"} for row in compared]
    for part in parts:
        assert all(" " not in s and len(s) < 60 for s in strings(part))


def test_the_totals_of_the_methods_are_the_means_of_their_targets():
    record = json.loads(record_file("smollm2-methods-cuda").read_text())
    rows = [*record["raw"], *record["compare"]]
    rows += [row["adapted"] for row in rows if "adapted" in row]
    assert len(rows) > 20
    for row in rows:
        means = {t: fmean(scores.values()) for t, scores in row["targets"].items()}
        assert len(means) == 20
        assert row["mean"] == pytest.approx(fmean(means.values()), abs=1e-3)
        unseen = fmean(means[target] for target in record["unseen"])
        assert row["unseen_mean"] == pytest.approx(unseen, abs=1e-3)


def test_an_inner_rate_of_0_is_metaicl():
    """Two paths through the code: almost all scores are the same to the last digit."""
    record = json.loads(record_file("smollm2-methods-cuda").read_text())
    found = {}
    for row in record["compare"]:
        key = row["lr"], row["seed"]
        found.setdefault(key, {})[row["row"]] = row["targets"]
    pairs = [x for x in found.values() if {"MetaICL", "MAML-en-LLM, α = 0"} <= set(x)]
    assert len(pairs) == 4
    same = [
        pair["MetaICL"][t] == pair["MAML-en-LLM, α = 0"][t]
        for pair in pairs
        for t in pair["MetaICL"]
    ]
    assert fmean(same) > 0.9
