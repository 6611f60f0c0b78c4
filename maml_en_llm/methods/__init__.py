"""Methods: each turns a meta-batch of episodes into one gradient."""

from .base import OuterGradient
from .budget import Budget
from .episodes import Episode, EpisodeSampler
from .maml import MAMLenLLM
from .metaicl import MetaICL
from .reptile import Reptile

__all__ = [
    "Budget",
    "Episode",
    "EpisodeSampler",
    "MAMLenLLM",
    "MetaICL",
    "OuterGradient",
    "Reptile",
]
