"""Random choices that are the same under every version of Python."""

from random import Random


class Draw:
    """Random choices made from `random.Random.random` only.

    Its numbers do not change between Python versions.
    """

    def __init__(self, seed: int):
        self._next = Random(seed).random

    def chance(self, p: float) -> bool:
        """True with probability p."""
        return self._next() < p

    def one(self, items):
        """One of the items."""
        return items[int(self._next() * len(items))]

    def some(self, items, n: int) -> list:
        """n different items, in random order."""
        pool = list(items)
        return [pool.pop(int(self._next() * len(pool))) for _ in range(n)]

    def shuffled(self, items) -> list:
        """All items in random order."""
        return self.some(items, len(items))
