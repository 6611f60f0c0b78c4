"""The base model before its training, its batches, and what is added afterwards."""

from copy import deepcopy

import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from ..drawing import drawn_with
from ..minicrossfit.draw import Draw
from .corpus import MARKS, NEWLINES, PUNCTUATION, text
from .mixtures import TEXTS
from .recipe import SEEDS_APART, PretrainConfig

LOOK = 5.0  # size of the constant parts of a query and a key that look back
SLOWEST = 0.05  # radians per word


def build_model(config: PretrainConfig, vocabulary_size: int):
    """The untrained model; the vocabulary is all but the newlines of the tokenizer."""
    sizes = {
        "vocab_size": vocabulary_size,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": None,
        "initializer_range": config.init,
    }
    if config.positions == "rotary":
        shape = LlamaConfig(
            num_hidden_layers=config.layers,
            hidden_size=config.width,
            num_attention_heads=config.heads,
            intermediate_size=2 * config.width,
            max_position_embeddings=config.context,
            tie_word_embeddings=True,
            attention_bias=bool(config.look_back),
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            **sizes,
        )
    else:
        shape = GPT2Config(
            n_layer=config.layers,
            n_embd=config.width,
            n_head=config.heads,
            n_inner=2 * config.width,
            n_positions=config.context,
            resid_pdrop=0,
            embd_pdrop=0,
            attn_pdrop=0,
            **sizes,
        )
    with drawn_with(config.seed):
        model = AutoModelForCausalLM.from_config(shape)
    for head, distance in enumerate(config.look_back):
        for layer in model.model.layers[: config.look_layers]:
            _look_back(layer.self_attn, head, distance)
    return model


def count_parameters(config: PretrainConfig, vocabulary_size: int) -> int:
    """How many numbers `build_model`'s model has, without one being built."""
    width = config.width
    if config.positions == "rotary":
        biases = 4 * width if config.look_back else 0
        layer = 10 * width**2 + 2 * width + biases  # 4 of attention, 3 · 2 of the rest
        return config.layers * layer + (vocabulary_size + 1) * width
    layer = 8 * width**2 + 11 * width
    return config.layers * layer + (vocabulary_size + config.context + 2) * width


@torch.no_grad()
def _look_back(attention, head: int, distance: int) -> None:
    """Let a head of rotary positions attend ``distance`` words back.

    With constant parts of query and key, q = (a cos dω, −a sin dω) and k = (a, 0) in
    the plane turned by ω, the score of a word Δ back is a² Σ cos((Δ − d) ω), largest at
    Δ = d; slow planes, which tell no neighbours apart, are left out.
    """
    size = attention.head_dim
    rates = attention.config.rope_parameters["rope_theta"] ** (
        -torch.arange(size // 2) / (size // 2)
    )
    amplitude = LOOK * (rates > SLOWEST)
    first, second = head * size, head * size + size // 2
    query, key = attention.q_proj.bias, attention.k_proj.bias
    key[first:second] = amplitude
    query[first:second] = amplitude * torch.cos(distance * rates)
    query[second : first + size] = -amplitude * torch.sin(distance * rates)


def add_newlines(model, tokenizer, familiar: float):
    """A copy of a trained model that knows the newlines too; their embedding is

    μ(words) + familiar · (μ(separators) − μ(words)),   μ the mean over the rows named
    """
    grown, known = deepcopy(model), model.get_input_embeddings().weight.detach()
    separators = known[tokenizer.convert_tokens_to_ids(PUNCTUATION)].mean(0)
    words = known[len(MARKS) + 2 :].mean(0)  # padding and the unknown word are none
    grown.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    rows = grown.get_input_embeddings().weight
    with torch.no_grad():
        rows[-len(NEWLINES) :] = words + familiar * (separators - words)
    return grown.eval()


def batch(config: PretrainConfig, tokenizer, step: int) -> torch.Tensor:
    """The sequences of one step, (B, T); a function of the seed and the step alone."""
    draw, stage = Draw(config.seed * SEEDS_APART + step), config.stage(step)
    length, kinds = stage.length, [TEXTS[name] for name in stage.kinds]
    rows = [text(draw, length, kinds) for _ in range(config.tokens // length)]
    return torch.tensor([tokenizer.convert_tokens_to_ids(row) for row in rows])
