"""What every test runs under."""

import torch

# The models are so small that a second thread only waits; on a busy machine it makes a
# test ten times slower.
torch.set_num_threads(1)
