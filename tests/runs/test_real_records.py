"""Records of a real model: provenance, no text of a task, and the plan's peaks."""

import json

import pytest

from maml_en_llm.runs import record_file

RECORDS = ("real_model-cuda", "smollm2-cuda")
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


def test_predicted_peaks_are_within_15_percent_of_the_measured():
    rows = json.loads(record_file("real_model-cuda").read_text())["rows"]
    steps = [row for row in rows if "predicted_gib" in row]
    assert len(steps) == 17
    for row in steps:
        assert row["predicted_gib"] == pytest.approx(row["peak_gib"], rel=0.15), row


def test_nothing_of_the_tasks_but_their_names_and_scores():
    """Every string is a name: no sentence, no line break."""
    record = json.loads(record_file("smollm2-cuda").read_text())

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

    for part in (record["held"], record["raw"], record["sweep"], record["stopped"]):
        assert all(" " not in s and len(s) < 60 for s in strings(part))
