"""`reproduce` killed at random moments: nothing is lost, and no number changes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
KILLS = 25
SECONDS = 0.4  # within which a run is killed
TIMES = (
    "provenance",
    "seconds",
    "asked_seconds",
    "seal",
)  # what differs from one run to the next


@pytest.mark.long
def test_a_log_survives_being_killed_25_times(tmp_path):
    done = subprocess.run(
        [sys.executable, __file__, tmp_path],
        capture_output=True,
        text=True,
        env=os.environ
        | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(
                [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
            ),
        },
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[-1]) >= KILLS


def main(folder: Path) -> None:
    """Kill, go on, compare; print the number of kills."""
    import torch
    from helpers import write_benchmark, write_model
    from killing import killed_at_random

    from maml_en_llm import TrainConfig
    from maml_en_llm.runs import Run, reproduce
    from maml_en_llm.runs.log import read_log

    torch.set_num_threads(1)
    config = TrainConfig(
        benchmark=str(write_benchmark(folder / "tasks", test=("c", "d"))),
        setting="mini",
        model=str(write_model(folder / "model")),
        demonstrations=2,
        steps=1,
    )
    runs = [
        Run(name=name, config=config, seeds=(100,), max_records=records)
        for records in (1, 2, 3, 4)
        for name in ("majority", "zero-shot", "MetaICL", "oracle")
    ]
    expected = [bare(row) for row in reproduce(runs, folder / "undisturbed")]
    kills = attempt = 0
    while kills < KILLS:
        log = folder / f"log-{attempt}"
        kills += killed_at_random(
            lambda log=log: reproduce(runs, log), KILLS, SECONDS, seed=attempt
        )
        found = reproduce(runs, log)
        assert [bare(row) for row in found] == expected
        assert sorted(row["hash"] for row in read_log(log)) == sorted(
            run.hash for run in runs
        )
        attempt += 1
    print(kills)


def bare(record: dict) -> dict:
    """A record without what differs from one run to the next."""
    return {name: value for name, value in record.items() if name not in TIMES}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
