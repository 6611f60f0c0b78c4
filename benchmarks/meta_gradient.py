r"""Time, memory and error of one meta-gradient: this package and its peers.

The peers are `higher` and `torchopt`.

    pip install -e .[bench]
    # hours; an interrupted run goes on where it stopped
    python benchmarks/meta_gradient.py
    # both shapes shrunk, a few minutes
    python benchmarks/meta_gradient.py --quick --ks 1 4 --repeats 1
    python benchmarks/meta_gradient.py --device cuda --shapes gpt2 gpt2-medium \
        --optimizers Adam --ks 1 4 --errors

Every measurement runs in a process of its own, or on a GPU in this one, since a peak
can be reset there; the methods come one after the other within each repeat. The first
repeat also compares with a float64 gradient, up to k = 4. The log may be filled by
several commands, for example first `--optimizers Adam --ks 1 4 --repeats 5`; what it
holds of the plan is reported. Prints a Markdown table and a PASS or FAIL line per bar,
and stores them as JSON.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import torch
from bars import ERROR, PEERS, verdicts
from measure import Case, bandwidth, measure, rounding, write_reference
from report import at_least_one, machine, markdown, new_file, summarise

from maml_en_llm.provenance import write_whole

ROOT = Path(__file__).resolve().parents[1]
SHAPES = {
    "parameter": dict(words=50257, prompts=1, length=256),
    "activation": dict(words=8192, prompts=4, length=512),
    "gpt2": dict(words=50257, prompts=1, length=1024, layers=12, width=768),
    "gpt2-medium": dict(words=50257, prompts=1, length=1024, layers=24, width=1024),
}
METHODS = ["reverse", "unrolled", "finite_difference", "higher", "torchopt"]
QUICK = {
    "parameter": dict(words=2000, prompts=1, length=24, layers=2, width=64),
    "activation": dict(words=500, prompts=2, length=64, layers=2, width=64),
}
CHECKED = 4  # inner steps up to which the error is measured
LONG = 32  # inner steps; the peers have no memory for it: "reverse" by Adam, once
ERRORS = ("Momentum", "AdamW", "RMSprop", "Lion")


def main() -> None:
    """Measure what the log does not hold yet, then report all of it."""
    options = parse()
    if options.worker:
        print(json.dumps(result(json.loads(options.worker))))  # the last line
        return
    name = f"meta_gradient-{options.device}" + "-quick" * options.quick
    log = Path(options.log or ROOT / f"_build/{name}.jsonl")
    log.parent.mkdir(parents=True, exist_ok=True)
    plan = schedule(options)
    if not options.report:
        begin(log, options.device)
    if not read(log)[0]:
        sys.exit(
            f"--log: expected a first line with the machine of the measurements, found "
            f"none in {log}; measure again into a new log"
        )
    if not options.report:
        run(plan, options, log)
    about, measured = read(log)
    rows, dates = summarise(plan, measured), sorted({line["date"] for line in measured})
    about |= dict(measured=dates)
    lines = verdicts(rows, about["bandwidth"])
    print(
        markdown(rows),
        *lines,
        *(f"{name}: {value}" for name, value in about.items()),
        sep="\n",
    )
    record = Path(
        options.record
        or ROOT / (f"_build/{name}.json" if options.quick else f"results/{name}.json")
    )
    record.parent.mkdir(exist_ok=True)
    found = {"machine": about, "bars": lines, "rows": rows}
    write_whole(record, json.dumps(found, indent=1) + "\n")


def parse() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="both shapes shrunk to seconds"
    )
    parser.add_argument(
        "--shapes", nargs="+", choices=SHAPES, default=["parameter", "activation"]
    )
    parser.add_argument(
        "--optimizers", nargs="+", default=["SGD", "Adam"], choices=["SGD", "Adam"]
    )
    parser.add_argument(
        "--ks",
        nargs="+",
        type=int,
        default=[1, 2, 4, 8, LONG],
        help=f"{LONG}: reverse only, once",
    )
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument(
        "--errors",
        nargs="*",
        choices=ERRORS,
        default=ERRORS,
        help="optimizers of which 'reverse' has its error measured at k = 2, once",
    )
    parser.add_argument(
        "--checked",
        type=int,
        default=CHECKED,
        help="inner steps up to which the error is measured",
    )
    parser.add_argument("--repeats", type=at_least_one, default=5)
    parser.add_argument(
        "--time-budget",
        type=float,
        default=float("inf"),
        help="s; no repeat but the first after it",
    )
    parser.add_argument("--layers", type=at_least_one, default=4)
    parser.add_argument(
        "--width", type=int, default=256, help="one attention head for every 64"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument(
        "--attention",
        default="twice",
        help="of this package's exact modes; the peers run 'eager'",
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="measure nothing; report what the log holds",
    )
    parser.add_argument(
        "--log",
        type=new_file,
        help="JSON lines, one a measurement; continued if it exists",
    )
    parser.add_argument("--record", type=new_file, help="where the JSON record goes")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def schedule(options) -> list[tuple[Case, str, int]]:
    """What to measure: (case, method, repeats), the cases with all methods first."""
    common = dict(
        device=options.device, dtype=options.dtype, attention=options.attention
    )
    plan = []
    for name in options.shapes:
        size = (
            dict(layers=options.layers, width=options.width)
            | (QUICK if options.quick else SHAPES)[name]
        )
        case = Case(shape=name, optimizer="none", k=0, **size, **common)
        plan.append((case, "first_order", options.repeats))
        for optimizer in options.optimizers:
            for k in (k for k in options.ks if k < LONG or optimizer == "Adam"):
                for method in (
                    m for m in options.methods if k < LONG or m == "reverse"
                ):
                    repeats = 1 if k >= LONG else options.repeats
                    plan.append(
                        (replace(case, optimizer=optimizer, k=k), method, repeats)
                    )
        if "reverse" in options.methods:
            plan += [
                (replace(case, optimizer=optimizer, k=2), "reverse", 1)
                for optimizer in options.errors
            ]
    return plan


def begin(log: Path, device: str) -> None:
    """A new log says first where it is measured: it may be reported elsewhere.

    What another machine has begun is not gone on with.
    """
    here, (there, measured) = machine(device, PEERS), read(log)
    if not there and not measured:
        about = here | dict(bandwidth=bandwidth(device))
        write_whole(log, json.dumps({"machine": about}) + "\n")
    for name in ("gpu", "cpu", "cores", "torch"):
        if there and there.get(name) != here.get(name):
            sys.exit(
                f"--log: expected measurements of this machine ({name} "
                f"{here.get(name)}), found those of {there.get(name)}; name a new log"
            )


def run(plan, options, log: Path) -> None:
    """Measure, repeat by repeat and case by case, what ``log`` lacks."""
    start = time.monotonic()
    done = {key(line["case"], line["method"], line["repeat"]) for line in read(log)[1]}
    for repeat in range(options.repeats):
        for case in dict.fromkeys(case for case, _, _ in plan):
            methods = [
                method for c, method, repeats in plan if c == case and repeat < repeats
            ]
            missing = [
                method
                for method in methods
                if key(asdict(case), method, repeat) not in done
            ]
            if repeat and time.monotonic() - start > options.time_budget:
                return
            if missing:
                checked = repeat == 0 and 0 < case.k <= options.checked
                measure_case(case, missing, repeat, log, checked)


def measure_case(
    case: Case, methods: list[str], repeat: int, log: Path, checked: bool
) -> None:
    """One measurement by each method, appended to ``log``; with its error if asked."""
    with tempfile.TemporaryDirectory() as folder:
        exact, facts = None, {}
        if checked:
            exact = f"{folder}/reference.pt"
            facts = made(dict(case=asdict(case), path=exact))
            exact = None if "failed" in facts else exact
        for method in methods:
            found = made(dict(case=asdict(case), method=method, reference=exact))
            if method == "reverse" and found.get("error", 0) > ERROR:
                found |= made(dict(case=asdict(case), rounding=exact))
            line = (
                dict(
                    case=asdict(case),
                    method=method,
                    repeat=repeat,
                    date=date.today().isoformat(),
                )
                | facts
                | found
            )
            with log.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(
                f"{case.shape} {case.optimizer} k={case.k} {method} #{repeat}: {found}",
                file=sys.stderr,
                flush=True,
            )


def made(task: dict) -> dict:
    """What ``task`` found, or the end of its complaint as "failed"."""
    on_gpu = task["case"]["device"].startswith("cuda")
    return here(task) if on_gpu else spawn(task)


def here(task: dict) -> dict:
    """Do ``task`` in this process: others take half a minute to begin."""
    try:
        return result(task)
    except Exception as error:
        return dict(failed=f"{type(error).__name__}: {error}"[-300:])
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def spawn(task: dict) -> dict:
    """Do ``task`` in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, "--worker", json.dumps(task)]
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    if ended.returncode:
        return dict(failed=f"exit {ended.returncode}: {ended.stderr.strip()[-300:]}")
    return json.loads(ended.stdout.splitlines()[-1])


def result(task: dict) -> dict:
    """One measurement or reference."""
    case = Case(**task["case"])
    if "path" in task:
        return write_reference(case, task["path"])
    if "rounding" in task:
        return rounding(case, task["rounding"])
    return measure(case, task["method"], task["reference"])


def read(log: Path) -> tuple[dict, list[dict]]:
    """The machine of a log and its measurements, none if there is no such file."""
    if not log.is_file():
        return {}, []
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    machines = [line["machine"] for line in lines if "machine" in line]
    return next(iter(machines), {}), [line for line in lines if "case" in line]


def key(case: dict, method: str, repeat: int) -> str:
    """What tells one measurement from another."""
    return json.dumps([case, method, repeat], sort_keys=True)


if __name__ == "__main__":
    main()
