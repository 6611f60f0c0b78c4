"""Every causal LM class of `transformers`, small and random, on every fast path.

    python tests/models/all_classes.py [CLASS …] > tests/models/all_classes.json

For each class that builds: whether its scores equal its own plain call row by row,
right-padded, over a shared prefix, with attention "twice" and stacked over tasks, and
whether its derivatives agree. The lists of `maml_en_llm.models.safe` follow from it.
A path agrees if it is no further from the plain call in float64 than a few times what
the plain call itself is off in float32.
"""

import inspect
import json
import logging
import sys
import warnings
from contextlib import contextmanager, suppress
from copy import deepcopy

import torch
import transformers
from transformers import AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from maml_en_llm import PromptLoss, meta_gradient, parameters
from maml_en_llm.evaluation.prompt_nll import batch_nll, plain_scores, shared_scores
from maml_en_llm.evaluation.scoring import sees_everything
from maml_en_llm.models import safe
from maml_en_llm.models.attention import using_attention
from maml_en_llm.models.sizes import text_config
from maml_en_llm.optimizers import SGD
from maml_en_llm.prompts import Prompt, collate, stack

WORDS = 97
TIMES = 10  # how far a path may be off, in errors of the plain call in float32

SMALL = {
    "vocab_size": WORDS,
    "unpadded_vocab_size": WORDS,
    "vocab_size_per_layer_input": WORDS,
    **dict.fromkeys(
        ("hidden_size", "n_embd", "d_model", "embedding_size", "word_embed_proj_dim"),
        32,
    ),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 2),
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    "num_key_value_heads": 2,
    "head_dim": 8,
    **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner"), 64),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "ffn_hidden_size"), 64),
    **dict.fromkeys(("moe_intermediate_size", "shared_intermediate_size"), 32),
    **dict.fromkeys(("shared_expert_intermediate_size", "moe_ffn_hidden_size"), 32),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), 256),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("moe_num_experts", "num_experts_per_tok", "moe_topk"), 2),
    **dict.fromkeys(("n_group", "topk_group", "n_shared_experts"), 1),
    "moe_num_experts": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    **dict.fromkeys(("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"), 8),
    "rotary_dim": 8,
    "sliding_window": 8,
    "first_k_dense_replace": 1,
    **dict.fromkeys(("mamba_d_state", "state_size"), 8),
    **dict.fromkeys(("mamba_n_heads", "n_mamba_heads", "mamba_n_groups"), 2),
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    **dict.fromkeys(("mamba_chunk_size", "chunk_size"), 16),
    "mamba_dt_rank": 4,
    "time_step_rank": 4,
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads"), 2),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8),
    **dict.fromkeys(("index_head_dim", "index_n_heads", "index_topk"), 8),
    "hidden_size_per_layer_input": 8,
    "hc_mult": 2,
    "query_pre_attn_scalar": 8,
    "image_size": 28,
    "patch_size": 14,
    "pad_token_id": None,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "is_decoder": True,
    "is_encoder_decoder": False,
    "use_mamba_kernels": False,
    **dict.fromkeys(("attention_dropout", "activation_dropout", "dropout"), 0.0),
    **dict.fromkeys(("hidden_dropout", "embedding_dropout", "residual_dropout"), 0.0),
    **dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop", "emb_pdrop"), 0.0),
    **dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0),
    **dict.fromkeys(("encoder_layerdrop", "decoder_layerdrop", "layerdrop"), 0.0),
    "embed_dropout": 0.0,
    "router_jitter_noise": 0.0,
    "input_jitter_noise": 0.0,
}

