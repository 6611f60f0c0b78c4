"""Random weights by a seed, also where several threads load models."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import torch

_alone = RLock()


@contextmanager
def drawn_with(seed: int) -> Iterator[None]:
    """Within, torch draws by ``seed``; after it goes on as before.

    So it does on CUDA devices where CUDA is in use already, not on MPS. The generators
    are one for all threads: those that draw so wait for each other.
    """
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with _alone, torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(seed)
        for gpu in gpus:
            torch.cuda.default_generators[gpu].manual_seed(seed)
        yield
