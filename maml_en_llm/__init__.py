"""MAML-en-LLM: meta-training language models with second-order MAML.

Data flows one way: tasks → prompts → loss → meta-gradient → training → evaluation.
Each name is imported when it is first asked for, so that the command line answers
without waiting for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from . import sources  # noqa: F401  reads all files before one of them runs

if TYPE_CHECKING:
    from .errors import DataError
    from .evaluation import Adaptation, evaluate, evaluate_by, score_options, score_pmi
    from .meta import MetaGradient, meta_gradient
    from .methods import Episode, EpisodeSampler, MAMLenLLM, MetaICL, Reptile
    from .models import PromptLoss, load_model, parameters, write_back
    from .optimizers import SGD, Adam, AdamW, Lion, Momentum, RMSprop
    from .prompts import Batch, Format, PromptEncoder
    from .tasks import Benchmark, Example, Task, load_benchmark
    from .training import TrainConfig, meta_train, train

__version__ = "0.1.0"

# room: its public names
_ROOMS = {
    "errors": ["DataError"],
    "tasks": ["Benchmark", "Example", "Task", "load_benchmark"],
    "prompts": ["Batch", "Format", "PromptEncoder"],
    "optimizers": ["SGD", "Adam", "AdamW", "Lion", "Momentum", "RMSprop"],
    "meta": ["MetaGradient", "meta_gradient"],
    "models": ["PromptLoss", "load_model", "parameters", "write_back"],
    "methods": ["Episode", "EpisodeSampler", "MAMLenLLM", "MetaICL", "Reptile"],
    "training": ["TrainConfig", "meta_train", "train"],
    "evaluation": [
        "Adaptation",
        "evaluate",
        "evaluate_by",
        "score_options",
        "score_pmi",
    ],
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Adaptation",
    "Batch",
    "Benchmark",
    "DataError",
    "Episode",
    "EpisodeSampler",
    "Example",
    "Format",
    "Lion",
    "MAMLenLLM",
    "MetaGradient",
    "MetaICL",
    "Momentum",
    "PromptEncoder",
    "PromptLoss",
    "RMSprop",
    "Reptile",
    "Task",
    "TrainConfig",
    "evaluate",
    "evaluate_by",
    "load_benchmark",
    "load_model",
    "meta_gradient",
    "meta_train",
    "parameters",
    "score_options",
    "score_pmi",
    "train",
    "write_back",
]


def __getattr__(name: str):
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_ROOM_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