# What single configurations need besides, found by trying
EXTRA = {
    "FalconConfig": {"num_ln_in_parallel_attn": None},
    "GPTNeoConfig": {"attention_types": [[["global", "local"], 1]], "window_size": 8},
    "Lfm2Config": {"layer_types": ["conv", "full_attention"]},
    "Lfm2MoeConfig": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "BambaConfig": {"attn_layer_indices": [1], "mamba_expand": 2},
    "DbrxConfig": {"attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0}},
    "Mamba2Config": {"num_heads": 8, "head_dim": 8, "n_groups": 2},
    "RwkvConfig": {"attention_hidden_size": 32, "context_length": 256},
    "RobertaConfig": {"pad_token_id": 1},
    "ReformerConfig": {
        "attention_head_size": 8,
        "axial_pos_embds_dim": [16, 16],
        "axial_pos_shape": [16, 16],
        "attn_layers": ["local", "local"],
    },
}

# What to change of `SMALL`, one after the other, until a model runs
CHANGES = (
    {},
    {"pad_token_id": 1},
    {"head_dim": None},
    {"head_dim": 4, "qk_rope_head_dim": 4},
    {"qk_rope_head_dim": 8, "head_dim": 16},
    {"num_key_value_heads": 4},
    {"sliding_window": None},
    {"num_hidden_layers": 8},
    {"attn_layer_period": 2, "attn_layer_offset": 1},
    {"layer_types": ["linear_attention", "full_attention"]},
    {"layer_types": ["full_attention", "full_attention"]},
    {"layer_types": None, "num_hidden_layers": 4},
    {"layer_types": None, "num_hidden_layers": 8},
)

PROMPTS = [  # the first three share eight tokens
    Prompt((*range(3, 11), 20, 21, 22, 23, 24), 3),
    Prompt((*range(3, 11), 20, 21, 30, 31), 2),
    Prompt((*range(3, 11), 40, 41, 42, 5, 7, 9, 50, 51, 52), 1),
    Prompt((60, 61, 62, 63, 64, 65, 66), 2),
]
PREFIX = tuple(range(3, 11))


def small_configuration(config_class: type, **changes):
    """A configuration of two layers of width 32."""
    names = inspect.signature(config_class.__init__).parameters
    values = {name: value for name, value in SMALL.items() if name in names}
    parts = [name for name in getattr(config_class, "sub_configs", {}) if name in names]
    whole = config_class() if parts else None
    for name in parts:
        with suppress(Exception):  # it keeps its default size
            inner = type(getattr(whole, name))
            values[name] = small_configuration(inner).to_dict()
    return config_class(**(values | changes))


def configuration_that_runs(config_class: type):
    """The first of several small configurations whose model builds and runs."""
    names = inspect.signature(config_class.__init__).parameters
    extra = EXTRA.get(config_class.__name__, {})
    errors = []
    for change in CHANGES:
        if not set(change) <= set(names):
            continue
        try:
            config = small_configuration(config_class, **(extra | change))
            own_scores(small_model(config, torch.float32))
            return config
        except Exception as found:  # the next one may fit
            errors.append(found)
    raise errors[0]


def small_model(config, dtype=torch.float64):
    """The model of a configuration with eager attention and weights of a size."""
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(deepcopy(config))
    if sum(p.numel() for p in empty.parameters()) > 2**23:
        raise ValueError("more than 8 million parameters")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(
            deepcopy(config), attn_implementation="eager", dtype=torch.float32
        )
        with torch.no_grad():
            for parameter in model.parameters():
                noise = torch.randn_like(parameter)
                if parameter.dim() > 1 and min(parameter.shape) > 1:
                    parameter.copy_(0.2 * noise)
                else:
                    parameter.add_(0.1 * noise)
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")  # others know no float64
    return model.to(dtype).eval()


def without_windows(config):
    """A copy in which every layer attends to all before, where it can be said."""
    wide = deepcopy(config)
    text = wide.get_text_config(decoder=True)
    if getattr(text, "sliding_window", None):
        text.sliding_window = None
    if set(getattr(text, "layer_types", None) or ()) == {"sliding_attention"}:
        text.layer_types = ["full_attention"] * len(text.layer_types)
    return wide


def own_scores(model) -> list[float]:
    """Mean NLL of each prompt's target by the model's plain call, one at a time."""
    scores = []
    for prompt in PROMPTS:
        ids, n = torch.tensor([prompt.ids]), prompt.n_target
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0]
        logp = logits.double().log_softmax(-1)[-n - 1 : -1]
        scores.append(-logp.gather(1, ids[0, -n:, None]).mean().item())
    return scores


def apart(found: dict, expected: dict) -> float:
    """Joint distance of two gradients in sizes of the second."""
    far = sum(((found[k] - expected[k]).double() ** 2).sum() for k in expected)
    size = sum((expected[k].double() ** 2).sum() for k in expected)
    return float((far / size).sqrt())


def farthest(a, b) -> float:
    """The largest difference; not a number where there is one among them."""
    return (torch.tensor(a) - torch.tensor(b)).abs().max().item()


class Forced(PromptLoss):
    """The loss without its guards, to measure what they would refuse."""

    def check(self, derivative: str) -> None:
        pass


def _meta(model, mode="reverse"):
    loss, params = Forced(model), parameters(model)
    support, query = collate(PROMPTS[:2]), collate(PROMPTS[2:])
    return meta_gradient(loss, params, [support], query, SGD(0.01), mode=mode)


def _stacked(model):
    """The largest distance of stacked gradients from those of each task alone."""
    loss, params = Forced(model), parameters(model)
    support = [collate(PROMPTS[:2]), collate(PROMPTS[1:3])]
    query = [collate(PROMPTS[2:]), collate(PROMPTS[:2])]
    many = {name: p.expand(2, *p.shape) for name, p in params.items()}
    joint = meta_gradient(loss, many, [stack(support)], stack(query), SGD(0.01))
    worst = 0.0
    for n in range(2):
        alone = meta_gradient(loss, params, [support[n]], query[n], SGD(0.01))
        own = {name: grad[n] for name, grad in joint.grads.items()}
        worst = max(worst, apart(own, alone.grads))
    return worst


