"""What a model folder may hold: all of the model's weights, or really none."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from helpers import write_model
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM

from maml_en_llm import load_model
from maml_en_llm.models import load_tokenizer, source_of
from maml_en_llm.models.folder import LOADED, has_weights
from maml_en_llm.runs.inputs import inputs_of
from maml_en_llm.runs.run import Run
from maml_en_llm.training import TrainConfig

POINTER = (
    f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 497774\n"
)


@pytest.fixture
def folder(tmp_path):
    """A tiny GPT-2 with weights."""
    folder = write_model(tmp_path / "model")
    load_model(folder, seed=3)[0].save_pretrained(folder)
    return folder


def shards(folder):
    """The same weights in several files, with an index."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="60KB")
    return sorted(folder.glob("model-*.safetensors"))


OTHER_NAMES = [
    "consolidated.00.pth",
    "flax_model.msgpack",
    "tf_model.h5",
    "model.fp16.safetensors",
    "model-00001-of-00002.safetensors",
    "pytorch_model-00001-of-00002.bin",
    "gptq_model-4bit-128g.safetensors",
    "ggml-model-q4_0.gguf",
    "model.pt",
    "model.onnx",
    "weights.npz",
    "model.ckpt-1000.data-00000-of-00001",
    "model.safetensors.incomplete",
    "model.safetensors.part",
    "original/consolidated.00.pth",
    "checkpoint-100/model.safetensors",
    ".cache/huggingface/download/abc.incomplete",
    "weights",
]


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_weights_under_another_name_do_not_become_random(folder, name):
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").rename(target)
    with pytest.raises(ValueError, match=f"model: expected weights named .*{name}"):
        load_model(folder)


def test_an_index_without_its_shards_is_refused(folder):
    first, *_ = shards(folder)
    load_model(folder)
    first.unlink()
    with pytest.raises(ValueError, match=f"{first.name}: expected weights, found no"):
        load_model(folder)


def test_shards_without_an_index_are_refused(folder):
    first, *_ = shards(folder)
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(ValueError, match=f"expected weights named .*{first.name}"):
        load_model(folder)


@pytest.mark.parametrize("index", [POINTER, "{}", "[]", '{"weight_map": 3}', "{"])
def test_a_damaged_index_is_refused(folder, index):
    shards(folder)
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ValueError, match="index.json: expected an index of weight"):
        load_model(folder)


def test_an_adapter_is_refused(folder):
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="expected a whole model .*adapter_config"):
        load_model(folder)


def test_a_folder_that_really_holds_no_weights(tmp_path):
    folder = write_model(tmp_path / "model")
    for name in ("README.md", "LICENSE", "spiece.vocab", ".gitattributes", "a.py"):
        (folder / name).write_text("text")
    (folder / ".git").mkdir()
    (folder / ".git" / "pack").write_bytes(b"0" * 100_000)
    assert not has_weights(folder)
    load_model(folder)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-1000])


DAMAGE = {
    "pointer": lambda path: path.write_text(POINTER),
    "empty": lambda path: path.write_bytes(b""),
    "cut": _cut,
    "cut in its header": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "a web page": lambda path: path.write_text("<!doctype html>" * 50),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("kind", ["safetensors", "shard", "pickle"])
def test_damaged_weights_are_named(folder, damage, kind):
    path = folder / "model.safetensors"
    if kind == "shard":
        path = shards(folder)[1]
    if kind == "pickle":
        weights = load_file(path)
        path.unlink()
        path = folder / "pytorch_model.bin"
        torch.save(weights, path)
    damage(path)
    with pytest.raises(ValueError, match=str(folder)) as found:
        load_model(folder)
    assert kind == "pickle" or path.name in str(found.value)
    assert len(str(found.value)) < 600


def test_plain_pickled_tensors_are_read_and_other_objects_are_not(folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    model, _ = load_model(folder)
    name = "transformer.wte.weight"
    assert torch.equal(dict(model.named_parameters())[name], weights[name])
    torch.save(weights | {"more": Harmful()}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=str(folder)):
        load_model(folder)


class Harmful:
    def __reduce__(self):
        return (pytest.fail, ("code of the file was run",))


def _changed(folder, change):
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


LAST = "transformer.h.1.mlp.c_fc.weight"
CHANGES = {
    "one missing": (lambda w: w.pop(LAST), f"without {LAST}"),
    "all missing": (lambda w: w.clear(), "without .* in all"),
    "one more": (
        lambda w: w.update({"transformer.h.9.bias": torch.ones(3)}),
        r"with foreign transformer.h.9.bias \(1 in all\)",
    ),
    "another shape": (
        lambda w: w.update({LAST: torch.ones(3, 5)}),
        f"{LAST}|mismatch|size",
    ),
}


@pytest.mark.filterwarnings("ignore")  # the library reports on them, too
@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_weights_of_another_model_are_refused(folder, change, message):
    _changed(folder, change)
    with pytest.raises(ValueError, match=message):
        load_model(folder)


def test_tied_weights_and_buffers_of_older_versions_are_fine(folder):
    weights = load_file(folder / "model.safetensors")
    assert "lm_head.weight" not in weights
    _changed(folder, lambda w: w.update({"transformer.h.0.attn.bias": torch.ones(3)}))
    model, _ = load_model(folder)
    assert model.lm_head.weight is model.transformer.wte.weight


@pytest.mark.parametrize("kind", ["model", "tokenizer"])
def test_code_of_a_folder_is_never_run_nor_asked_about(folder, kind):
    mark = folder.parent / "executed"
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Evil: pass\n")
    name = "config.json" if kind == "model" else "tokenizer_config.json"
    changes = {"auto_map": {"AutoTokenizer": [None, "evil.Evil"]}}
    changes["tokenizer_class"] = "Evil"
    if kind == "model":
        known = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}
        changes = {"model_type": "evil", "auto_map": known}
    path = folder / name
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(before | changes))
    script = f"from maml_en_llm import load_model; load_model({str(folder)!r})"
    done = subprocess.run(
        [sys.executable, "-c", script], input="y\n" * 9, text=True, capture_output=True
    )
    assert not mark.exists()
    assert "[y/N]" not in done.stdout + done.stderr
    assert kind == "tokenizer" or "ValueError: model: expected" in done.stderr


