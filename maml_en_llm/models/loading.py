"""Causal language models and their tokenizers, by name, folder or configuration.

Code that comes with a model is never run and nothing is asked on the terminal
(``trust_remote_code=False``); pickled weights are read as plain tensors only.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.activations import NewGELUActivation

from ..base.weights import SHIPPED
from ..errors import check_choice, check_integer, listed, nearest, shown
from . import safe, source
from .attention import TWICE
from .folder import has_weights, reason
from .loss import using_attention
from .sizes import architecture, rows_of, text_config
from .tokenizer import check_tokenizer, load_tokenizer, tokenizer_for

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
    """Load a causal LM and its tokenizer; returns ``(model, tokenizer)``.

    The model is in evaluation mode (no dropout).

    Args:
        name: ``"tiny-base"``, which comes with this package, a hub name, a folder in
            `transformers` layout, a configuration file, or a configuration. Without
            weights (a configuration, or a folder that holds none) the model is
            initialised at random.
        tokenizer: hub name or folder. Default: the model's own; a configuration has
            none and is given GPT-2's byte-level BPE, from the folder ``$GPT2_BPE`` if
            that is set, else from the hub.
        attention: ``"twice"`` and ``"eager"`` can be differentiated twice, ``"sdpa"``
            once. ``"auto"``: ``"twice"`` where it is known to be right for the model's
            class, else ``"eager"``, with a warning once.
        dtype: floating-point type of the weights, or its name.
        device: where the model goes; ``"auto"`` is CUDA, MPS or CPU, the first there.
        seed: of the random initialisation, and of nothing else.
        revision: branch, tag or commit of a hub name.

    Raises:
        ValueError: nothing to load under that name, weights that are damaged or not
            all those of the model, a model that sees the words to come, a tokenizer
            with ids beyond the model's rows, or an attention, type or device that is
            not there.
    """
    check_choice("attention", attention, ATTENTIONS)
    dtype, device = as_dtype(dtype), as_device(device)
    seed = check_integer("seed", seed, most=2**63 - 1)
    given = name
    name = SHIPPED.get(name, name) if isinstance(name, str) else name
    config = _configuration(name)
    built = attention if attention in ("eager", "sdpa") else "eager"
    if config is None:
        model = _pretrained(name, built, dtype, revision)
    else:
        model = _random(config, built, dtype, seed)
    _set_attention(model, attention)
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")  # others: no float64, no 2nd order
    words = load_tokenizer(tokenizer or tokenizer_for(name), revision=revision)
    check_tokenizer(words, model)
    source.remember(model, given, revision)
    model = fuse_gelu(model).eval()
    _check_causal(model)
    torch.nn.Module.to(model, device)  # in place
    return model, words


def as_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """A floating-point type by its name, or itself; `ValueError` for another."""
    if isinstance(dtype, torch.dtype) and dtype in DTYPES.values():
        return dtype
    check_choice("dtype", str(dtype).removeprefix("torch."), DTYPES)
    return DTYPES[str(dtype).removeprefix("torch.")]


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
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise ValueError(
            "device: expected auto, cpu, or cuda or mps where they are, found "
            f"{shown(str(device))}"
        ) from error
    return found


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
        return name
    if not isinstance(name, (str, Path)) or not str(name) or "\0" in str(name):
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
    if path.suffix == ".json" and not path.is_file():
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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
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
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            name,
            attn_implementation=attention,
            dtype=dtype,
            trust_remote_code=False,
            weights_only=True,
            output_loading_info=True,
            **hub,
        )
    except Exception as error:  # a damaged file brings about any of a dozen kinds
        raise _refused(str(name), error) from error
    model, info = loaded
    _check_complete(name, info)
    return model


def _check_complete(name, info: dict) -> None:
    """Refuse weights that are not exactly the model's; tied ones are there once."""
    problems = []
    for kind, keys in (
        ("without", info.get("missing_keys")),
        ("with foreign", _foreign(info.get("unexpected_keys"))),
        ("with other shapes of", info.get("mismatched_keys")),
    ):
        if keys:
            names = sorted(key if isinstance(key, str) else str(key[0]) for key in keys)
            problems.append(f"{kind} {listed(names[:3])} ({len(names)} in all)")
    if info.get("error_msgs"):
        problems.append(str(info["error_msgs"][0])[:200])
    if problems:
        raise ValueError(
            f"model: expected the weights of every tensor of {shown(str(name))} and no "
            f"other, found a file {'; '.join(problems)}; config.json and weights may "
            "be of different models, or damaged"
        )


def _foreign(keys) -> list[str]:
    """Tensors of the file that the model has not, less buffers of older versions."""
    buffers = ("position_ids", "inv_freq", ".attn.bias", ".attn.masked_bias")
    return [
        key
        for key in keys or ()
        if not key.endswith(buffers) and "pooler." not in key  # heads of BERT's family
    ]


def _refused(name: str, error: Exception) -> ValueError:
    shipped = nearest(name, SHIPPED)
    return ValueError(
        "model: expected a folder, a configuration file or a name on the hub, found "
        f"{shown(name)} ({reason(error)}){shipped}"
    )


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


@torch.inference_mode()
def _check_causal(model: PreTrainedModel) -> None:
    """Refuse a model of BERT's family that has not been told to be a decoder.

    It would see the answer. Others are causal by what they are.
    """
    told = getattr(text_config(model), "is_decoder", None)
    if told is not False or model.dtype not in (torch.float32, torch.float64):
        return
    ids = torch.arange(4)[None] + rows_of(model) // 2
    later = ids.clone()
    later[0, -1] -= 1
    with using_attention(model, "eager"):
        first, second = (model(input_ids=i).logits[:, :-1] for i in (ids, later))
    if (first - second).abs().max() > 1e-5 * first.abs().max():
        raise ValueError(
            "model: expected one that sees only the words before, found "
            f"{architecture(model)}, which sees later ones, too; set is_decoder=True "
            "in its configuration"
        )
