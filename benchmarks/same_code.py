"""A change of code that changes no number: shown by records computed again, to the bit.

    python benchmarks/same_code.py --because "errors are checked earlier" --count 12

A record names the code that made it, and is flagged when that is not the code here. If
a change was meant to change no number, this computes published records of the code
before it again: of every row of a table one, with and without adaptation, then of
other settings and budgets. Every number has to be the same to the bit, so it has to run
on a processor and with a torch like those of the records. Then the change is added to
results/same_code.json, and records of the code before it count as current
(`runs.code.codes_alike`). Otherwise nothing is written, and it ends with 1.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from operator import itemgetter
from pathlib import Path

import torch
from report import machine
from transformers.utils import logging

from maml_en_llm.errors import check_integer
from maml_en_llm.provenance import write_whole
from maml_en_llm.runs.again import is_here, run_of, stored_records
from maml_en_llm.runs.code import SAME_CODE, code_below, read_changes
from maml_en_llm.runs.compare import run_name
from maml_en_llm.runs.costs import units_of_group
from maml_en_llm.runs.log import reproduce
from maml_en_llm.runs.pairs import changes_of
from maml_en_llm.sittings import torch_version

ROOT = Path(__file__).resolve().parents[1]
# what is of the making of a record, not of its result
OF_MAKING = (
    *("seconds", "asked_seconds", "provenance", "seal", "code", "torch"),
    "further",  # what it was read from: that is here, or is_here says so
)


def main() -> int:
    """Compute again, compare, and write the change down."""
    parser = argparse.ArgumentParser(description="Show that code gives the same.")
    parser.add_argument("--because", required=True, help="what was changed")
    parser.add_argument("--count", type=int, default=12, help="records")
    parser.add_argument(
        "--before",
        help="of which code records are computed again, say one run on a processor "
        "like this (default: that of the most records)",
    )
    options = parser.parse_args()
    logging.disable_progress_bar()
    count = check_integer("--count", options.count, 1)
    now = code_below()
    old = [row for _, row in stored_records(ROOT / "results") if row["code"] != now]
    old = [row for row in old if row.get("torch") == torch_version()]
    # another number of threads adds in another order
    threads = torch.get_num_threads()
    old = [row for row in old if row["provenance"]["threads"] == threads]
    if options.before is not None:
        old = [row for row in old if row["code"] == options.before]
    if not old:
        sys.exit("expected records of other code, found none: nothing to be shown")
    ((before, _),) = Counter(row["code"] for row in old).most_common(1)
    chosen = of_each_kind(row for row in old if row["code"] == before)[:count]
    for record in chosen:
        started = time.perf_counter()
        if differing := differences(record):
            print(f"{run_name(record)}: other numbers: {', '.join(differing)}")
            return 1
        taken = f"{time.perf_counter() - started:.0f} s"
        print(f"{run_name(record)}: the same to the bit, {taken}", flush=True)
    path = ROOT / "results" / f"{SAME_CODE}.json"
    changes = read_changes(path) if path.is_file() else []
    changes.append(
        dict(
            before=before,
            after=now,
            because=options.because,
            machine=machine("cpu"),
            same=[dict(run=run_name(row), hash=row["hash"]) for row in chosen],
        )
    )
    write_whole(path, json.dumps(dict(changes=changes), indent=1) + "\n")
    return 0


def of_each_kind(records: Iterable[Mapping]) -> list[Mapping]:
    """One record of each kind, the cheapest to compute.

    First one of every row of a table, with and without adaptation; then a second one of
    each, and so on.
    """
    found: dict[str, dict[str, tuple[float, Mapping]]] = {}
    for record in records:
        run = run_of(record)
        if not is_here(run, record):
            continue
        adapted = (record["run"].get("evaluate") or {}).get("adapt") or {}
        row = f"{record['method']}, adapted {adapted.get('steps')}"
        kind = [record["setting"], record["mode"], run.budget, *changes_of(record)]
        cost = units_of_group([run])
        kinds = found.setdefault(row, {})
        name = json.dumps(kind)
        if name not in kinds or cost < kinds[name][0]:
            kinds[name] = cost, record
    by_cost = itemgetter(0)
    ranked = [
        (place, cost, record)
        for kinds in found.values()
        for place, (cost, record) in enumerate(sorted(kinds.values(), key=by_cost))
    ]
    return [record for _, _, record in sorted(ranked, key=itemgetter(0, 1))]


def differences(record: Mapping) -> list[str]:
    """The parts of a record that come out otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        (fresh,) = reproduce([run_of(record)], Path(folder) / "log")
    parts = (set(record) | set(fresh)) - set(OF_MAKING)
    again = json.loads(json.dumps(fresh))
    return sorted(n for n in parts if record.get(n) != again.get(n))


if __name__ == "__main__":
    sys.exit(main())
