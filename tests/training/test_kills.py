"""Runs killed at any instant, some inside a write: resumed, they end to the bit."""

import os
import random
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import forked, status_of

from maml_en_llm import checkpoint, provenance, train

pytestmark = pytest.mark.usefixtures("one_thread")
KILLS = 28  # at least


class Events:
    """Counts what a run does on the disk, and kills it at one of these."""

    def __init__(self, at: int | None = None):
        self.count, self.at = 0, at

    def __call__(self, half=None) -> None:
        self.count += 1
        if self.count == self.at:
            if half is not None:
                half()
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, monkeypatch) -> None:
        """Count renames, flushes, removals and writes, the last by halves too."""

        def before(owner, name):
            whole = getattr(owner, name)

            def watched(*arguments, **named):
                self()
                return whole(*arguments, **named)

            monkeypatch.setattr(owner, name, watched)

        for owner, name in ((os, "replace"), (os, "fsync"), (Path, "unlink")):
            before(owner, name)
        before(provenance.shutil, "rmtree")
        save = checkpoint.save_file

        def halved(tensors, path):
            save(tensors, path)
            content = Path(path).read_bytes()
            self(lambda: Path(path).write_bytes(content[: len(content) // 2]))

        monkeypatch.setattr(checkpoint, "save_file", halved)


@pytest.fixture(scope="module")
def tiny(config):
    return replace(config, steps=6, tasks_per_step=1, prompts=1, demonstrations=1)


def attempt(config, output, events: Events, timer: float | None = None) -> int:
    """One process that trains into ``output``; its status."""

    def work():
        patch = pytest.MonkeyPatch()
        events.watch(patch)
        if timer is not None:
            own = os.getpid(), signal.SIGKILL
            threading.Timer(timer, os.kill, own).start()
        train(config, output=output, checkpoint_every=1, progress=lambda *_: events())
        (output.parent / f"{output.name}.events").write_text(str(events.count))

    return status_of(forked(work))


@pytest.mark.long
def test_killed_at_any_instant(tiny, tmp_path):
    assert attempt(tiny, tmp_path / "whole", Events()) == 0
    total = int((tmp_path / "whole.events").read_text())
    expected = (tmp_path / "whole" / "model.safetensors").read_bytes()
    assert total > 40  # of six checkpoints and an output
    rng = random.Random(7)
    points = [*range(1, total, max(1, total // 18)), total]
    rng.shuffle(points)
    kills = 0
    while points or kills < KILLS:
        output = tmp_path / f"run{kills:02}"
        status = -9
        for _ in range(5):  # one run, killed again and again
            events = Events(points.pop() if points else None)
            timer = None if events.at else rng.uniform(0.0, 0.4)
            status = attempt(tiny, output, events, timer)
            if status == 0:
                break
            assert status == -signal.SIGKILL
            kills += 1
        if status:
            assert attempt(tiny, output, Events()) == 0
        assert (output / "model.safetensors").read_bytes() == expected
        left = {path.name for path in tmp_path.glob(f"*{output.name}*")}
        assert left == {output.name, f"{output.name}.events"}
    assert kills >= KILLS
