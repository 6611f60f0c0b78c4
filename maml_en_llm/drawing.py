"""Random weights by a seed, also where several threads load models."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import torch

_alone = RLock()


@contextmanager
def drawn_with(seed: int) -> Iterator[None]:
    """Within, torch draws on the CPU by ``seed``; after it goes on as before.

    The generator is one for all threads: those that draw so wait for each other.
    """
    with _alone, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
