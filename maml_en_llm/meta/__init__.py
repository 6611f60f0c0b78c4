"""Meta-gradients: through k optimiser steps, exactly."""

from .gradient import DERIVATIVES, MetaGradient, meta_gradient

__all__ = ["DERIVATIVES", "MetaGradient", "meta_gradient"]
