"""What is given to a figure, looked at before anything is drawn."""

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from ..errors import listed, shown


def check_count(argument: str, values: Any, least: int = 1, most: float = math.inf):
    """`ValueError` for too few to draw, or more than there are axes or colours."""
    count = len(values) if hasattr(values, "__len__") else None
    if count is None or not least <= count <= most:
        wanted = f"{least} or more" if math.isinf(most) else f"{least} to {most}"
        raise ValueError(
            f"{argument}: expected {least if least == most else wanted} to draw, "
            f"found {shown(values) if count is None else count or 'none'}"
        )


def check_keys(argument: str, found: Any, keys: Collection) -> None:
    """`ValueError` unless all ``keys`` are in the mapping ``found``."""
    lacking = [key for key in keys if key not in found]
    if lacking:
        raise ValueError(
            f"{argument}: expected {listed(keys)[:150]}, found "
            f"{listed(found)[:150] or 'nothing'}; add {shown(lacking[0])}"
        )


def check_rows(argument: str, rows: Mapping[Any, Collection]) -> None:
    """`ValueError` for a row that is empty, or unlike the first.

    Mappings are alike in their keys, in whatever order; other collections in length.
    """
    first: Any = None
    for name, row in rows.items():
        check_count(f"{argument}[{shown(name)}]", row)
        first = row if first is None else first
        keyed = isinstance(row, Mapping)
        if (set(row) != set(first)) if keyed else (len(row) != len(first)):
            wanted, found = (
                f"{listed(x)[:120]}" if keyed else f"{len(x)} values"
                for x in (first, row)
            )
            raise ValueError(
                f"{argument}[{shown(name)}]: expected {wanted}, as the first has, "
                f"found {found}"
            )


def number_table(argument: str, values: Any) -> np.ndarray:
    """``values`` as an array (draws, points); `ValueError` if none is a number."""
    found = np.asarray(values)
    if found.ndim != 2 or not np.isfinite(found).any():
        raise ValueError(
            f"{argument}: expected finite numbers, a row per draw, found none in shape "
            f"{found.shape}"
        )
    return found
