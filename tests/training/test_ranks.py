"""Several processes give what one gives, whatever their number."""

import os
import signal
import socket
from dataclasses import replace

import pytest
import torch
from helpers import forked, status_of
from safetensors.torch import load_file

from maml_en_llm import checkpoint, load_model, train
from maml_en_llm.training import RankLost, is_first
from maml_en_llm.training.ranks import Ranks, joined_ranks

pytestmark = pytest.mark.usefixtures("one_thread")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def together(size: int, work) -> list[int]:
    """Process ids of ``work(rank)`` in ``size`` processes, as ``torchrun`` has them."""
    port = free_port()

    def one(rank):
        os.environ |= {
            "WORLD_SIZE": str(size),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        work(rank)

    return [forked(lambda rank=rank: one(rank)) for rank in range(size)]


def trained(config, output, size: int) -> None:
    pids = together(size, lambda rank: train(config, output=output))
    assert [status_of(pid) for pid in pids] == [0] * size


def distance(one, other) -> float:
    """‖θ − θ'‖ / ‖θ'‖ of two folders' weights."""
    a, b = (load_file(folder / "model.safetensors") for folder in (one, other))
    gap = sum((a[name].double() - b[name].double()).square().sum() for name in b)
    return (gap / sum(b[name].double().square().sum() for name in b)).sqrt().item()


@pytest.fixture(scope="module")
def three(config):
    """Three tasks per step: uneven over two processes, and one has none of four."""
    return replace(config, tasks_per_step=3, prompts=1, steps=3)


def test_processes_wait_by_a_tensor_of_their_device(monkeypatch):
    """Of nccl, which has no other: a tensor of the CPU would end the run."""
    seen = []

    def all_reduce(tensor, how):
        seen.append(tensor.device.type)

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    Ranks(0, 2).wait(torch.device("meta"))
    assert seen == ["meta"]


METHODS = {
    "maml-en-llm": dict(inner_steps=2),
    "metaicl": dict(method="metaicl"),
    "reptile": dict(method="reptile", moments="fresh"),
}


@pytest.mark.numeric
@pytest.mark.parametrize("changes", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("size", [2, 3])
def test_n_processes_are_one_in_float64(three, tmp_path, size, changes):
    config = replace(three, dtype="float64", **changes)
    one = train(config, output=tmp_path / "one")
    trained(config, tmp_path / "more", size)
    more = train(config, output=tmp_path / "more")  # the record that is there
    assert more["losses"] == pytest.approx(one["losses"], rel=1e-12)
    for row, other in zip(more["inner_losses"], one["inner_losses"], strict=True):
        assert [len(losses) for losses in row] == [len(losses) for losses in other]
        for losses, others in zip(row, other, strict=True):
            assert losses == pytest.approx(others, rel=1e-12)
    assert more["budget"] == one["budget"] and more["processes"] == size
    assert distance(tmp_path / "more", tmp_path / "one") < 1e-12
    assert sorted(path.name for path in tmp_path.iterdir()) == ["more", "one"]


@pytest.mark.numeric
def test_n_processes_are_one_in_float32(three, tmp_path):
    """Within a few times what one process in float32 is off from float64."""
    model, words = load_model(three.model, seed=1)
    for part in (model, words):
        part.save_pretrained(tmp_path / "start")
    start = str(tmp_path / "start")
    config = replace(three, model=start, optimizer="sgd", lr=0.1, steps=2)
    train(replace(config, dtype="float64"), output=tmp_path / "exact")
    train(config, output=tmp_path / "one")
    trained(config, tmp_path / "more", 2)
    rounding = distance(tmp_path / "one", tmp_path / "exact")
    assert 0 < rounding < 1e-2  # one and the same run
    assert distance(tmp_path / "more", tmp_path / "one") < 4 * rounding


def test_a_process_without_a_task_takes_part(three, tmp_path):
    config = replace(three, tasks_per_step=1, dtype="float64")
    train(config, output=tmp_path / "one")
    trained(config, tmp_path / "more", 2)
    assert distance(tmp_path / "more", tmp_path / "one") < 1e-12


def test_one_process_dies_and_others_go_on_from_its_checkpoint(three, tmp_path):
    """The run ends with a message and a checkpoint; one process less goes on."""
    config = replace(three, dtype="float64", steps=5)
    output, said = tmp_path / "more", tmp_path / "said"

    def work(rank):
        def progress(step, row):
            (tmp_path / "two").touch() if step == 1 else None

        if rank == 1:  # dies once two steps are done

            def watch(*_):
                if (tmp_path / "two").exists():
                    os.kill(os.getpid(), signal.SIGKILL)

            signal.signal(signal.SIGALRM, watch)
            signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
            train(config, output=output)
        try:
            train(config, output=output, progress=progress)
        except RankLost as error:
            said.write_text(str(error))
            raise SystemExit from None

    first, second = together(2, work)
    assert (status_of(second), status_of(first)) == (-signal.SIGKILL, 1)
    assert "process 0 of 2 has lost another one" in said.read_text()
    step, *_ = checkpoint.load_checkpoint(tmp_path / "more.checkpoint")
    assert 2 <= step < 5
    with pytest.warns(UserWarning, match="processes: 2 there, 1 here"):
        record = train(config, output=output)
    assert [sitting["processes"] for sitting in record["earlier_sittings"]] == [2]
    assert len(record["losses"]) == 5
    train(config, output=tmp_path / "one")
    assert distance(output, tmp_path / "one") < 1e-12


@pytest.mark.parametrize("size", ["two", "-1", ""])
def test_a_number_of_processes_that_is_none(monkeypatch, size):
    monkeypatch.setenv("WORLD_SIZE", size)
    message = "WORLD_SIZE: expected a whole number"
    with pytest.raises(ValueError, match=message), joined_ranks("cpu"):
        pass


@pytest.mark.parametrize("rank", ["1", "x", "-1"])
def test_a_rank_without_a_number_of_processes(monkeypatch, rank):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("RANK", rank)
    message = f"RANK: expected a whole number from torchrun.* found '{rank}'; unset it"
    with pytest.raises(ValueError, match=message), joined_ranks("cpu"):
        pass
    with pytest.raises(ValueError, match=message):
        is_first()
    monkeypatch.setenv("RANK", "0")
    with joined_ranks("cpu") as ranks:
        assert (ranks.rank, ranks.size) == (0, 1)
    assert is_first()