def _tried(measured, bound: float) -> str:
    """ "equal", "off by …", or the error; ``measured()`` gives a distance."""
    try:
        value = measured()
    except Exception as error:  # the table says which
        return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    return "equal" if value <= bound else f"off by {value:.1e}, more than {bound:.1e}"


@contextmanager
def forced():
    """Every class is taken for known, so that the fast paths themselves are run."""
    before = safe.stacks, safe.pads
    safe.stacks = safe.pads = lambda model: True
    try:
        yield
    finally:
        safe.stacks, safe.pads = before


@forced()
def measure(config) -> dict[str, str]:
    """Path → "equal", "off by …", or the error, for one configuration."""
    model, coarse = small_model(config), small_model(config, torch.float32)
    own = own_scores(model)
    rounding = TIMES * max(farthest(own_scores(coarse), own), 1e-7)
    prompts = list(PROMPTS)

    def scores(run, attention="eager"):
        def distance():
            with torch.no_grad(), using_attention(model, attention):
                return farthest(run(model, prompts), own)

        return distance

    def alone(model, prompts):
        return [plain_scores(model, [prompt], 512)[0] for prompt in prompts]

    def padded(model, prompts):
        return batch_nll(model, prompts)

    def shared():
        """Where nothing limits what a token sees: a window is never shared over."""
        wide = small_model(without_windows(config))
        if not sees_everything(text_config(wide)):
            raise ValueError("not all that precedes is attended to")
        with torch.no_grad(), using_attention(wide, "sdpa"):
            return farthest(shared_scores(wide, prompts, PREFIX, 512), own_scores(wide))

    table = {
        "class": type(model).__name__,
        "alone": _tried(scores(alone), rounding),
        "padded": _tried(scores(padded), rounding),
        "padded, float32": _tried(
            lambda: farthest(batch_nll(coarse, prompts), own), rounding
        ),
        "shared": _tried(shared, rounding),
        "twice scores": _tried(scores(padded, "twice"), rounding),
    }
    try:
        first = _meta(model, "first_order").grads
        grads = _meta(model).grads
        coarse_grads = _meta(coarse).grads
    except Exception as error:
        table["derivative"] = f"{type(error).__name__}: {str(error)[:120]}"
        return table
    slack = TIMES * max(apart(coarse_grads, grads), 1e-7)
    slack_first = TIMES * max(apart(_meta(coarse, "first_order").grads, first), 1e-7)
    table["derivative"] = _tried(
        lambda: apart(grads, _meta(model, "unrolled").grads), slack
    )
    table["stacked"] = _tried(lambda: _stacked(model), slack)
    table["stacked, float32"] = _tried(lambda: _stacked(coarse), slack)

    def twice():
        with using_attention(model, "twice"):
            return apart(_meta(model).grads, grads)

    def twice_first():
        with using_attention(model, "twice"):
            return apart(_meta(model, "first_order").grads, first)

    table["twice first"] = _tried(twice_first, slack_first)
    table["twice second"] = _tried(twice, slack)
    table["attention backend"] = str(model._supports_attention_backend)
    table["sdpa"] = str(model._supports_sdpa)
    return table


def lists(tables: dict[str, dict[str, str]]) -> dict[str, set[str]]:
    """The classes of each path of `safe`, which follow from a table: equal in all."""
    needed = {
        "twice": ("derivative", "twice scores", "twice first", "twice second"),
        "stacking": ("derivative", "stacked", "stacked, float32"),
        "sharing": ("alone", "padded", "padded, float32", "shared"),
        "padding": ("alone", "padded", "padded, float32"),
    }
    flags = {"twice": "attention backend", "sharing": "sdpa"}
    found = {}
    for kind, paths in needed.items():
        found[kind] = {
            table["class"]
            for table in tables.values()
            if all(table.get(path) == "equal" for path in paths)
            and table.get(flags.get(kind), "True") == "True"
        }
        # one class may stand behind several configurations: it is right for all or none
        found[kind] -= {
            table["class"]
            for table in tables.values()
            if "class" in table
            and any(table.get(path, "equal") != "equal" for path in paths)
        }
    return found


def main(names: list[str]) -> None:
    logging.disable(logging.WARNING)
    transformers.logging.set_verbosity_error()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    tables, seen = {}, set()
    for config_class in MODEL_FOR_CAUSAL_LM_MAPPING:
        name = config_class.__name__
        if (names and name not in names) or name in seen:
            continue
        seen.add(name)
        try:
            tables[name] = measure(configuration_that_runs(config_class))
        except Exception as error:  # the table says which
            reason = " ".join(str(error).split())[:160]
            tables[name] = {"not built": f"{type(error).__name__}: {reason}"}
        print(name, tables[name], file=sys.stderr, flush=True)
    json.dump(tables, sys.stdout, indent=1)


if __name__ == "__main__":
    main(sys.argv[1:])
