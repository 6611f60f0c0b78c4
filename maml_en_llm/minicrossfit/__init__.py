"""MiniCrossFit: the embedded benchmark, generated from a seed."""

from .benchmark import NAME, cached, write_benchmark
from .draw import Draw
from .families import DIFFICULTIES, Difficulty

__all__ = [
    "DIFFICULTIES",
    "NAME",
    "Difficulty",
    "Draw",
    "cached",
    "write_benchmark",
]
