"""What a run writes is an ordinary model folder, or ordinary adapters, with a card."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from maml_en_llm import load_model, train

# peft asks `transformers` by names of older versions
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
PROMPT = "the cat"


@pytest.fixture(scope="module")
def based(config, tmp_path_factory):
    """The configuration with a base that has weights of its own."""
    folder = tmp_path_factory.mktemp("base") / "base"
    model, tokenizer = load_model(config.model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return replace(config, model=str(folder))


@pytest.fixture(scope="module")
def whole(based, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "run"
    return folder, train(based, output=folder)


@pytest.fixture(scope="module")
def adapters(based, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "run"
    return folder, train(replace(based, lora=2), output=folder)


def logits(model, tokenizer) -> torch.Tensor:
    with torch.no_grad():
        return model(**tokenizer(PROMPT, return_tensors="pt")).logits


def test_the_folder_is_one_that_transformers_loads(whole):
    folder, record = whole
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ours, words = load_model(folder)
    assert tokenizer(PROMPT)["input_ids"] == words(PROMPT)["input_ids"]
    # both are the weights that were saved; their kernels round differently
    torch.testing.assert_close(logits(model, tokenizer), logits(ours, words))
    assert record["config"]["lora"] == 0


def test_a_pipeline_generates_from_it(whole):
    write = pipeline("text-generation", model=str(whole[0]), device="cpu")
    (found,) = write(PROMPT, max_new_tokens=3, max_length=None, do_sample=False)
    assert found["generated_text"].startswith(PROMPT)


def test_peft_loads_adapters_onto_their_base(based, adapters):
    from peft import PeftModel

    folder, record = adapters
    assert not list(folder.glob("model*"))  # the base is not written again
    base, tokenizer = load_model(based.model)
    before = logits(base, tokenizer)
    model = PeftModel.from_pretrained(base, folder).eval()
    after = logits(model, tokenizer)
    assert (after - before).abs().max() > 1e-3 * before.abs().max()
    moved = [name for name, p in model.named_parameters() if "lora_" in name]
    frozen = AutoModelForCausalLM.from_pretrained(based.model).state_dict()
    for name, p in model.get_base_model().state_dict().items():
        if "lora_" not in name:
            assert torch.equal(p, frozen[name.replace(".base_layer", "")])
    assert moved
    assert record["weights"] != record["weights_before"]


def test_a_complete_run_of_adapters_is_known_again(based, adapters):
    folder, record = adapters
    assert train(replace(based, lora=2), output=folder) == record


def test_adapters_begin_as_the_same_function(config):
    from maml_en_llm.models.adapters import with_adapters

    model, tokenizer = load_model(config.model)
    before = logits(model, tokenizer)
    adapted = with_adapters(model, 2)
    assert torch.equal(logits(adapted, tokenizer), before)


def test_a_rank_above_the_models_width_is_refused(based):
    with pytest.raises(ValueError, match="lora: expected .* at most 32, found 33"):
        train(replace(based, lora=33))


@pytest.mark.parametrize("kind", ["whole", "adapters"])
def test_the_card_says_what_it_is(request, based, kind):
    folder, record = request.getfixturevalue(kind)
    card = (folder / "README.md").read_text()
    assert card.startswith("---\n")
    assert record["weights"] in card
    assert record["data"] in card
    assert f"{record['budget']['gradients']} gradients" in card
    assert f"library_name: {'peft' if kind == 'adapters' else 'transformers'}" in card
    for path in (based.model, based.benchmark):
        assert str(Path(path).parent) not in card  # folders of this machine


def test_the_card_names_a_known_licence(config):
    from maml_en_llm.training.card import model_card

    record = {
        "config": {"model": "smollm2-135m", "benchmark": "minicrossfit"},
        "model": {"name": "smollm2-135m", "revision": None},
        "budget": dict.fromkeys(
            ("outer_steps", "gradients", "tokens_forward", "tokens_backward"), 1
        ),
        "losses": [2.0, None],
        "data": "d",
        "weights_before": "b",
        "weights": "w",
        "device": "cpu",
        "versions": {"torch": "2"},
        "code": "c",
    }
    card = model_card(record)
    assert "license: apache-2.0" in card
    assert "base_model: HuggingFaceTB/SmolLM2-135M-Instruct" in card
    assert "- `benchmark`: `minicrossfit`" in card and "clip_support" not in card
