"""Low-rank adapters (LoRA, Hu et al. 2022) beside the matrices of a model's layers."""

import json
import os
import warnings
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ..checkpoint import read_file
from ..drawing import drawn_with
from ..errors import check_integer, shown
from ..provenance import weights_hash
from .folder import check_weights, reason, tensors_in
from .source import name_of

ADAPTER_FILE = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


def with_adapters(model: PreTrainedModel, rank: int, *, seed: int = 0):
    """``model`` with an adapter beside every linear layer, which alone can be trained.

        W x  becomes  W x + 2 B A x,      A (rank, d) drawn with ``seed``, B = 0

    which is the same function at first. The output head has none. Raises `ValueError`
    for a rank below 1, `ImportError` without `peft`.
    """
    from peft import LoraConfig, get_peft_model

    check_integer("lora", rank, 1)
    if has_adapters(model):
        raise ValueError("lora: expected 0 for a model that has adapters, found more")
    turned = any(isinstance(module, Conv1D) for module in model.modules())
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules="all-linear",
        fan_in_fan_out=turned,
        task_type="CAUSAL_LM",
    )
    with drawn_with(seed), warnings.catch_warnings():
        # it asks `transformers` by names of older versions
        warnings.simplefilter("ignore", FutureWarning)
        adapted: Any = get_peft_model(model, config)
    # the folder that a machine keeps it in says nothing to others
    adapted.peft_config["default"].base_model_name_or_path = name_of(model)
    return adapted.eval()


def adapters_alone(name) -> Path | None:
    """The folder ``name``, if it holds adapters without a model."""
    if not isinstance(name, (str, Path)):
        return None
    about, model = (os.path.join(name, file) for file in (ADAPTER_FILE, "config.json"))
    return Path(name) if os.path.isfile(about) and not os.path.exists(model) else None


def base_named(folder: Path) -> dict:
    """What `load_model` takes for the base of the adapters in ``folder``.

    A run's record knows it better than `peft`, which is told no folder of a machine.
    Raises `ValueError` for adapters that are, over one base or several, their own.
    """
    found = base = _base_of(folder)
    seen = {os.path.realpath(folder)}
    while (more := adapters_alone(base["name"])) is not None:
        if os.path.realpath(more) in seen:
            raise ValueError(
                f"model: expected adapters whose base is a model, found that those in "
                f"{shown(str(folder))} name {shown(str(more))}, themselves, as it; "
                f"write the model's name into its {ADAPTER_FILE} or record.json"
            )
        seen.add(os.path.realpath(more))
        base = _base_of(more)
    return found


def _base_of(folder: Path) -> dict:
    about, config = _json(folder / ADAPTER_FILE), _record(folder)[0]
    if isinstance(config.get("model"), str):
        return {"name": config["model"], "seed": config.get("seed", 0)}
    name, revision = (about.get(k) for k in ("base_model_name_or_path", "revision"))
    if not isinstance(name, str) or not name:
        raise ValueError(
            f"{folder / ADAPTER_FILE}: expected the name of the base as "
            f"base_model_name_or_path, found {shown(name)}; write it there"
        )
    here = os.path.exists(name)  # False for what can be no path
    return {"name": name, "revision": None if here else revision}


def on_base(model: PreTrainedModel, folder: Path):
    """The adapters of ``folder`` on their base, as alone can be trained.

    Raises `ValueError` for damaged ones, for another base than theirs as far as the
    record beside them tells, `ImportError` without `peft`.
    """
    try:
        from peft import PeftConfig, PeftModel
    except ImportError as error:
        raise ImportError(
            f"model: expected peft for the adapters in {shown(str(folder))}, found none"
            "; pip install peft",
            name="peft",
        ) from error
    if not any((folder / name).is_file() for name in ADAPTER_WEIGHTS):
        check_weights(folder / ADAPTER_WEIGHTS[0])
    try:
        with drawn_with(0), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.filterwarnings("error", "Found missing adapter keys")
            json.dumps(_json(folder / ADAPTER_FILE), allow_nan=False)
            # those of learned prompts are stored for use alone
            trained = not PeftConfig.from_pretrained(str(folder)).is_prompt_learning
            how: dict[str, Any] = dict(is_trainable=trained)
            adapted: Any = PeftModel.from_pretrained(model, folder, **how)
        _check_whole(adapted, folder)
    except Exception as error:  # whatever damaged or foreign files bring about
        raise ValueError(
            f"model: expected adapters of {shown(name_of(model))} in "
            f"{shown(str(folder))}, found {reason(error)}"
        ) from error
    weights = _record(folder)[1]
    same_type = str(model.dtype) == f"torch.{trained_in(folder)}"
    if same_type and weights not in (None, weights_hash(adapted)):
        raise ValueError(
            f"model: expected {shown(name_of(model))} with the adapters in "
            f"{shown(str(folder))} to have the weights of their record.json, found "
            "others; put the base back, or the adapters on one with peft's PeftModel"
        )
    return adapted.eval()


def trained_in(folder: Path) -> str | None:
    """The type that the adapters' record has the hash of their weights in."""
    config, weights = _record(folder)
    return None if weights is None else str(config.get("dtype"))


def _check_whole(adapted, folder: Path) -> None:
    """`ValueError` for tensors that the adapters have not, or that are not finite."""
    from peft import get_peft_model_state_dict

    name = next(name for name in ADAPTER_WEIGHTS if (folder / name).is_file())
    found = tensors_in(folder / name)
    written = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    own = {*written, *adapted.state_dict()}
    foreign = sorted(set(found) - own)
    if foreign:
        raise ValueError(
            f"{len(foreign)} foreign tensors in {name}, such as {foreign[0][:80]}; "
            f"{ADAPTER_FILE} may be of other adapters"
        )
    for tensor, weight in adapted.named_parameters():
        if weight.requires_grad and not weight.isfinite().all():
            raise ValueError(f"numbers that are not finite in {tensor}; fetch it again")


def _json(path: Path) -> dict:
    try:
        content = json.loads(read_file(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _record(folder: Path) -> tuple[dict, str | None]:
    """The configuration of a run and the hash of its weights, where it has a record."""
    record = _json(folder / "record.json")
    config = record.get("config")
    return config if isinstance(config, dict) else {}, record.get("weights")


def has_adapters(model) -> bool:
    """Whether `with_adapters` has wrapped the model."""
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")


def save_model(model, tokenizer, folder: Path) -> None:
    """Write a model, or its adapters alone, and its tokenizer as ordinary files."""
    if has_adapters(model):
        # its word embedding is the base's: nothing to look up on a hub
        model.save_pretrained(folder, save_embedding_layers=False)
        about = folder / ADAPTER_FILE
    else:
        model.save_pretrained(folder)
        about = folder / "config.json"
    for weights in folder.glob("*.safetensors"):
        weights.chmod(about.stat().st_mode)  # the library keeps them to their owner
    tokenizer.save_pretrained(folder)
