"""What is wrong with a model once it is made: its weights, or which words it sees."""

from math import prod
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from ..errors import listed, shown
from .folder import BUFFERS, shapes_in
from .loss import using_attention
from .sizes import architecture, rows_of, text_config

# What a configuration may ask for beyond the weights: `check_complete` says which
# tensors are missing, but only once they are made
_LAYERS, _NUMBERS = 100, 2**26


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
    """Refuse quantised weights: no gradient goes through them."""
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


@torch.inference_mode()
def check_causal(model: PreTrainedModel) -> None:
    """Refuse a model of BERT's family that has not been told to be a decoder.

    It would see the answer, and so would one that has been told to look both ways.
    Others are causal by what they are.
    """
    config = text_config(model)
    both = getattr(config, "use_bidirectional_attention", None) is True
    told = False in (getattr(config, n, None) for n in ("is_causal", "is_decoder"))
    if not (both or told) or model.dtype not in (torch.float32, torch.float64):
        return
    ids = torch.arange(4)[None] + rows_of(model) // 2
    later = ids.clone()
    later[0, -1] -= 1
    with using_attention(model, "eager"):
        first, second = (model(input_ids=i).logits[:, :-1] for i in (ids, later))
    # one that is told to look both ways may do so only without a mask
    if both or (first - second).abs().max() > 1e-5 * first.abs().max():
        raise ValueError(
            "model: expected one that sees only the words before, found "
            f"{architecture(model)}, which sees later ones, too; set is_decoder=True "
            "in its configuration, or is_causal"
        )
