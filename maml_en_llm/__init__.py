"""MAML-en-LLM: meta-training language models with second-order MAML so that they learn better in context.

Data flows one way: tasks → prompts → loss → meta-gradient → training → evaluation.
"""

from .errors import DataError
from .evaluate import evaluate, evaluate_by
from .meta import MetaGradient, meta_gradient
from .methods import MAMLenLLM, MetaICL, Reptile
from .models import PromptLoss, load_model, parameters
from .prompts import Batch, Format, PromptEncoder
from .scoring import score_options
from .records import Example
from .tasks import Benchmark, Task, load_benchmark
from .train import TrainConfig, meta_train, train

__version__ = "0.1.0"
__all__ = [
    "Batch", "Benchmark", "DataError", "Example", "Format", "MAMLenLLM", "MetaGradient", "MetaICL", "PromptEncoder",
    "PromptLoss", "Reptile", "Task", "TrainConfig", "evaluate", "evaluate_by", "load_benchmark", "load_model", "meta_gradient", "meta_train",
    "parameters", "score_options", "train",
]
