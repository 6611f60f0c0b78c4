"""Adapters (`peft`): the fast paths where they are right there, else the plain ones."""

import pytest
import torch
from helpers import QUERIES, SHOWN, CharTokenizer, distance, rounding, small_model
from peft import (
    LoraConfig,
    OFTConfig,
    TinyLoraConfig,
    TrainableTokensConfig,
    VBLoRAConfig,
    get_peft_model,
    inject_adapter_in_model,
)
from peft.tuners.lora.config import VeloraConfig

from maml_en_llm import PromptEncoder, PromptLoss, parameters, score_options
from maml_en_llm.models import safe
from maml_en_llm.prompts import collate, stack

pytestmark = [
    pytest.mark.numeric,
    pytest.mark.filterwarnings("ignore:share_prefix. options are scored one by one"),
    # of the library of adapters
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning"),
]
ON = {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "down_proj"]}
TOKENS = {"task_type": "CAUSAL_LM", "token_indices": [5, 40]}
KINDS = {  # model, configuration, whether it stacks, whether it shares
    "lora": ("llama", LoraConfig(r=2, **ON), True, True),
    "dora": ("llama", LoraConfig(r=2, use_dora=True, **ON), True, True),
    "activated lora": (
        "llama",
        LoraConfig(r=2, alora_invocation_tokens=CharTokenizer().encode("\n"), **ON),
        False,
        False,
    ),
    "lora on parameters": (
        "llama",
        LoraConfig(
            r=2, target_modules=["q_proj"], target_parameters=["down_proj.weight"]
        ),
        False,
        False,
    ),
    "oft": ("llama", OFTConfig(oft_block_size=8, **ON), False, True),
    "vb-lora": (
        "llama",
        VBLoRAConfig(num_vectors=8, vector_length=8, **ON),
        False,
        True,
    ),
    "tiny lora": ("llama", TinyLoraConfig(**ON), False, True),
    "tokens of a tied embedding": (
        "gpt2",
        TrainableTokensConfig(target_modules=["wte"], **TOKENS),
        False,
        True,
    ),
    "lora with tokens of a tied embedding": (
        "gpt2",
        LoraConfig(r=2, target_modules=["c_attn"], trainable_token_indices=[5, 40]),
        False,
        True,
    ),
}


@pytest.fixture(params=KINDS)
def adapted(request):
    """A model with adapters that matter, whether it stacks, whether it shares."""
    kind, config, stacks, shares = KINDS[request.param]
    if kind == "gpt2":
        config.fan_in_fan_out = True
    model = get_peft_model(small_model(kind), config).double().eval()
    source = torch.Generator().manual_seed(0)
    for parameter in parameters(model).values():
        parameter += torch.empty_like(parameter).normal_(std=0.2, generator=source)
    return model, stacks, shares


def test_gradients_that_are_no_derivatives_have_no_second_order():
    """VeLoRA's backward pass is not that of its forward pass."""
    config = LoraConfig(r=2, velora_config=VeloraConfig(num_groups=4), **ON)
    loss = PromptLoss(get_peft_model(small_model("llama"), config).eval())
    loss.check("first_order")
    for mode in ("reverse", "unrolled", "finite_difference"):
        with pytest.raises(ValueError, match="^velora_config: .* 'first_order'"):
            loss.check(mode)


def scores(share_prefix):
    def compute(model) -> dict:
        how = {"share_prefix": share_prefix}
        table = score_options(model, CharTokenizer(), SHOWN, QUERIES, **how)
        return {"scores": torch.tensor(sum(table, []), dtype=torch.float64)}

    return compute


def test_a_shared_prefix_gives_the_scores_of_rows(adapted):
    model, _, shares = adapted
    assert safe.shares(model) is shares
    lost = rounding(scores(False), model)
    assert distance(scores(True)(model), scores(False)(model)) < 10 * lost


def test_a_stack_gives_the_gradients_of_tasks_in_turn(adapted):
    model, stacks, _ = adapted
    model = model.float()  # in float64 a stack's attention would be rounded
    assert safe.stacks(model) is stacks
    encoder = PromptEncoder(CharTokenizer())
    tasks = [collate([encoder.training_prompt(SHOWN, query)]) for query in QUERIES]

    def together(model) -> dict:
        params = parameters(model)
        many = {
            n: p.expand(2, *p.shape).clone().requires_grad_() for n, p in params.items()
        }
        total = PromptLoss(model)(many, stack(tasks)).sum()
        grads = torch.autograd.grad(total, list(many.values()))
        return dict(zip(many, grads, strict=True))

    def in_turn(model) -> dict:
        params, loss, found = parameters(model), PromptLoss(model), []
        for batch in tasks:
            own = {n: p.clone().requires_grad_() for n, p in params.items()}
            found.append(torch.autograd.grad(loss(own, batch), list(own.values())))
        pairs = zip(params, *found, strict=True)
        return {name: torch.stack(grads) for name, *grads in pairs}

    lost = rounding(in_turn, model)
    assert distance(together(model), in_turn(model)) < 10 * lost


def test_what_is_in_a_model_is_named():
    plain = small_model("llama")
    assert safe.known_as(plain) == "LlamaForCausalLM"
    config = LoraConfig(r=2, target_modules=["q_proj"])
    injected = inject_adapter_in_model(config, small_model("llama"))
    assert safe.known_as(injected) == "LlamaForCausalLM with LORA"
