"""Second order needs digits: the types and settings that have too few are refused.

In half precision it points anywhere: cosine −0.42 in one report.
"""

from collections.abc import Collection

import torch

from ..errors import shown
from ..tensors import Tensors
from .finite_differences import CHANGE


def check_precision(mode: str, tensors: Tensors, devices: Collection[str]) -> None:
    """`ValueError` where gradients by ``tensors`` are too coarse for ``mode``.

    That is for one tensor in half precision among others, and for products that are
    rounded to less than float32 on ``devices`` (kinds, such as "cuda").
    """
    needs = f"mode {mode!r} needs gradients finer than {CHANGE:g} of their size, found"
    names = _names_by_type(tensors)
    coarse = [kind for kind in names if torch.finfo(kind).eps > CHANGE / 10]
    if coarse:
        kind = min(coarse, key=str)
        raise ValueError(
            f"dtype: {needs} {kind}; hold {shown(names[kind])} and all others in "
            "torch.float32 or float64 (load_model(..., dtype=torch.float32)), or use "
            "mode 'first_order'"
        )
    for device in devices:
        products = _products(device)
        if products and torch.float32 in names:
            raise ValueError(
                f"matmul precision: {needs} products in {products}; "
                "torch.set_float32_matmul_precision('highest'), float64, or mode "
                "'first_order'"
            )
        there = torch.amp.is_autocast_available(device)  # not on "meta"
        if there and torch.is_autocast_enabled(device):
            raise ValueError(
                f"autocast: {needs} torch.autocast({device!r}) to "
                f"{torch.get_autocast_dtype(device)}; leave the autocast block and "
                "compute in float32 or float64, or use mode 'first_order'"
            )


def _names_by_type(tensors: Tensors) -> dict[torch.dtype, str]:
    """One name for each floating-point type."""
    return {t.dtype: name for name, t in tensors.items() if t.is_floating_point()}


def _products(kind: str) -> str:
    """What float32 matrix products on a kind of device are rounded to, if at all."""
    if kind == "cuda":
        chosen = getattr(torch.backends.cuda.matmul, "fp32_precision", None)
        if chosen is None and torch.backends.cuda.matmul.allow_tf32:  # before torch 2.9
            chosen = "tf32"
        return "TensorFloat-32" if chosen == "tf32" else ""
    # set_float32_matmul_precision("high") asks a CPU for "tf32", which few have
    products = getattr(torch.backends.mkldnn, "matmul", None)  # since torch 2.9
    chosen = getattr(products, "fp32_precision", None)
    return "bfloat16" if chosen == "bf16" else ""