def test_where_a_model_comes_from(folder):
    model, _ = load_model(folder)
    copy = folder.parent / "copy"
    shutil.copytree(folder, copy)
    again, _ = load_model(copy)
    found = source_of(model)
    assert found["name"] == "model" and found["revision"] is None
    assert source_of(again) == found | {"name": "copy"}
    with torch.no_grad():
        again.lm_head.weight[0, 0] += 1
    assert source_of(again)["weights"] != found["weights"]
    assert source_of(load_model("tiny-base")[0])["name"] == "tiny-base"


@pytest.mark.parametrize("load", [load_model, load_tokenizer])
def test_a_folder_called_as_a_known_model_is_not_passed_over_in_silence(
    folder, monkeypatch, load
):
    monkeypatch.chdir(folder.parent)
    folder.rename("tiny-base")
    with pytest.warns(UserWarning, match="'tiny-base' is the .* is './tiny-base'"):
        load("tiny-base")
    assert load_model("./tiny-base")[0].config.n_embd == 32  # and says nothing


def test_a_folder_may_be_called_as_a_file(folder):
    named = folder.rename(folder.parent / "model.json")
    assert source_of(load_model(named)[0])["name"] == "model.json"
    with pytest.raises(ValueError, match="expected a configuration file, found noth"):
        load_model(folder.parent / "none.json")


CODES = [
    *(torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool),
    *(torch.complex64, torch.float8_e4m3fn),
]


