"""Trained weights on the disk, for evaluations that come later."""

import hashlib
import json
import warnings
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save

from ..checkpoint import DAMAGE
from ..models import parameters, write_back
from ..provenance import digest, write_whole
from ..tensors import Tensors


class Store:
    """A folder of weights by what they were trained from. It may be deleted any time.

    The key of a file covers the training's configuration, the base model with its own
    configuration and tokenizer, the examples, the code, torch and the kind of device:
    nothing else decides the weights. A file carries the SHA-256 of what it holds; an
    older one, without it, counts as not there.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def path(self, *parts: str) -> Path:
        """The file of a training."""
        return self.folder / f"{digest(*parts)}.safetensors"

    def fetch(self, path: Path, model) -> dict | None:
        """Give ``model`` the weights and return what they cost; None for none there.

        Warns of a file that does not hold what was kept, and leaves the model alone.
        """
        try:
            with safe_open(path, "pt", device="cpu") as file:
                about = file.metadata()
                names = file.keys()
                weights = {name: file.get_tensor(name) for name in names}
            if about["sha256"] != checksum_of(about["spent"], weights):
                warnings.warn(
                    f"{path}: expected the weights that were kept, found others: the "
                    "file is damaged; the model is trained again",
                    stacklevel=2,
                )
                return None
            spent = json.loads(about["spent"])
            if not isinstance(spent, dict) or not _fit(weights, parameters(model)):
                return None
            write_back(model, weights)
        except DAMAGE:
            return None
        return spent

    def keep(self, path: Path, model, spent: dict) -> None:
        """Keep a model's weights and what they cost; a full disk is no error."""
        weights = {
            name: tensor.detach().cpu().contiguous()
            for name, tensor in parameters(model).items()
        }
        cost = json.dumps(spent)
        about = {"spent": cost, "sha256": checksum_of(cost, weights)}
        content = save(weights, about)
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, content)


def checksum_of(spent: str, weights: Tensors) -> str:
    """SHA-256 over what weights cost, their names, types, shapes and bytes."""
    found = hashlib.sha256(spent.encode())
    for name, tensor in sorted(weights.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _fit(found: Tensors, own: Tensors) -> bool:
    """Whether these are finite weights of every name, shape and type of the model's."""
    return found.keys() == own.keys() and all(
        value.shape == own[name].shape
        and value.dtype == own[name].dtype
        and bool(value.isfinite().all())
        for name, value in found.items()
    )
