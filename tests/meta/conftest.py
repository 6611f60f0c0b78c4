"""What the tests of the engine share: a small GPT-2 in float64 and four batches."""

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config

from maml_en_llm.prompts import Prompt, collate

VOCABULARY, USED = 97, 80  # token ids 80 to 96 never occur


@pytest.fixture(scope="module")
def gpt2():
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=2,
        n_embd=32,
        n_head=2,
        vocab_size=VOCABULARY,
        n_positions=48,
        bos_token_id=0,
        eos_token_id=0,
    )
    return (
        AutoModelForCausalLM.from_config(config, attn_implementation="eager")
        .double()
        .eval()
    )


@pytest.fixture(scope="module")
def batches():
    source = torch.Generator().manual_seed(0)
    lengths = [
        ((20, 3), (15, 1)),
        ((9, 2), (24, 4)),
        ((12, 1),),
        ((30, 5), (7, 1), (11, 2)),
    ]
    return [
        collate(
            [
                Prompt(
                    tuple(torch.randint(0, USED, (n,), generator=source).tolist()),
                    target,
                )
                for n, target in batch
            ]
        )
        for batch in lengths
    ]
