"""What every test runs under."""

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config

# The models are so small that a second thread only waits; on a busy machine it makes a
# test ten times slower. Another number is for trying what other machines round to.
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))

# A shell lets what it runs in the background ignore Ctrl-C, and children inherit that:
# those of the tests are to hear it wherever the tests were started.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def small_gpt2(bpe, tmp_path) -> Path:
    """A folder with a small GPT-2's configuration and the tokenizer, no weights."""
    folder = tmp_path / "small-gpt2"
    shape = dict(n_layer=2, n_embd=16, n_head=2, n_positions=128)
    GPT2Config(**shape).save_pretrained(folder)
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(Path(os.environ["GPT2_BPE"]) / name, folder)
    return folder
