"""The shipped base model, its text and its pre-training."""

from .pretrain import PretrainConfig, pretrain
from .weights import SHIPPED

__all__ = ["SHIPPED", "PretrainConfig", "pretrain"]
