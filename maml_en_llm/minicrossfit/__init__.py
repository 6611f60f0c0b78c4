"""MiniCrossFit: the embedded benchmark, generated from a seed."""

from .benchmark import write_benchmark
from .cache import NAME, cached
from .draw import Draw
from .recipes import DIFFICULTIES, Difficulty

__all__ = [
    "DIFFICULTIES",
    "NAME",
    "Difficulty",
    "Draw",
    "cached",
    "write_benchmark",
]
