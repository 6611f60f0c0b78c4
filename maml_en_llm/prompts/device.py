"""Devices by their names."""

import torch

from ..errors import shown


def as_device(device: torch.device | str) -> torch.device:
    """A device by its name; ``"auto"`` is CUDA, MPS or CPU, the first there.

    Raises `ValueError` for one that this machine does not have.
    """
    if str(device) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        has_mps = torch.backends.mps.is_available()
        return torch.device("mps" if has_mps else "cpu")
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
        if found.type not in ("cpu", "cuda", "mps"):
            raise TypeError(found.type)  # "meta", which computes nothing
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise ValueError(
            "device: expected auto, cpu, or cuda or mps where they are, found "
            f"{shown(device if isinstance(device, str) else str(device))}"
        ) from error
    return found
