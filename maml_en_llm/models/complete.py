"""What is wrong with a model once it is made: its weights, or which words it sees."""

from math import prod
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from ..drawing import drawn_with
from ..errors import listed, shown
from .as_made import altered_part, own_code
from .attention import using_attention
from .folder import BUFFERS, LOADED, shapes_in
from .safe import classes_with
from .sizes import (
    architecture,
    attention_of,
    base_of,
    own_configs,
    rows_of,
    text_config,
)

# What a configuration may ask for beyond the weights: `check_complete` says which
# tensors are missing, but only once they are made
_LAYERS, _NUMBERS = 100, 2**26
FLAGGED = 3  # names of layers in a message


def check_size(folder: Path) -> None:
    """Refuse a configuration far larger than the weights, before a model is made of it.

    The model that it describes is made without memory, on the device "meta".
    """
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        layers = config.get_text_config(decoder=True).num_hidden_layers
        if getattr(config, "quantization_config", None) is not None:
            return
        shapes = shapes_in(folder)
        wanted, found, what = layers - _LAYERS, len(shapes), f"{layers} layers"
        if wanted <= found:
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(
                    config, attn_implementation="eager", trust_remote_code=False
                )
            numbers = sum(p.numel() for p in model.parameters())
            wanted, found = numbers - _NUMBERS, sum(map(prod, shapes.values()))
            what = f"{numbers:,} numbers"
    except Exception:  # `from_pretrained` says what is wrong with the files
        return
    if wanted > found:
        there = f"{len(shapes)} tensors, {sum(map(prod, shapes.values())):,} numbers"
        raise ValueError(
            f"model: expected weights of {what}, as {folder / 'config.json'} says, "
            f"found {there}; they are of different models, or damaged"
        )


def check_plain(name, model: PreTrainedModel) -> None:
    """Refuse quantised weights, through which no gradient goes, and unseen ones."""
    other = getattr(model.config, "transformers_weights", None)
    if other is not None:  # another file than the one that was looked at
        raise ValueError(
            f"model: expected weights under a usual name, such as {LOADED[0]}, found "
            f"transformers_weights {shown(other)} in the config.json of "
            f"{shown(str(name))}; rename the file and take that entry out"
        )
    how = getattr(model.config, "quantization_config", None)
    if how is None:
        return
    about = how if isinstance(how, dict) else vars(how)
    raise ValueError(
        f"model: expected weights in floating point, found a quantization_config in "
        f"{shown(str(name))} ({shown(str(about.get('quant_method')))}); name the model "
        "that is not quantised"
    )


def check_complete(name, info: dict) -> None:
    """Refuse weights that are not exactly the model's; tied ones are there once."""
    problems = []
    for kind, keys in (
        ("without", info.get("missing_keys")),
        ("with foreign", _foreign(info.get("unexpected_keys"))),
        ("with other shapes of", info.get("mismatched_keys")),
    ):
        if keys:
            names = sorted(map(_said, keys))
            problems.append(f"{kind} {listed(names[:3])} ({len(names)} in all)")
    if info.get("error_msgs"):
        problems.append(str(info["error_msgs"][0])[:200])
    if problems:
        raise ValueError(
            f"model: expected the weights of every tensor of {shown(str(name))} and no "
            f"other, found a file {'; '.join(problems)}; config.json and weights may "
            "be of different models, or damaged"
        )


def _said(key) -> str:
    """A tensor's name; with it its two shapes, where they differ."""
    if isinstance(key, str):
        return key
    return f"{key[0]} {' for '.join(str(list(shape)) for shape in key[1:])}"


def _foreign(keys) -> list[str]:
    """Tensors of the file that the model has not, less buffers of older versions."""
    return [
        key
        for key in keys or ()
        if not key.endswith(BUFFERS) and "pooler." not in key  # heads of BERT's family
    ]


# models that were tried and let pass, and how they looked then
_passed: WeakKeyDictionary[PreTrainedModel, tuple] = WeakKeyDictionary()


