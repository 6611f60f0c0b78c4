"""MiniCrossFit: the embedded benchmark, generated from a seed."""

from .benchmark import cached, write_benchmark
from .draw import Draw
from .families import DIFFICULTIES, Difficulty

__all__ = ["DIFFICULTIES", "Difficulty", "Draw", "cached", "write_benchmark"]
