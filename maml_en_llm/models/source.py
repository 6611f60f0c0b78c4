"""Where a model's weights come from, for the record of a run."""

import os
from contextlib import suppress
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from transformers import PretrainedConfig, PreTrainedModel

from ..provenance import weights_hash
from .sizes import base_of

_KEPT = "_asked_for"  # attribute of a loaded model


def hub_folder(name, revision: str | None = None) -> Path | None:
    """The folder of this machine that holds a hub name's files; called as their commit.

    None for what is no name of a hub, and for one of which nothing was fetched.
    """
    if isinstance(name, PretrainedConfig) or os.path.exists(name):
        return None
    for file in ("config.json", "tokenizer_config.json"):
        with suppress(ValueError):  # of a text that is no name of a hub
            found = try_to_load_from_cache(str(name), file, revision=revision)
            if isinstance(found, str):
                return Path(found).parent
    return None


def commit_of(name, revision: str | None = None) -> str | None:
    """The commit of a hub name's files; None for what is no name of a hub."""
    folder = hub_folder(name, revision)
    return None if folder is None else folder.name


def remember(model: PreTrainedModel, name, revision: str | None) -> None:
    """Keep with ``model`` what it was asked for by; `source_of` reads it."""
    if isinstance(name, PretrainedConfig):
        name = type(name).__name__
    elif Path(name).exists():
        name = Path(name).resolve().name  # the folders of a machine are not recorded
    setattr(model, _KEPT, (str(name), revision))


def name_of(model: PreTrainedModel) -> str:
    """The name that the model was asked for by, without the folders of a machine."""
    return getattr(base_of(model), _KEPT, (type(model).__name__, None))[0]


def source_of(model: PreTrainedModel) -> dict[str, str | None]:
    """``name``, ``revision`` and ``weights`` (SHA-256) of a model as it is now.

    The revision is the hub's commit, or what was asked for where that is not known.
    """
    name, revision = getattr(base_of(model), _KEPT, (type(model).__name__, None))
    return {"name": name, "revision": revision, "weights": weights_hash(model)}
