"""Meta-training: the loop that draws meta-batches and steps."""

from .config import TrainConfig
from .loop import meta_train, train

__all__ = ["TrainConfig", "meta_train", "train"]
