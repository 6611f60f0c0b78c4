"""The shipped base models, their text and their pre-training."""

from .pretrain import PretrainConfig, pretrain
from .recipe import Stage
from .recipes import RECIPES
from .weights import SHIPPED

__all__ = ["RECIPES", "SHIPPED", "PretrainConfig", "Stage", "pretrain"]