def pickle_of(path, weights, zipped=True):
    """The weights in the older format, or the one before."""
    path.unlink()
    path = path.with_name("pytorch_model.bin")
    torch.save(weights, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("dtype", CODES, ids=str)
@pytest.mark.parametrize("kind", ["safetensors", "pickle", "old pickle"])
def test_codes_of_quantised_weights_are_not_taken_for_values(folder, dtype, kind):
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights[LAST] = (weights[LAST] * 100).to(dtype)
    if kind == "old pickle" and dtype is torch.float8_e4m3fn:
        pytest.skip("that format has no such type")
    if kind == "safetensors":
        save_file(weights, path, metadata={"format": "pt"})
    else:
        path = pickle_of(path, weights, kind == "pickle")
    message = f"{path.name}: expected weights, found quantised.*{LAST} "
    with pytest.raises(ValueError, match=message):
        load_model(folder)


@pytest.mark.filterwarnings("ignore")  # the library reports on it, too
@pytest.mark.parametrize("name", [None, "version"])
def test_an_old_pickle_gives_its_values(folder, name):
    path = folder / "model.safetensors"
    weights = load_file(path)
    pickle_of(path, weights, zipped=False)
    model, _ = load_model(folder)
    assert torch.equal(model.state_dict()[LAST], weights[LAST])
    if name:  # what is no tensor does not hide the others
        coded = weights | {name: 3, LAST: weights[LAST].to(torch.int32)}
        torch.save(coded, folder / "pytorch_model.bin")
        with pytest.raises(ValueError, match=f"expected weights, .*{LAST}"):
            load_model(folder)


WHOLE = {
    "transformer.h.0.attn.bias": torch.ones(1, 1, 4, 4, dtype=torch.bool),
    "transformer.h.0.crossattention.bias": torch.ones(2, dtype=torch.uint8),
    "transformer.position_ids": torch.arange(4),
}


def test_masks_and_places_in_whole_numbers_are_fine(folder):
    before, _ = load_model(folder)
    _changed(folder, lambda weights: weights.update(WHOLE))
    after, _ = load_model(folder)
    assert torch.equal(after.state_dict()[LAST], before.state_dict()[LAST])


@pytest.mark.parametrize("name", ["../outside.safetensors", "/outside.safetensors"])
def test_shards_lie_beside_their_index(folder, name):
    """What is looked at is what is loaded: not another file of the same name."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    zeros = {key: torch.zeros_like(tensor) for key, tensor in weights.items()}
    save_file(zeros, folder / "outside.safetensors", metadata={"format": "pt"})
    name = (
        name.replace("/outside", f"{folder.parent}/outside") if name[0] == "/" else name
    )
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, name)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="index.json: expected names of files beside"):
        load_model(folder)


def test_a_configuration_may_not_name_other_weights(folder):
    (folder / "other.safetensors").write_bytes(
        (folder / "model.safetensors").read_bytes()
    )
    path = folder / "config.json"
    config = json.loads(path.read_text()) | {
        "transformers_weights": "other.safetensors"
    }
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match="usual name.*transformers_weights 'other.saf"):
        load_model(folder)


@pytest.mark.parametrize("entry", [{"return_dict": False}, {"torchscript": True}])
def test_outputs_are_read_by_name_whatever_the_configuration_says(folder, entry):
    path = folder / "config.json"
    ids = torch.arange(5)[None]
    expected = load_model(folder)[0](input_ids=ids).logits
    path.write_text(json.dumps(json.loads(path.read_text()) | entry))
    assert torch.equal(load_model(folder)[0](input_ids=ids).logits, expected)


def test_half_precision_and_masks_of_bytes_are_fine(folder):
    def change(weights):
        for name in weights:
            weights[name] = weights[name].half()
        weights["transformer.h.0.attn.bias"] = torch.ones(3, dtype=torch.uint8)

    _changed(folder, change)
    model, _ = load_model(folder)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.filterwarnings("ignore")  # the library reports on it, too
def test_a_quantised_configuration_is_refused(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["quantization_config"] = {"quant_method": "nosuch"}
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match="floating point.*quantization_config.*nosuch"):
        load_model(folder)


@pytest.mark.filterwarnings("ignore")  # the library reports on it, too
def test_a_vocabulary_of_another_size_is_named_with_both_shapes(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"vocab_size": 300}))
    with pytest.raises(ValueError, match=r"wte.weight \[257, 32\] for \[300, 32\]"):
        load_model(folder)


NO_FILES = [*LOADED, "consolidated.safetensors"]


@pytest.mark.parametrize("name", NO_FILES)
def test_a_folder_in_the_place_of_weights_is_none_to_pass_over(folder, name):
    """Docker makes one where what is to be mounted is not there."""
    (folder / "model.safetensors").unlink()
    (folder / name).mkdir()
    with pytest.raises(ValueError, match=f"expected weights.*{name}|{name}: expected"):
        load_model(folder)


@pytest.mark.parametrize("tokenizer", ["", 0, False, 5, "x" * 300])
def test_what_is_no_tokenizer_is_not_the_models_own(folder, tokenizer):
    with pytest.raises(ValueError, match="tokenizer: expected a folder or a name"):
        load_model(folder, tokenizer=tokenizer)


def test_a_link_to_nothing_is_named(folder):
    path = folder / "model.safetensors"
    path.unlink()
    path.symlink_to(folder / "blobs" / "gone")
    with pytest.raises(ValueError, match="model.safetensors: .*found a link to nothin"):
        load_model(folder)


COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture
def fetched(folder, tmp_path, monkeypatch):
    """The folder as the hub's cache keeps it, called org/tiny, without a network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    kept = tmp_path / "models--org--tiny"
    shutil.copytree(folder, kept / "snapshots" / COMMIT)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(COMMIT)
    return kept / "snapshots" / COMMIT


@pytest.mark.parametrize("asked", [None, "main", COMMIT])
def test_the_commit_of_a_hub_model_is_known(fetched, folder, asked):
    found = source_of(load_model("org/tiny", revision=asked)[0])
    here = source_of(load_model(folder)[0])
    assert found == here | {"name": "org/tiny", "revision": COMMIT}


def test_another_commit_is_not_taken_for_the_one_asked_for(fetched):
    with pytest.raises(ValueError, match="model: expected .*found 'org/tiny'"):
        load_model("org/tiny", revision=COMMIT[::-1])


def test_a_run_knows_a_hub_model_by_its_files(fetched):
    """Its configuration and tokenizer decide what it does, as those of a folder do."""
    config = TrainConfig(model="org/tiny", benchmark="minicrossfit", setting="hr_to_lr")
    run = Run(name="in-context", config=config, seeds=(100,))
    first = inputs_of(run).settings
    path = fetched / "config.json"
    before = path.read_bytes()
    path.write_text(json.dumps(json.loads(before) | {"layer_norm_epsilon": 0.5}))
    assert inputs_of(run).settings != first
    path.write_bytes(before)
    assert inputs_of(run).settings == first


def test_a_revision_is_for_names_on_the_hub(folder):
    for name in (folder, "tiny-base"):
        with pytest.raises(ValueError, match="revision: expected None.*hub names only"):
            load_model(name, revision="main")
    with pytest.raises(ValueError, match="revision: expected None"):
        load_model("some/name", revision=3)


LARGER = [
    (dict(n_layer=10**6), "1000000 layers"),
    (dict(n_layer=10**6, n_embd=64), "1000000 layers"),
    (dict(n_positions=10**9), "numbers"),
    (dict(vocab_size=10**9), "numbers"),
    (dict(n_embd=2**17), "numbers"),
    (dict(n_inner=10**8), "numbers"),
]


@pytest.mark.parametrize("changes, what", LARGER, ids=str)
@pytest.mark.parametrize("kind", ["safetensors", "shards", "bin"])
def test_a_configuration_far_larger_than_its_weights(folder, changes, what, kind):
    if kind == "shards":
        shards(folder)
    if kind == "bin":
        file = folder / "model.safetensors"
        torch.save(load_file(file), folder / "pytorch_model.bin")
        file.unlink()
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    made = []
    message = (
        f"model: expected weights of .*{what}, as .*config.json says, found "
        r"\d+ tensors, [\d,]+ numbers"
    )
    with pytest.raises(ValueError, match=message), counted_tensors(made):
        load_model(folder)
    # nothing as large as the configuration says was made
    assert max(made, default=0) < 10**7


class counted_tensors(TorchDispatchMode):
    """Notes the number of elements of what is made in real memory."""

    def __init__(self, made: list):
        super().__init__()
        self.made = made

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor) and found.device.type != "meta":
            self.made.append(found.numel())
        return found


