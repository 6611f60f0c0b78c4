"""Meta-gradients: through k optimizer steps, exactly."""

from .calculus import Loss, as_loss, hessian_vector_product, loss_and_grad
from .gradient import DERIVATIVES, MetaGradient, meta_gradient
from .steps import ByDifferences, FromOneGraph, InParts, Steps, steps_for
from .sweep import reverse_sweep

__all__ = [
    "DERIVATIVES",
    "ByDifferences",
    "FromOneGraph",
    "InParts",
    "Loss",
    "MetaGradient",
    "Steps",
    "as_loss",
    "hessian_vector_product",
    "loss_and_grad",
    "meta_gradient",
    "reverse_sweep",
    "steps_for",
]
