"""Meta-training: a configuration, the loop, and runs that can be put down."""

from ..signals import Interrupted
from .config import TrainConfig
from .inner_loop import in_words
from .loop import meta_train
from .ranks import RankLost, is_first
from .run import CHECKPOINT_EVERY, train
from .state import TrainState

__all__ = [
    "CHECKPOINT_EVERY",
    "Interrupted",
    "RankLost",
    "TrainConfig",
    "TrainState",
    "in_words",
    "is_first",
    "meta_train",
    "train",
]
