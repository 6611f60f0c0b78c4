"""Learned tokens before every prompt (prompt tuning, prefix tuning)."""

from statistics import fmean

import pytest
import torch
from helpers import (
    QUERIES,
    SHOWN,
    CharTokenizer,
    batch_for,
    distance,
    rounding,
    small_model,
    write_model,
)
from peft import (
    CartridgeConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
    get_peft_model,
)

from maml_en_llm import (
    SGD,
    PromptEncoder,
    PromptLoss,
    load_model,
    meta_gradient,
    parameters,
    score_options,
)
from maml_en_llm.models import positions_of

pytestmark = [
    pytest.mark.numeric,
    pytest.mark.filterwarnings("ignore:share_prefix. options are scored one by one"),
    # of the library of adapters
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning"),
]
COUNT = 3
KINDS = {
    "prompt": PromptTuningConfig,
    "prefix": PrefixTuningConfig,
    "cartridge": CartridgeConfig,
}


@pytest.fixture(params=["gpt2", "llama"])
def base(request):
    return small_model(request.param)


@pytest.fixture(params=KINDS)
def tuned(request, base):
    """A model with virtual tokens, and how many of them have logits."""
    config = KINDS[request.param](task_type="CAUSAL_LM", num_virtual_tokens=COUNT)
    model = get_peft_model(base, config).eval()
    source = torch.Generator().manual_seed(0)
    for parameter in parameters(model).values():
        torch.nn.init.normal_(parameter, std=0.3, generator=source)
    return model, COUNT if request.param == "prompt" else 0


def own_scores(model, skipped) -> list[list[float]]:
    encoder, rows = PromptEncoder(CharTokenizer()), []
    for query in QUERIES:
        rows.append([])
        for prompt in encoder.query_prompts(SHOWN, query):
            ids, n = torch.tensor([prompt.ids]), prompt.n_target
            with torch.no_grad():
                logp = model(input_ids=ids).logits[0, skipped:].log_softmax(-1)
            own = [logp[-i - 1, ids[0, -i]].item() for i in range(1, n + 1)]
            rows[-1].append(-fmean(own))
    return rows


def table(rows) -> dict:
    return {"scores": torch.tensor(sum(rows, []), dtype=torch.float64)}


@pytest.mark.parametrize("share_prefix", [True, False])
def test_scores_are_the_model_s_own(tuned, share_prefix):
    model, skipped = tuned
    expected = table(own_scores(model, skipped))
    found = score_options(
        model, CharTokenizer(), SHOWN, QUERIES, share_prefix=share_prefix
    )
    lost = rounding(lambda other: table(own_scores(other, skipped)), model)
    assert distance(table(found), expected) < 10 * lost


def test_the_virtual_tokens_alone_are_differentiated(tuned):
    model, _ = tuned
    params, loss = parameters(model), PromptLoss(model)
    assert len(params) == 1 and "prompt_encoder" in next(iter(params))
    support, query = (batch_for(model.get_base_model(), seed) for seed in range(2))
    found, textbook = (
        meta_gradient(loss, params, [support], query, SGD(0.1), mode=mode).grads
        for mode in ("reverse", "unrolled")
    )

    def gradient(other):
        loss, own = PromptLoss(other), parameters(other)
        return meta_gradient(loss, own, [support], query, SGD(0.1)).grads

    assert all(grad.abs().max() > 0 for grad in found.values())
    assert distance(found, textbook) < 10 * rounding(gradient, model)


def test_they_take_positions(tuned):
    assert positions_of(tuned[0]) == 1024 - COUNT


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_saved_can_be_asked_again(kind, tmp_path):
    folder = write_model(tmp_path / "base")
    model, _ = load_model(folder)
    config = KINDS[kind](task_type="CAUSAL_LM", num_virtual_tokens=COUNT)
    tuned = get_peft_model(model, config).eval()
    tuned.peft_config["default"].base_model_name_or_path = str(folder)
    tuned.save_pretrained(tmp_path / "tuned")
    before = torch.get_rng_state()
    again, words = load_model(tmp_path / "tuned")
    assert torch.equal(torch.get_rng_state(), before)
    found = [score_options(m, words, SHOWN, QUERIES) for m in (tuned, again)]
    torch.testing.assert_close(*map(table, found))