# --- two sets of weights ---


def other_weights(folder):
    """A model of the same sizes with other weights."""
    return AutoModelForCausalLM.from_config(
        AutoModelForCausalLM.from_pretrained(folder).config
    )


@pytest.mark.parametrize("kind", ["bin", "shards"])
def test_two_models_in_one_folder_are_refused(folder, tmp_path, kind):
    other = other_weights(folder)
    if kind == "bin":
        torch.save(other.state_dict(), folder / "pytorch_model.bin")
    else:
        other.save_pretrained(tmp_path / "shards", max_shard_size="60KB")
        for path in (tmp_path / "shards").glob("model*"):
            shutil.copy(path, folder)
    with pytest.raises(ValueError, match="expected one set of weights .* differ in"):
        load_model(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_copies_of_one_model_are_loaded(folder, dtype):
    """In another format, in half the bits, and with a tied weight's second name."""
    model = load_model(folder)[0]
    copies = {name: x.to(dtype) for name, x in model.state_dict().items()}
    assert "lm_head.weight" in copies and "lm_head.weight" not in load_file(
        folder / "model.safetensors"
    )
    torch.save(copies, folder / "pytorch_model.bin")
    again = load_model(folder)[0].state_dict()
    assert all(torch.equal(x, again[name]) for name, x in model.state_dict().items())


@pytest.mark.parametrize("content", [b"", b"half a download", POINTER.encode()])
def test_what_is_no_model_beside_the_weights_is_passed_over(folder, content):
    (folder / "pytorch_model.bin").write_bytes(content)
    load_model(folder)


def test_what_a_folder_may_not_hold_a_hub_name_may_not(fetched):
    """Codes taken for values; adapters beside a model, which would be put on another"""
    weights = load_file(fetched / "model.safetensors")
    codes = {name: x.to(torch.int8) for name, x in weights.items()}
    save_file(codes, fetched / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="expected weights, found quantised"):
        load_model("org/tiny")
    save_file(weights, fetched / "model.safetensors", {"format": "pt"})
    load_model("org/tiny")
    (fetched / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match="model: expected .*org/tiny|an adapter"):
        load_model("org/tiny")
