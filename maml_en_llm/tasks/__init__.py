"""Tasks and benchmarks: one source, opened once."""

from .benchmark import Benchmark, Task, load_benchmark, load_held
from .examples import Example, read_examples
from .source import load_settings
from .subset import limit

__all__ = [
    "Benchmark",
    "Example",
    "Task",
    "limit",
    "load_benchmark",
    "load_held",
    "load_settings",
    "read_examples",
]
