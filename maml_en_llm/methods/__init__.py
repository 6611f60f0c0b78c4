"""Methods: each turns a meta-batch of episodes into one gradient."""

from .base import Method, OuterGradient
from .budget import Budget
from .episodes import Episode, EpisodeSampler
from .maml import MAMLenLLM
from .metaicl import MetaICL
from .registry import METHODS
from .reptile import Reptile

__all__ = [
    "METHODS",
    "Budget",
    "Episode",
    "EpisodeSampler",
    "MAMLenLLM",
    "MetaICL",
    "Method",
    "OuterGradient",
    "Reptile",
]
