"""Published records of a real model, from the lines that the benchmarks wrote.

    python benchmarks/real_records.py cost LINES.jsonl EXACT.jsonl RECORD.json
    python benchmarks/real_records.py trained LINES.jsonl TASKS RECORD.json

Scores and provenance only: no text of a task, no path of a machine. ``cost`` puts the
peaks that `runs.plan` predicts beside the measured ones. ``trained`` puts beside the
held tasks what guessing would get there: points, and nats among the options.
"""

import argparse
import json
import math
import random
from pathlib import Path
from statistics import fmean

from report import new_file

from maml_en_llm.provenance import write_whole

GIB = 2**30
GUESSES = 500  # draws of random answers
RATES = ("lr", "inner_lr", "rate")
COMPARED = ("row", "lr", "inner_lr", "n", "prompts", "steps", "seed")
TRAINED = ("held", "moved", "loss", "seconds", "budget")
COLUMNS = (
    *("model", "rank", "step", "length", "parameters", "moving"),
    *("wall_s", "processor_s", "peak_gib", "repeats"),
)


def lines_of(path: str | Path) -> tuple[dict, list[dict]]:
    """(machine, rows) of a benchmark's file."""
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    machines = [row["machine"] for row in rows if "machine" in row]
    if len(machines) != 1:
        raise ValueError(f"{path}: expected the lines of one run, found {machines}")
    machine = machines[0]
    words = [Path(word).name for word in machine["command"].split()]
    machine = machine | {"command": " ".join(words)}
    return machine, [row for row in rows if "machine" not in row]


def cost(lines: str | Path, exact: str | Path, note: str) -> dict:
    """The record of real_model.py."""
    machine, rows = lines_of(lines)
    exact_machine, found = lines_of(exact)
    kept = []
    for row in rows:
        if "failed" in row:
            kept.append(row)
            continue
        kept.append({name: row[name] for name in COLUMNS} | predicted(row))
    return dict(
        machine=machine,
        note=note,
        rows=kept,
        exact_machine=exact_machine,
        exact=[row["exact"] for row in found],
    )


def predicted(row: dict) -> dict:
    """``predicted_gib`` of an outer step; nothing of a lone gradient."""
    import torch
    from real_model import SHAPES, STEPS, TASKS, insert_adapters
    from transformers import AutoModelForCausalLM

    from maml_en_llm.runs.plan import Step, peak_bytes, sizes_of

    method, k = STEPS[row["step"]]
    if method is None:
        return {}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(SHAPES[row["model"]]())
        insert_adapters(model, row["rank"])
    step = Step(method=method, n=TASKS, k=k, length=row["length"], moments="fresh")
    return {"predicted_gib": round(peak_bytes(sizes_of(model), step) / GIB, 3)}


def trained(lines: str | Path, tasks: str, note: str) -> dict:
    """The record of smollm2.py: raw scores, held curves, the comparison, failures."""
    machine, rows = lines_of(lines)
    record = dict(machine=machine, note=note, held=guesses(tasks))
    record |= dict(unseen=unseen_of(tasks), raw=[], sweep=[], compare=[], stopped={})
    found: dict[str, dict] = {}  # models by the name of their job
    rates = {}
    for row in rows:
        job = row.get("job")
        if job is None:
            continue
        name, kind = job["name"], job["kind"]
        if why := reason(row):
            record["stopped"][name] = why
        elif kind == "raw":
            kept = {n: job[n] for n in ("mode", "demonstrations", "separator")}
            record["raw"].append(kept | scores(row))
            found.setdefault("raw", record["raw"][-1])  # direct, 8 demonstrations
        elif kind == "sweep":
            kept = {n: job[n] for n in ("mode", "lora", "lr", "n", "seed")}
            kept |= {n: row[n] for n in ("step", "loss", "seconds", "held")}
            record["sweep"].append(kept | dict(seen=row.get("seen", {})))
        elif kind == "compare" and "held" in row:
            kept = {n: job[n] for n in COMPARED}
            found[name] = kept | {n: row[n] for n in TRAINED}
        elif kind == "compare":
            found[name] |= scores(row)
        elif kind == "whole":
            by_files = found[job["trained"]].setdefault("whole", {})
            by_files[row["files"]] = scores(row) | dict(unseen=row["unseen"])
        elif "rate" in row:
            rates[job["trained"]] = row["rate"]
        else:
            rate = rates[job["trained"]]
            found[job["trained"]]["adapted"] = dict(rate=rate, **scores(row))
    record["compare"] = [x for n, x in found.items() if n != "raw" and "mean" in x]
    record["compare"].sort(key=lambda r: (r["row"], r["lr"], r["seed"]))
    record["sweep"].sort(key=lambda r: (r["mode"], r["lora"], r["lr"], r["step"]))
    return rounded(record)


def scores(row: dict) -> dict:
    """Of an evaluation, by target and demonstration seed."""
    return {n: row[n] for n in ("mean", "unseen_mean", "targets")}


def reason(row: dict) -> str:
    """Why a job has no result, or not on all targets; "" where it has."""
    if "stopped" in row:
        return "time"
    why = row.get("failed")
    text = next(iter(why.values()), "") if isinstance(why, dict) else why or ""
    return text.partition(":")[0]


def unseen_of(folder: str) -> list[str]:
    """The targets of domains that no training task has."""
    from maml_en_llm import load_benchmark

    return sorted(load_benchmark(folder, "hr_to_lr", seeds=(100,)).unseen)


def rounded(value):
    """Floats to four digits after the point, rates of training as they are."""
    if isinstance(value, dict):
        return {n: x if n in RATES else rounded(x) for n, x in value.items()}
    if isinstance(value, list):
        return [rounded(x) for x in value]
    return round(value, 4) if isinstance(value, float) else value


def guesses(folder: str) -> dict:
    """What random answers get on the held tasks, by name."""
    from smollm2_tasks import HELD, SEEDS, as_held

    from maml_en_llm import load_benchmark
    from maml_en_llm.evaluation.benchmark import score_predictions

    train = load_benchmark(folder, "hr_to_lr", seeds=SEEDS).train
    rng, found = random.Random(0), {}
    for task in train:
        if task.kind == "free-form" or task.name not in HELD:
            continue
        queries = as_held(task).test
        points = fmean(
            score_predictions(
                task.kind, queries, [[rng.random() for _ in q.options] for q in queries]
            )
            for _ in range(GUESSES)
        )
        choice = fmean(math.log(len(q.options)) for q in queries)
        found[task.name] = dict(
            queries=len(queries), points=round(points, 2), choice=round(choice, 4)
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("cost", "trained"))
    parser.add_argument("lines")
    parser.add_argument("beside", help="lines of --exact, or the folder of the tasks")
    parser.add_argument("record", type=new_file)
    parser.add_argument("--note", default="", help="what a reader must know")
    options = parser.parse_args()
    if options.kind == "cost":
        record = cost(options.lines, options.beside, options.note)
    else:
        record = trained(options.lines, options.beside, options.note)
    write_whole(options.record, json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
