"""What a run writes is an ordinary model folder, or ordinary adapters, with a card."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, pipeline

from maml_en_llm import load_model, parameters, train
from maml_en_llm.models import source_of
from maml_en_llm.training.card import model_card

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


def test_weights_that_are_not_as_the_run_wrote_them_are_warned_of(whole, tmp_path):
    folder = shutil.copytree(whole[0], tmp_path / "run")
    load_model(folder)  # a warning would be an error here
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="as its record.json .* model.safetensors;"):
        load_model(folder)
    (folder / "record.json").write_text("[]")  # of something else
    load_model(folder)


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


def test_adapters_are_loaded_onto_their_base(based, adapters):
    from peft import PeftModel

    folder, record = adapters
    model, tokenizer = load_model(folder)
    by_hand = PeftModel.from_pretrained(load_model(based.model)[0], folder).eval()
    assert torch.equal(logits(model, tokenizer), logits(by_hand, tokenizer))
    assert source_of(model) == {
        "name": "run",
        "revision": None,
        "weights": record["weights"],
    }
    assert all("lora_" in name for name in parameters(model)) and not model.training
    assert "evaluate --model FOLDER" in (folder / "README.md").read_text()
    with pytest.raises(ValueError, match="expected a whole model to train, found ada"):
        train(replace(based, model=str(folder)))


def change(name, **values):
    """What writes these values into a JSON file of a folder."""

    def write(folder):
        content = json.loads((folder / name).read_text()) | values
        (folder / name).write_text(json.dumps(content))

    return write


def another_base(folder):
    record = json.loads((folder / "record.json").read_text())
    base = folder.parent / "base"
    model = AutoModelForCausalLM.from_config(
        AutoConfig.from_pretrained(record["config"]["model"])
    )
    model.save_pretrained(base)
    change("record.json", config=record["config"] | {"model": str(base)})(folder)


def of_another_shape(folder):
    (folder / "record.json").unlink()
    change("adapter_config.json", base_model_name_or_path="tiny-base")(folder)


def in_a_ring(folder):
    (folder / "record.json").unlink()
    other = folder.with_name("other")
    change("adapter_config.json", base_model_name_or_path=str(other))(folder)
    shutil.copytree(folder, other)
    change("adapter_config.json", base_model_name_or_path=str(folder))(other)


def not_a_number(folder):
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    next(iter(tensors.values()))[0, 0] = float("nan")
    save_file(tensors, path, {"format": "pt"})


NO_ADAPTERS = {
    "no base": (
        lambda f: change("record.json", config={"model": str(f / "none")})(f),
        "expected the base of the adapters .* load the base yourself",
    ),
    "another base": (another_base, "to have the weights of their record"),
    "another shape": (of_another_shape, "expected adapters of 'tiny-base'"),
    "no name of a base": (
        lambda f: [(f / name).write_text("{}") for name in JSON_FILES],
        "expected the name of the base as base_model_name_or_path, found None",
    ),
    "itself in its record": (
        lambda f: change("record.json", config={"model": str(f)})(f),
        "^model: expected adapters whose base is a model, .*themselves",
    ),
    "a ring": (in_a_ring, "^model: expected adapters whose base is a model"),
    "a long name": (
        lambda f: [
            (f / "record.json").unlink(),
            change("adapter_config.json", base_model_name_or_path="x" * 300)(f),
        ],
        "expected the base of the adapters in",
    ),
    "no weights": (
        lambda f: (f / "adapter_model.safetensors").unlink(),
        "adapter_model.safetensors: expected weights, found no file of this name",
    ),
    "fewer matrices": (
        change("adapter_config.json", target_modules=["c_attn"]),
        "found 12 foreign tensors in .*; adapter_config.json may be of other adapters",
    ),
    "numbers that are none": (not_a_number, "numbers that are not finite in .*lora"),
    "a factor that is none": (
        change("adapter_config.json", lora_alpha=float("nan")),
        "expected adapters of 'base' .*not JSON compliant",
    ),
    "damaged": (
        lambda f: (f / "adapter_model.safetensors").write_bytes(b"half"),
        "expected adapters of 'base'",
    ),
}
JSON_FILES = ("record.json", "adapter_config.json")


@pytest.mark.parametrize("damage, message", NO_ADAPTERS.values(), ids=NO_ADAPTERS)
def test_adapters_without_their_base_are_refused(adapters, tmp_path, damage, message):
    folder = shutil.copytree(adapters[0], tmp_path / "run")
    damage(folder)
    with pytest.raises(ValueError, match=message) as caught:
        load_model(folder, tokenizer=folder)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("trained", "asked"),
    [("bfloat16", "float32"), ("float32", "float64"), ("float32", "bfloat16")],
)
def test_their_base_is_known_in_any_type(based, tmp_path, trained, asked):
    folder = tmp_path / "run"
    # second order has no bfloat16
    train(replace(based, lora=2, method="metaicl", dtype=trained), output=folder)
    model, _ = load_model(folder, dtype=asked)
    assert str(model.dtype) == f"torch.{asked}"
    another_base(folder)
    with pytest.raises(ValueError, match="to have the weights of their record"):
        load_model(folder, dtype=asked)


def test_adapters_without_peft_say_so(adapters, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match="model: expected peft for the adapters in"):
        load_model(adapters[0])


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


def record_of(model):
    """What a card is made of, of a run from a model that was asked for so."""
    return {
        "config": {"model": model, "benchmark": "minicrossfit"},
        "model": {"name": Path(model).name, "revision": None},
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


def test_a_sign_in_a_name_ends_no_cell_of_the_card(adapters):
    record = adapters[1]
    model = record["model"] | {"name": "a|b"}
    lines = model_card(record | {"model": model}).splitlines()
    assert r"| base | a\|b |" in lines


def test_the_card_names_a_known_licence():
    card = model_card(record_of("smollm2-135m"))
    assert "license: apache-2.0" in card
    assert "base_model: HuggingFaceTB/SmolLM2-135M-Instruct" in card
    assert "- `benchmark`: `minicrossfit`" in card and "clip_support" not in card


@pytest.mark.parametrize("model", ["gpt2", "./gpt2", "some/tiny-base"])
def test_a_folder_called_as_a_known_model_has_no_licence_of_it(
    tmp_path, monkeypatch, model
):
    monkeypatch.chdir(tmp_path)
    Path(model).mkdir(parents=True)
    card = model_card(record_of(model))
    assert "license:" not in card and "base_model:" not in card
    assert "see the base's own card" in card
