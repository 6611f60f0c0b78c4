"""What every test runs under."""

import os

import torch

# The models are so small that a second thread only waits; on a busy machine it makes a
# test ten times slower. Another number is for trying what other machines round to.
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
