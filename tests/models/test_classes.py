"""Model classes: their paths, their derivatives, and each method's gradient.

`all_classes.py` goes over every causal LM class of `transformers`; here are the
families that people use, and that `safe` is what its table says.
"""

import json
from pathlib import Path
from statistics import fmean

import pytest
import torch
import transformers
from helpers import QUERIES, SHOWN, CharTokenizer, rounding
from models import all_classes
from models.all_classes import apart, configuration_that_runs, measure, small_model

from maml_en_llm import (
    SGD,
    MAMLenLLM,
    MetaICL,
    PromptEncoder,
    PromptLoss,
    load_model,
    meta_gradient,
    parameters,
    score_options,
)
from maml_en_llm.methods.episodes import Episode
from maml_en_llm.models import safe
from maml_en_llm.prompts import collate

TABLE = Path(all_classes.__file__).with_suffix(".json")
FAMILIES = [
    *("GPT2", "GPTJ", "GPTNeo", "GPTNeoX", "OPT", "Bloom", "Llama", "Mistral", "Qwen2"),
    *("Qwen3", "Gemma2", "Gemma3Text", "Phi3", "Lfm2", "Roberta"),
]

pytestmark = [
    pytest.mark.numeric,
    pytest.mark.filterwarnings("ignore:share_prefix. options are scored one by one"),
    pytest.mark.filterwarnings("ignore:tasks are computed one by one"),
    pytest.mark.filterwarnings("ignore:attention. .* keeps its own"),
]


def test_the_paths_are_what_the_table_says():
    expected = all_classes.lists(json.loads(TABLE.read_text()))
    for name, classes in expected.items():
        assert safe.classes_with(name) == classes, name


@pytest.fixture(scope="module", params=FAMILIES)
def config(request):
    return configuration_that_runs(getattr(transformers, f"{request.param}Config"))


def test_a_known_class_is_right_on_every_fast_path(config):
    table = measure(config)
    found = all_classes.lists({"": table})
    for name in found:
        known = table["class"] in safe.classes_with(name)
        windowed = name == "sharing" and "not all that" in table["shared"]
        assert windowed or not known or table["class"] in found[name], (name, table)
    assert table["alone"] == table["derivative"] == "equal"


def own(model) -> list[list[float]]:
    encoder, rows = PromptEncoder(CharTokenizer()), []
    for query in QUERIES:
        rows.append([])
        for prompt in encoder.query_prompts(SHOWN, query):
            ids, n = torch.tensor([prompt.ids]), prompt.n_target
            with torch.no_grad():
                logp = model(input_ids=ids).logits[0].double().log_softmax(-1)
            found = [logp[-i - 1, ids[0, -i]].item() for i in range(1, n + 1)]
            rows[-1].append(-fmean(found))
    return rows


@pytest.mark.parametrize("share_prefix", [True, False])
def test_scores_are_the_model_s_own(config, share_prefix):
    """As far off as ten times the error of a plain call in float32."""
    model, coarse = small_model(config), small_model(config, torch.float32)
    expected = torch.tensor(sum(own(model), []), dtype=torch.float64)
    rounding = (torch.tensor(sum(own(coarse), [])) - expected).abs().max().item()
    for tried in (model, coarse):
        found = score_options(
            tried, CharTokenizer(), SHOWN, QUERIES, share_prefix=share_prefix
        )
        far = (torch.tensor(sum(found, [])) - expected).abs().max().item()
        assert far < 10 * max(rounding, 1e-7)


def test_each_method_runs_and_agrees_with_unrolling(config, tmp_path):
    from helpers import write_bpe

    config.vocab_size = 257
    words = write_bpe(tmp_path / "words")
    model, tokenizer = load_model(config, tokenizer=words, dtype=torch.float64)
    encoder, loss, params = (
        PromptEncoder(tokenizer),
        PromptLoss(model),
        parameters(model),
    )
    batches = [collate([encoder.training_prompt(SHOWN, query)]) for query in QUERIES]
    episodes = [
        Episode("a", (batches[0],), batches[1]),
        Episode("b", (batches[1],), batches[0]),
    ]
    inner, state = SGD(1e-3), SGD(1e-3).init(params)
    plain = MetaICL().gradient(loss, params, episodes, state).grads
    found = {
        mode: MAMLenLLM(inner=inner, mode=mode).gradient(loss, params, episodes, state)
        for mode in ("reverse", "first_order")
    }
    unrolled = [
        meta_gradient(loss, params, e.support, e.query, inner, mode="unrolled").grads
        for e in episodes
    ]
    mean = {n: sum(grads[n] for grads in unrolled) / len(unrolled) for n in params}

    def reversed_sweep(model):
        params, method = parameters(model), MAMLenLLM(inner=inner, together=False)
        start = inner.init(params)
        return method.gradient(PromptLoss(model), params, episodes, start).grads

    # norms, rotations and softmax of most classes are in 32 bits whatever the weights
    assert apart(found["reverse"].grads, mean) < 10 * rounding(reversed_sweep, model)
    assert apart(plain, mean) > 0 and apart(found["first_order"].grads, mean) > 0