def check_causal(model: PreTrainedModel) -> None:
    """Refuse a model that sees later words, and so the answer.

    BERT's family does unless told to be a decoder, others if told to look both ways, in
    the configuration or layer by layer (``is_causal``, as LLM2Vec does). The classes
    that are known to be right with attention "twice" are causal unless told otherwise;
    any other one is tried, once as it is.
    """
    _check_one_attention(model)
    config = text_config(model)
    both = getattr(config, "use_bidirectional_attention", None) is True
    told = False in (getattr(config, n, None) for n in ("is_causal", "is_decoder"))
    # blocks of BigBird see others after them, but only in a row of hundreds of words
    blocks = any(
        getattr(module, "attention_type", None) == "block_sparse"
        for module in model.modules()
    )
    # one that is told to look both ways may do so only without a mask, or in a part
    # that is not asked here, as one for pictures
    flagged = _flagged(model)
    odd = told, altered_part(model), flagged
    looks = (*odd, attention_of(model), own_code(model))
    known = architecture(model) in classes_with("twice") and not any(odd)
    sees = None if known or _passed.get(model) == looks else _sees_later(model)
    if both or blocks or sees:
        raise ValueError(
            "model: expected one that sees only the words before, found "
            f"{architecture(model)}, which sees later ones, too; set "
            f"{_cure(config, blocks, [] if told else flagged)}"
        )
    if sees is False:
        _passed[model] = looks


def _flagged(model: PreTrainedModel) -> list[str]:
    """Names of the modules that are told to look both ways."""
    modules = model.named_modules()
    return [n for n, m in modules if getattr(m, "is_causal", None) is False]


def _check_one_attention(model: PreTrainedModel) -> None:
    """Raise `ValueError` for layers that compute attention in two ways.

    The mask is made for one of them; the other may go without and see later words.
    """
    ways = {config._attn_implementation for config in own_configs(model)}
    if others := ways - {attention_of(model)}:
        raise ValueError(
            f"model: expected layers of one attention, {attention_of(model)!r}, found "
            f"some of {listed(sorted(map(repr, others)))} with a configuration of "
            "their own; put the model's into each of their modules (module.config = "
            "model.config)"
        )


def _cure(config, blocks: bool, flagged: list[str]) -> str:
    entry = f"{'causal' if hasattr(config, 'causal') else 'is_decoder'}=True"
    if blocks:
        entry = "attention_type='original_full'"
    elif getattr(config, "attn_type", None) == "bi":
        entry = "attn_type='uni'"
    elif flagged:
        more = f" and {len(flagged) - FLAGGED} more" if len(flagged) > FLAGGED else ""
        return f"is_causal to True in {listed(flagged[:FLAGGED])}{more}"
    else:
        entry += ", or is_causal, or name another model where it has none,"
    return f"{entry} in its configuration"


def _sees_later(model: PreTrainedModel) -> bool | None:
    """Whether the model sees later words in any attention that it is called with.

    Without a mask of their own, layers may do so in one and not in another. None where
    its own cannot be tried.
    """
    ways = [attention_of(model), "eager"]
    if getattr(base_of(model), "_supports_sdpa", False):
        ways.append("sdpa")
    found = [_sees_later_in(model, way) for way in dict.fromkeys(ways)]
    return True if True in found else found[0]


@torch.no_grad()  # what a model keeps from its first call would serve no derivative
def _sees_later_in(model: PreTrainedModel, attention: str) -> bool | None:
    """Whether another last word of four changes the logits of the first three.

    None for a model that cannot be called so; it says why where it is used.
    """
    ids = torch.arange(4, device=model.device)[None] + rows_of(model) // 2
    later = ids.clone()
    later[0, -1] -= 1
    try:
        with using_attention(model, attention):
            first, second = (_logits(model, i)[:, :-1] for i in (ids, later))
    except Exception:
        return None
    bound = 1e-5
    if any("experts" in name for name, _ in model.named_modules()):
        # their groups of words, and with them the rounding, change with the last one
        bound = max(bound, 4 * torch.finfo(first.dtype).eps)
    return bool((first - second).abs().max() > bound * first.abs().max())


def _logits(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    with drawn_with(0):  # Reformer draws its hashes at each call
        return model(input_ids=ids, use_cache=False).logits
