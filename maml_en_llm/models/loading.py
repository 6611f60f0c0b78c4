"""Causal language models and their tokenizers, by name, folder or configuration.

Code that comes with a model is never run and nothing is asked on the terminal
(``trust_remote_code=False``); pickled weights are read as plain tensors only.
"""

import logging
import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    modeling_utils,
)
from transformers.activations import NewGELUActivation

from ..base.weights import SHIPPED
from ..drawing import drawn_with
from ..errors import check_choice, check_integer, nearest, shown
from ..prompts.device import as_device
from . import adapters, safe, source
from .attention import TWICE
from .complete import check_causal, check_complete, check_plain, check_size
from .folder import has_weights, reason, warn_of_changes
from .sizes import architecture, base_of
from .smollm2 import SMOLLM2, SMOLLM2_HUB, not_found
from .tokenizer import (
    check_tokenizer,
    is_path,
    load_tokenizer,
    stands_for,
    tokenizer_for,
)
from .weight_guards import keep_scale

ATTENTIONS = ("auto", TWICE, "eager", "sdpa")
DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def load_model(
    name: str | Path | PretrainedConfig,
    *,
    tokenizer: str | Path | None = None,
    attention: str = "auto",
    dtype: torch.dtype | str = torch.float32,
    device: torch.device | str = "cpu",
    seed: int = 0,
    revision: str | None = None,
):
    """Load a causal LM, in evaluation mode; returns ``(model, tokenizer)``.

    Args:
        name: a shipped model (``"tiny-base"``), ``"smollm2-135m"``, a hub name, a
            folder (of adapters, too), a configuration or its file; without weights,
            random. A name comes before a folder that is called so (``./tiny-base``).
        tokenizer: hub name or folder. Default: the model's own; for a configuration
            GPT-2's, from the folder ``$GPT2_BPE`` if set, else from the hub.
        attention: ``"twice"`` and ``"eager"`` have second derivatives, ``"sdpa"`` not.
            ``"auto"``: "twice" where known to be right, else "eager", with a warning.
        dtype, device: or their names; the device ``"auto"`` is CUDA, MPS or CPU.
        seed, revision: of random weights; a branch, tag or commit of a hub name, not of
            a tokenizer from elsewhere.

    A model serves one thread at a time. Raises `ValueError` for no such model, damaged
    weights, a model that sees later tokens, ids beyond its embedding, a missing device.
    """
    check_choice("attention", attention, ATTENTIONS)
    dtype, device = as_dtype(dtype), as_device(device)
    seed, given = check_integer("seed", seed, most=2**63 - 1), name
    name, revision = stands_for(name, revision, "model")
    _check_revision(revision, name)
    if (alone := adapters.adapters_alone(name)) is not None:
        return _on_base(alone, tokenizer, attention, dtype, device)
    config = _configuration(name)
    built = attention if attention in ("eager", "sdpa") else "eager"
    if config is None:
        model = _pretrained(name, built, dtype, revision)
    else:
        model = _random(config, built, dtype, seed)
    _set_up(model, attention)
    where = tokenizer_for(name) if tokenizer is None else tokenizer
    loaded = _tokenizer_at(where, revision, (name, given))
    borrowed = config is None and where not in (tokenizer, name)
    check_tokenizer(loaded, model, borrowed=borrowed)
    source.remember(model, given, source.commit_of(name, revision) or revision)
    model = fuse_gelu(model).eval()
    check_causal(model)
    torch.nn.Module.to(model, device)  # in place
    return model, loaded


def _tokenizer_at(where, revision: str | None, names: tuple):
    """The tokenizer; the revision is that of the model's repository alone."""
    if revision is not None and str(where) not in map(str, names):
        revision = None
    return load_tokenizer(where, revision=revision)


def _on_base(folder: Path, tokenizer, attention: str, dtype, device):
    """What `load_model` returns for a folder of adapters: they, on their base."""
    trained_in = adapters.trained_in(folder)
    if trained_in in DTYPES and DTYPES[trained_in] != dtype:
        load_model(folder, dtype=trained_in)  # their base, by the hash of the record
    base = adapters.base_named(folder)
    own = folder if (folder / "tokenizer_config.json").is_file() else None
    how = {"attention": attention, "dtype": dtype, "device": device}
    try:
        where = own if tokenizer is None else tokenizer
        model, tokenizer = load_model(**base, tokenizer=where, **how)
    except ValueError as error:
        raise ValueError(
            f"model: expected the base of the adapters in {shown(str(folder))}, "
            f"{shown(base['name'])}, found {reason(error)}; load the base yourself, "
            "then peft.PeftModel.from_pretrained(base, folder)"
        ) from error
    model = adapters.on_base(model, folder)
    source.remember(base_of(model), folder, None)
    return model, tokenizer


def as_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """A floating-point type by its name, or itself; `ValueError` for another."""
    if isinstance(dtype, torch.dtype) and dtype in DTYPES.values():
        return dtype
    check_choice("dtype", str(dtype).removeprefix("torch."), DTYPES)
    return DTYPES[str(dtype).removeprefix("torch.")]


