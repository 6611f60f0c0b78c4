"""The scorecard of claims C1 to C7, from the records of the experiments.

    python benchmarks/scorecard.py            # writes results/scorecard.json
    python benchmarks/scorecard.py --check    # fails where that is not what they give

Computes nothing but intervals: records are those of `python -m maml_en_llm reproduce
E1` to `E5`, verdicts on cells those of benchmarks/conditions.py.
"""

import argparse
import json
from pathlib import Path

from report import new_file

from maml_en_llm.provenance import describe, write_whole
from maml_en_llm.runs.alive import Cell
from maml_en_llm.runs.scorecard import (
    differences,
    published_cells,
    published_records,
    scorecard,
)

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Read, compute, print, store or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini-base")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--out", type=new_file)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    out = options.out or options.results / "scorecard.json"
    cells: list[Cell] = published_cells(options.results, options.model)
    records = published_records(options.results, options.model)
    if not (cells and records):
        parser.error(
            f"--model: expected a model with records E1.jsonl … and "
            f"conditions-{options.model}.json in {options.results}, found none of "
            f"{options.model!r}"
        )
    rows = scorecard(records, cells)
    for row in rows:
        print(f"{row['claim']}  {row['says']}: {row['verdict']}. {row['why']}")
    if options.check:
        found = differences(json.loads(out.read_text())["rows"], rows)
        if found:
            raise SystemExit("\n".join(found))
        return
    counts = {name: len(found) for name, found in records.items()}
    about = dict(machine=describe(), model=options.model, records=counts)
    write_whole(out, json.dumps(about | dict(rows=rows), indent=1) + "\n")


if __name__ == "__main__":
    main()
