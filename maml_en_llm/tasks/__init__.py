"""Tasks and benchmarks: one source, opened once."""

from .benchmark import Benchmark, load_benchmark, load_held
from .examples import Example, read_examples
from .random_labels import with_random_labels
from .source import load_settings
from .subset import limit
from .task import Task

__all__ = [
    "Benchmark",
    "Example",
    "Task",
    "limit",
    "load_benchmark",
    "load_held",
    "load_settings",
    "read_examples",
    "with_random_labels",
]