def _check_revision(revision, name) -> None:
    """A revision is of a repository on the hub, not of what lies here."""
    if revision is None:
        return
    here = isinstance(name, PretrainedConfig) or (
        is_path(name) and os.path.exists(name)
    )
    if here or not isinstance(revision, str) or not 0 < len(revision) <= 200:
        where = "; it is for hub names only" if here else ""
        raise ValueError(
            "revision: expected None, or a branch, tag or commit of a hub name, found "
            f"{shown(revision)}{where}"
        )


def fuse_gelu(model: PreTrainedModel) -> PreTrainedModel:
    """Replace GPT-2's tanh-GELU, eight passes over memory, by a fused kernel of it."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, torch.nn.GELU(approximate="tanh"))
    return model


def _configuration(name) -> PretrainedConfig | None:
    """The configuration to initialise at random; None where there are weights."""
    if isinstance(name, PretrainedConfig):
        return deepcopy(name)  # types and attention are written into it
    if not is_path(name):
        raise ValueError(
            "model: expected a name, a folder, a configuration file or a "
            f"configuration, found {shown(name)}"
        )
    path = Path(name)
    if path.is_dir() and not (path / "config.json").is_file():
        raise ValueError(
            f"model: expected a config.json in the folder {shown(str(path))}, found "
            "none"
        )
    if path.suffix == ".json" and not (path.is_file() or path.is_dir()):
        raise ValueError(
            f"model: expected a configuration file, found nothing at {shown(str(path))}"
        )
    if path.is_file() or (path.is_dir() and not has_weights(path)):
        return _read_configuration(path)
    return None


def _read_configuration(path: Path) -> PretrainedConfig:
    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=False)
    except Exception as error:  # whatever a damaged or foreign file brings about
        raise ValueError(
            f"model: expected a configuration of transformers in {shown(str(path))}, "
            f"found {reason(error)}"
        ) from error


def _random(config, attention: str, dtype, seed: int) -> PreTrainedModel:
    with drawn_with(seed):
        try:
            return AutoModelForCausalLM.from_config(
                config,
                attn_implementation=attention,
                dtype=dtype,
                trust_remote_code=False,
            )
        except Exception as error:  # whatever sizes that do not fit bring about
            raise _refused(type(config).__name__, error) from error


def _pretrained(name, attention: str, dtype, revision) -> PreTrainedModel:
    hub = {} if revision is None or Path(name).is_dir() else {"revision": revision}
    if Path(name).is_dir():
        check_size(Path(name))
        warn_of_changes(Path(name))
    logger = logging.getLogger(modeling_utils.__name__)
    logger.addFilter(_no_report)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            name,
            attn_implementation=attention,
            dtype=dtype,
            trust_remote_code=False,
            weights_only=True,
            ignore_mismatched_sizes=True,  # `check_complete` names them
            output_loading_info=True,
            **hub,
        )
    except Exception as error:  # a damaged file brings about any of a dozen kinds
        raise _refused(str(name), error) from error
    finally:
        logger.removeFilter(_no_report)
    model, info = loaded
    fetched = source.hub_folder(name, revision)
    if fetched is not None and (fetched / "config.json").is_file():
        has_weights(fetched)  # as in a folder: codes, an adapter beside a model
    check_plain(name, model)
    check_complete(name, info)
    return model


def _no_report(said: logging.LogRecord) -> bool:
    """Whether a message is none of the tables that `check_complete` says in a line."""
    return "LOAD REPORT" not in said.getMessage()


def _refused(name: str, error: Exception) -> ValueError:
    if name == SMOLLM2_HUB:
        return not_found(reason(error))
    expected = "a folder, a configuration file or a name on the hub"
    if Path(name).is_dir():
        expected = "a folder with config.json and weights of one model"
    return ValueError(
        f"model: expected {expected}, found {shown(name)} ({reason(error)})"
        f"{nearest(name, [*SHIPPED, SMOLLM2])}"
    )


def _set_up(model: PreTrainedModel, attention: str) -> None:
    """What the configuration may not decide: attention, experts, kind of output."""
    model.config.return_dict = True  # outputs are read by name
    keep_scale(model)
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")  # others: no float64, no 2nd order
    _set_attention(model, attention)


def _set_attention(model: PreTrainedModel, attention: str) -> None:
    known = safe.takes_twice(model)
    name = architecture(model)
    if attention == TWICE and not known:
        # it might run without its own mask, and see the future
        raise ValueError(
            f"attention: {name} takes no attention but its own, as far as is known, "
            f"found {TWICE!r}; load_model(..., attention='eager')"
        )
    if attention == "auto" and not known:
        safe.say_once(
            "attention",
            name,
            f"attention: {name} keeps its own ('eager'): {TWICE!r} is not known to be "
            "right for it",
        )
    if attention in (TWICE, "auto") and known:
        model.set_attn_implementation(TWICE)
