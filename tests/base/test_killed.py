"""Pre-training that is killed and begun again ends bit-identical."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.long
def test_killed_pretraining_ends_the_same(tmp_path):
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["at writes"] >= 10
    assert found["at random"] >= 25


def kill_and_go_on(folder: Path) -> dict:
    """Kills: before each write of a run in turn, and at random moments of others."""
    from helpers import content
    from killing import killed_at_random, killed_at_write

    from maml_en_llm.base import PretrainConfig, pretrain

    # most of a small run's time, and not what is tried here
    sys.modules["maml_en_llm.base.pretrain"].probes = lambda *_, **__: {}
    config = PretrainConfig(
        layers=1, width=16, heads=2, steps=24, tokens=256, lengths=(16,), warmup=5
    )
    start = time.perf_counter()
    pretrain(config, folder / "whole", every=8)
    seconds = time.perf_counter() - start
    expected = content(folder / "whole")

    def check(output: Path) -> None:
        pretrain(config, output, every=8)
        assert content(output) == expected, output

    at_writes = 0
    while True:
        output = folder / f"write {at_writes + 1}"
        if not killed_at_write(
            lambda to=output: pretrain(config, to, every=8), at_writes + 1
        ):
            break
        check(output)
        at_writes += 1
    at_random, runs = 0, 0
    while at_random < 25:
        runs += 1
        output = folder / f"random {runs}"
        killed = killed_at_random(
            lambda to=output: pretrain(config, to, every=8), 5, seconds, seed=runs
        )
        check(output)
        at_random += killed
    return {"at writes": at_writes, "at random": at_random, "seconds": seconds}


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    print(json.dumps(kill_and_go_on(Path(sys.argv[1]))))
