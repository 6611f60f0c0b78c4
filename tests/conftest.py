"""What every test runs under."""

import os
import signal

import torch

# The models are so small that a second thread only waits; on a busy machine it makes a
# test ten times slower. Another number is for trying what other machines round to.
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))

# A shell lets what it runs in the background ignore Ctrl-C, and children inherit that:
# those of the tests are to hear it wherever the tests were started.
signal.signal(signal.SIGINT, signal.default_int_handler)
