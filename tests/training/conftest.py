"""One small run that all tests of training share."""

import pytest
import torch
from helpers import write_benchmark, write_model

from maml_en_llm import TrainConfig, load_benchmark


@pytest.fixture(scope="session")
def config(tmp_path_factory) -> TrainConfig:
    root = tmp_path_factory.mktemp("train")
    write_benchmark(root / "tasks")
    write_model(root / "model")
    return TrainConfig(
        benchmark=str(root / "tasks"),
        setting="mini",
        model=str(root / "model"),
        steps=4,
        tasks_per_step=2,
        prompts=2,
        demonstrations=3,
        lr=1e-2,
        inner_lr=1e-2,
        max_length=128,
    )


@pytest.fixture(scope="session")
def tasks(config):
    return load_benchmark(config.benchmark, config.setting).train


@pytest.fixture
def one_thread():
    """For tests that fork: a child does not have its parent's other threads, and would
    wait for them for ever."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
