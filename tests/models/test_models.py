"""The prompt loss against plain calls of the model, its guards, and loading."""

import json
import warnings
from copy import deepcopy
from pathlib import Path
from threading import Thread

import pytest
import torch
from helpers import CONFIGS, LLAMA, distance, small_model, write_bpe, write_model
from torch.ao.quantization import quantize_dynamic
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BigBirdConfig,
    BloomConfig,
    CpmAntConfig,
    FalconConfig,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    Lfm2Config,
    LlamaConfig,
    MistralConfig,
    ReformerConfig,
    RwkvConfig,
    XLMConfig,
    XLNetConfig,
)

from maml_en_llm import (
    SGD,
    Batch,
    Example,
    PromptEncoder,
    PromptLoss,
    load_model,
    meta_gradient,
    parameters,
)
from maml_en_llm.evaluation import score_options
from maml_en_llm.meta import DERIVATIVES as MODES
from maml_en_llm.models import as_device, loading, safe
from maml_en_llm.models.adapters import save_model, with_adapters
from maml_en_llm.models.tokenizer import tokenizer_for
from maml_en_llm.prompts import Prompt, collate
from maml_en_llm.tasks import Task
from maml_en_llm.training import TrainConfig, meta_train

PROMPTS = [
    Prompt(tuple(range(3, 15)), 4),
    Prompt(tuple(range(20, 27)), 1),
    Prompt(tuple(range(90, 70, -1)), 19),
]


def plain_loss(model, batch) -> torch.Tensor:
    """Mean over prompts of the mean target NLL, from one plain call.

    Logits are taken at every position; transformers' own ``labels=`` would round them
    to 32 bits.
    """
    logp = model(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask
    ).logits.log_softmax(-1)
    rows = [
        torch.stack(
            [logp[row, n - 1, ids[n]] for n in range(len(ids)) if target[n]]
        ).mean()
        for row, (ids, target) in enumerate(
            zip(batch.input_ids, batch.loss_mask, strict=True)
        )
    ]
    return -torch.stack(rows).mean()


@torch.no_grad()
def rounding_of(model, batch) -> float:
    """Ten times what a plain call in float32 is off from ``model``'s in float64.

    Softmax, norms and rotations of many classes are in 32 bits whatever the weights.
    """
    coarse = plain_loss(deepcopy(model).float(), batch)
    return 10 * max((coarse - plain_loss(model, batch)).abs().item(), 1e-8)


@pytest.mark.parametrize("kind", CONFIGS)
def test_loss_and_gradient_equal_a_plain_call(kind):
    model, batch = small_model(kind), collate(PROMPTS)
    params = {name: p.requires_grad_() for name, p in parameters(model).items()}
    loss, plain = PromptLoss(model)(params, batch), plain_loss(model, batch)
    torch.testing.assert_close(loss, plain, rtol=0, atol=1e-12)
    for name, a, b in zip(
        params,
        torch.autograd.grad(loss, list(params.values())),
        torch.autograd.grad(plain, list(model.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(
            a, b, rtol=0, atol=1e-10, msg=lambda m, name=name: f"{name}: {m}"
        )


def test_loss_equals_transformers_own_at_its_precision():
    model, (prompt, *_) = small_model(), PROMPTS
    ids = torch.tensor([prompt.ids])
    labels = ids.where(
        torch.arange(len(prompt.ids)) >= len(prompt.ids) - prompt.n_target, -100
    )
    own = model(input_ids=ids, labels=labels).loss.double()
    torch.testing.assert_close(
        PromptLoss(model)(parameters(model), collate([prompt])),
        own.detach(),
        rtol=0,
        atol=2e-7 * own.item(),  # two units in the last place of 32 bits
    )


@pytest.mark.parametrize("kind", CONFIGS)
def test_loss_is_a_function_of_the_given_parameters_only(kind):
    model, other, batch = small_model(kind), small_model(kind, seed=1), collate(PROMPTS)
    before = {name: p.clone() for name, p in parameters(model).items()}
    loss = PromptLoss(model)(parameters(other), batch)
    torch.testing.assert_close(
        loss, plain_loss(other, batch).detach(), rtol=0, atol=1e-12
    )
    assert abs(loss - plain_loss(model, batch)) > 0.01
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) and p.grad is None


@pytest.mark.numeric
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_padding_does_not_change_the_loss(kind, attention):
    model = small_model(kind, attention=attention)
    loss, params, batch = PromptLoss(model), parameters(model), collate(PROMPTS)
    alone = torch.stack([loss(params, collate([prompt])) for prompt in PROMPTS]).mean()
    tolerance = rounding_of(model, batch)
    torch.testing.assert_close(loss(params, batch), alone, rtol=0, atol=tolerance)
    # wider, and with other ids in the padding than collate's zeros
    ids, real, target = (
        torch.nn.functional.pad(t, (0, 9))
        for t in (batch.input_ids, batch.attention_mask, batch.loss_mask)
    )
    padded = Batch(ids.where(real.bool(), torch.tensor(42)), real, target)
    torch.testing.assert_close(loss(params, padded), alone, rtol=0, atol=tolerance)


WINDOW = {"vocab_size": 97, "sliding_window": 3, **LLAMA}
KINDS_OF_LAYERS = {
    "window": MistralConfig(**WINDOW),
    "some windows": Gemma3TextConfig(
        head_dim=16, layer_types=["sliding_attention", "full_attention"], **WINDOW
    ),
    "convolution": Lfm2Config(
        vocab_size=97, layer_types=["conv", "full_attention"], **LLAMA
    ),
}


@pytest.mark.numeric
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("attention", ["eager", "sdpa", "twice"])
@pytest.mark.parametrize("kind", KINDS_OF_LAYERS)
def test_padding_far_beyond_a_window_changes_no_loss(kind, attention, dtype):
    """In float64 explicit attention goes without a mask of padding."""
    config, batch = KINDS_OF_LAYERS[kind], collate(PROMPTS)
    # the plain call is given the mask, which explicit attention cannot take in float64
    tolerance = rounding_of(small_model(config, attention="sdpa"), batch)
    model = small_model(config, attention=attention).to(dtype)
    loss, params = PromptLoss(model), parameters(model)
    alone = torch.stack([loss(params, collate([prompt])) for prompt in PROMPTS]).mean()
    ids, real, target = (
        torch.nn.functional.pad(t, (0, 9))
        for t in (batch.input_ids, batch.attention_mask, batch.loss_mask)
    )
    padded = Batch(ids.where(real.bool(), torch.tensor(42)), real, target)
    for found in (loss(params, batch), loss(params, padded)):
        torch.testing.assert_close(found, alone, rtol=0, atol=tolerance)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("support", [0, 1])
def test_no_gradient_is_had_of_a_model_that_sees_later_words(mode, support):
    config = Gemma3TextConfig(
        head_dim=16,
        layer_types=["full_attention"] * 2,
        use_bidirectional_attention=True,
        **WINDOW,
    )
    model, batch = small_model(config), collate(PROMPTS)
    how = PromptLoss(model), parameters(model), [batch] * support, batch, SGD(0.1)
    with pytest.raises(ValueError, match="Gemma3ForCausalLM, which sees later ones"):
        meta_gradient(*how, mode=mode)


def test_tied_head_is_one_parameter():
    names = list(parameters(small_model("gpt2")))
    assert "transformer.wte.weight" in names and "lm_head.weight" not in names


# --- second-order guards ---


def _training(model):
    model.train()
    model.transformer.h[1].mlp.dropout.p = 0.1


GUARDS = {  # what spoils a model, the modes that it spoils, the error
    "fused attention": (
        lambda model: model.set_attn_implementation("sdpa"),
        {"reverse", "unrolled"},
        r"attention: .*found 'sdpa'.*attention='twice'",
    ),
    "active dropout": (
        _training,
        {"reverse", "unrolled", "finite_difference"},
        r"dropout: .*found transformer.h.1.mlp.dropout.p = 0.1 and 0 .*model.eval\(\)",
    ),
    "checkpointing": (
        lambda model: model.activation_checkpointing_enable(),
        set(MODES),
        r"gradient checkpointing: .*activation_checkpointing_disable\(\)",
    ),
    "bfloat16": (
        lambda model: model.bfloat16(),
        {"reverse", "unrolled", "finite_difference"},
        "dtype: .*found torch.bfloat16; .*torch.float32",
    ),
    "float16": (
        lambda model: model.half(),
        {"reverse", "unrolled", "finite_difference"},
        "dtype: .*found torch.float16; .*torch.float32",
    ),
    "one coarse weight": (
        lambda model: model.transformer.h[1].mlp.half(),
        {"reverse", "unrolled", "finite_difference"},
        "dtype: .*found torch.float16; .*torch.float32",
    ),
    "compiled": (
        lambda model: model.compile(backend="eager"),
        {"reverse", "unrolled", "finite_difference"},
        "torch.compile: .*use the model that was compiled",
    ),
    "compiled part": (
        lambda model: model.transformer.h[0].compile(backend="eager"),
        {"reverse", "unrolled", "finite_difference"},
        "torch.compile: .*use the model that was compiled",
    ),
}


@pytest.mark.parametrize(("spoil", "modes", "message"), GUARDS.values(), ids=GUARDS)
def test_guards(spoil, modes, message):
    model = small_model()
    loss, params, batch = PromptLoss(model), parameters(model), collate(PROMPTS)
    for mode in MODES:
        loss.check(mode)
    spoil(model)
    for mode in MODES:
        if mode not in modes:
            loss.check(mode)
            continue
        with pytest.raises(ValueError, match=message):
            meta_gradient(loss, params, [batch], batch, SGD(0.1), mode=mode)


def _packed():
    model = small_model("llama", dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own part is to be moved
        return quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)


def _mixed():
    model = small_model(dtype=torch.float32)
    model.transformer.h[1].double()
    return model


def _made_in_inference_mode():
    with torch.inference_mode():
        return small_model()


UNFIT = {
    "packed": (_packed, "quantisation: .*found those of model.layers.0.* packed"),
    "meta": (
        lambda: small_model().to("meta"),
        "params: .*found 'transformer.* on 'meta'",
    ),
    "mixed": (
        _mixed,
        "dtype: .*found transformer.wte.weight in torch.float32, transformer.h.1.* in",
    ),
    "inference": (_made_in_inference_mode, "torch.inference_mode: .*transformer.wte"),
}


@pytest.mark.parametrize(("make", "message"), UNFIT.values(), ids=UNFIT)
def test_weights_that_no_derivative_sees_are_refused(make, message):
    model, batch = make(), collate(PROMPTS)
    for mode in MODES:
        with pytest.raises(ValueError, match=message):
            meta_gradient(
                PromptLoss(model),
                parameters(model),
                [batch],
                batch,
                SGD(0.1),
                mode=mode,
            )


def test_a_compiled_copy_is_seen():
    model = torch.compile(small_model(), backend="eager")
    with pytest.raises(ValueError, match=r"torch.compile: mode 'reverse'"):
        PromptLoss(model).check("reverse")
    PromptLoss(model).check("first_order")


@pytest.mark.parametrize("coarse", [torch.bfloat16, torch.float16])
def test_autocast_is_seen(coarse):
    model, batch = small_model(dtype=torch.float32), collate(PROMPTS)
    loss, params = PromptLoss(model), parameters(model)
    with torch.autocast("cpu", coarse):
        for mode in ("reverse", "unrolled", "finite_difference"):
            with pytest.raises(
                ValueError, match=r"autocast: mode .*float32 or float64"
            ):
                meta_gradient(loss, params, [batch], batch, SGD(0.1), mode=mode)
        loss.check("first_order")
    loss.check("reverse")


@pytest.mark.numeric
@pytest.mark.parametrize("coarse", [torch.bfloat16, torch.float16])
def test_first_order_and_the_loss_work_in_half_precision(coarse):
    """Off by a few times the rounding of the weights themselves."""
    fine, batch = small_model(dtype=torch.float64), collate(PROMPTS)
    model = small_model(dtype=coarse)
    rounded = {name: p.double() for name, p in parameters(model).items()}
    grads = [
        meta_gradient(PromptLoss(m), p, [batch], batch, SGD(1e-3), mode="first_order")
        for m, p in ((fine, parameters(fine)), (fine, rounded))
    ]
    rounding = distance(grads[1].grads, grads[0].grads)
    found = meta_gradient(
        PromptLoss(model), parameters(model), [batch], batch, SGD(1e-3),
        mode="first_order",
    )  # fmt: skip
    got = {name: g.double() for name, g in found.grads.items()}
    assert distance(got, grads[0].grads) < 10 * rounding


@pytest.mark.numeric
def test_float64_survives_the_whole_loss():
    """A detour through 32 bits anywhere would leave an error of 1e-8."""
    model, batch = small_model(), collate(PROMPTS)
    params = parameters(model)
    step = 1e-6
    name = "transformer.h.0.mlp.c_fc.weight"
    loss = PromptLoss(model)
    value = loss(params, batch)
    assert value.dtype == torch.float64
    moved = [loss(params | {name: params[name] + way * step}, batch) for way in (1, -1)]
    slope = (moved[0] - moved[1]) / (2 * step)
    grads = meta_gradient(loss, params, [], batch, None).grads
    # the difference cancels 10 of 16 digits; float32 would leave nothing of it
    torch.testing.assert_close(slope, grads[name].sum(), rtol=1e-6, atol=1e-8)
    assert all(g.dtype == torch.float64 for g in grads.values())


def rwkv():
    config = RwkvConfig(
        vocab_size=518,
        hidden_size=16,
        attention_hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=4,
        rescale_every=2,
        context_length=64,
    )
    return small_model(config)


def test_weights_that_a_call_divides_are_left_as_they_are(tmp_path):
    """RWKV's in evaluation mode: else what is saved would be divided twice."""
    model, ids = rwkv(), torch.tensor([[5, 6, 7, 8]])
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    with pytest.raises(ValueError, match="^rescale_every: .* no call writes to"):
        PromptLoss(model)
    model.save_pretrained(tmp_path)
    how = {"tokenizer": "tiny-base", "attention": "eager", "dtype": "float64"}
    loaded, _ = load_model(tmp_path, **how)
    for name, own in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], own)
    PromptLoss(loaded)
    with torch.no_grad():
        expected = model.train()(input_ids=ids).logits
        torch.testing.assert_close(loaded(input_ids=ids).logits, expected)
        model.eval()(input_ids=ids)  # writes into its weights
    for name, own in model.state_dict().items():
        same = torch.equal(loaded.state_dict()[name], own)
        divided = name.endswith(("output.weight", "feed_forward.value.weight")) and (
            name.startswith(("rwkv.blocks.2", "rwkv.blocks.3"))
        )
        assert same != divided


@pytest.mark.parametrize(
    ("kind", "where"), [("opt", "dropout"), ("llama", "attention_dropout")]
)
def test_dropout_without_a_module_of_its_own_is_seen(kind, where):
    model = small_model(kind)
    module = next(m for m in model.modules() if hasattr(m, where))
    setattr(module, where, 0.1)
    PromptLoss(model).check("reverse")
    model.train()
    with pytest.raises(
        ValueError, match=rf"dropout: .*found model\..*{where} = 0.1 and 0 more"
    ):
        PromptLoss(model).check("reverse")


def test_training_mode_without_dropout_is_allowed():
    for kind in CONFIGS:
        PromptLoss(small_model(kind).train()).check("reverse")


# --- loading ---


def same_weights(a, b) -> bool:
    return all(
        torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True)
    )


def test_configuration_without_weights(tmp_path):
    folder = write_model(tmp_path / "model")
    from_folder, words = load_model(folder)
    from_file, _ = load_model(folder / "config.json", tokenizer=folder)
    from_config, _ = load_model(GPT2Config.from_pretrained(folder), tokenizer=folder)
    assert not from_folder.training
    assert from_folder.config._attn_implementation == "twice"
    assert len(words) == 257 and words.decode(words.encode("an é\n")) == "an é\n"
    assert same_weights(from_folder, from_file) and same_weights(
        from_folder, from_config
    )


@pytest.mark.parametrize("rank", [0, 2])
def test_all_files_of_a_saved_model_may_be_read_by_the_same_people(rank, tmp_path):
    model, words = load_model(write_model(tmp_path / "model"))
    folder = tmp_path / "saved"
    save_model(with_adapters(model, rank) if rank else model, words, folder)
    files = [path for path in folder.iterdir() if path.suffix != ".md"]
    assert len(files) > 3 and any(path.suffix == ".safetensors" for path in files)
    assert len({path.stat().st_mode for path in files}) == 1


def test_weights_are_those_of_their_seed_in_every_thread(tmp_path):
    folder = write_model(tmp_path / "model")
    alone = [load_model(folder, seed=seed)[0] for seed in range(4)]
    found = {}

    def load(seed):
        for again in range(4):
            found[seed, again], _ = load_model(folder, seed=seed)

    threads = [Thread(target=load, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert all(same_weights(model, alone[seed]) for (seed, _), model in found.items())


def test_random_weights_follow_the_seed_and_nothing_else(tmp_path):
    folder = write_model(tmp_path / "model")
    state = torch.get_rng_state()
    first, _ = load_model(folder, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(1)
    assert same_weights(first, load_model(folder, seed=3)[0])
    assert not same_weights(first, load_model(folder, seed=4)[0])


def test_precision_and_attention(tmp_path):
    model, _ = load_model(
        write_model(tmp_path / "model"), dtype=torch.float64, attention="sdpa"
    )
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    "config", [BloomConfig, FalconConfig], ids=["no sdpa", "its own sdpa"]
)
def test_models_that_take_no_other_attention(tmp_path, config):
    config = config(
        vocab_size=257,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    words = write_model(tmp_path / "model")
    message = r"attention: (Bloom|Falcon)ForCausalLM takes no attention but .*'eager'"
    with pytest.raises(ValueError, match=message):
        load_model(config, tokenizer=words, attention="twice")
    safe._warned.clear()
    with pytest.warns(UserWarning, match="attention: .* keeps its own"):
        model, _ = load_model(config, tokenizer=words)
    assert model.config._attn_implementation == "eager"
    load_model(config, tokenizer=words)  # said once
    assert (
        load_model(config, tokenizer=words, attention="eager")[
            0
        ].config._attn_implementation
        == "eager"
    )


def test_saved_weights_come_back(tmp_path):
    model, words = load_model(write_model(tmp_path / "model"), seed=5)
    model.save_pretrained(tmp_path / "saved")
    words.save_pretrained(tmp_path / "saved")
    again, tokenizer = load_model(tmp_path / "saved", seed=6)
    ids = torch.tensor([tokenizer.encode("a text\n\n\nanother")])
    assert torch.equal(again(ids).logits, model(ids).logits)
    assert not again.training and again.config._attn_implementation == "twice"


def test_bpe_from_the_environment(tmp_path, monkeypatch):
    folder = write_model(tmp_path / "model")
    monkeypatch.setenv("GPT2_BPE", str(write_bpe(tmp_path / "bpe")))
    assert len(load_model(folder / "config.json")[1]) == 257
    # A model's own tokenizer comes first.
    monkeypatch.setenv("GPT2_BPE", str(tmp_path / "nowhere"))
    assert len(load_model(folder)[1]) == 257


@pytest.mark.parametrize("empty", [True, False])
def test_an_empty_variable_is_none(monkeypatch, empty):
    monkeypatch.delenv("GPT2_BPE", raising=False)
    if empty:
        monkeypatch.setenv("GPT2_BPE", "")
    assert tokenizer_for(GPT2Config()) == "gpt2"


TOKENIZERS = {  # tokenizer, what it is asked for by and at which revision
    "the model's own": (None, "org/model", "v1"),
    "the same repository": ("org/model", "org/model", "v1"),
    "the same as a path": (Path("org/model"), Path("org/model"), "v1"),
    "another repository": ("other/words", "other/words", None),
    "the default for what has none": ("gpt2", "gpt2", None),
}


@pytest.mark.parametrize(
    ("tokenizer", "where", "revision"), TOKENIZERS.values(), ids=TOKENIZERS
)
def test_a_revision_is_of_the_model_s_own_repository(
    monkeypatch, tokenizer, where, revision
):
    asked = []

    def refuse(where, *, revision=None):
        asked.append((where, revision))
        raise ValueError("no more")

    monkeypatch.setattr(loading, "_pretrained", lambda *_: small_model())
    monkeypatch.setattr(loading, "load_tokenizer", refuse)
    with pytest.raises(ValueError, match="no more"):
        load_model("org/model", tokenizer=tokenizer, revision="v1")
    assert asked == [(where, revision)]


def test_real_bpe_with_a_configuration(bpe):
    model, words = load_model(GPT2Config(n_embd=8, n_layer=1, n_head=1, n_positions=8))
    assert len(words) == model.config.vocab_size == 50257
    assert words.encode("positive") == bpe.encode("positive") == [24561]


def _no_config(folder):
    folder.mkdir()
    return dict(name=folder)


def _small_vocabulary(folder):
    return dict(name=write_model(folder, words=100))


NAMES = {
    "folder without a configuration": (
        _no_config,
        "model: expected a config.json in the folder '.*model', found none",
    ),
    "configuration file not there": (
        lambda folder: dict(name=folder / "config.json"),
        "model: expected a configuration file, found nothing at",
    ),
    "unknown name": (
        lambda folder: dict(name="./no-such-model"),
        "model: expected a folder, .*, found './no-such-model'",
    ),
    "tokenizer of another model": (
        _small_vocabulary,
        "tokenizer: expected token ids below 100, .*, found 255, one of 257",
    ),
}


@pytest.mark.parametrize(("prepare", "message"), NAMES.values(), ids=NAMES)
def test_nothing_to_load(tmp_path, prepare, message):
    with pytest.raises(ValueError, match=message):
        load_model(**prepare(tmp_path / "model"))


def test_damaged_configuration(tmp_path):
    folder = write_model(tmp_path / "model")
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"})[:-3])
    with pytest.raises(ValueError, match=f"{folder}/config.json"):
        load_model(folder)


def test_folder_without_a_tokenizer(tmp_path, monkeypatch):
    folder = write_model(tmp_path / "model")
    (folder / "vocab.json").unlink(), (folder / "merges.txt").unlink()
    monkeypatch.setenv("GPT2_BPE", str(tmp_path / "nowhere"))
    with pytest.raises(
        ValueError, match="tokenizer: expected a folder .*nowhere'.*GPT2_BPE"
    ):
        load_model(folder)


def test_encoder_takes_a_loaded_tokenizer(tmp_path):
    _, words = load_model(write_model(tmp_path / "model"))
    prompt = PromptEncoder(words).training_prompt(
        [Example("a", "yes")], Example("b", "no")
    )
    assert words.decode(prompt.ids) == "a\nyes\n\n\nb\nno"


@pytest.mark.filterwarnings("ignore:attention. .* keeps its own")
def test_a_model_that_sees_what_is_to_come_is_refused(tmp_path):
    words = write_model(tmp_path / "model")
    sizes = dict(
        vocab_size=257,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    with pytest.raises(ValueError, match="BertLMHeadModel, .* set is_decoder=True"):
        load_model(BertConfig(**sizes), tokenizer=words)
    load_model(BertConfig(**sizes, is_decoder=True), tokenizer=words)
    both = LlamaConfig(vocab_size=257, is_causal=False, **LLAMA)
    with pytest.raises(ValueError, match="LlamaForCausalLM, which sees later ones"):
        load_model(both, tokenizer=words)
    gemma = GemmaConfig(
        vocab_size=257, head_dim=16, use_bidirectional_attention=True, **LLAMA
    )
    with pytest.raises(ValueError, match="GemmaForCausalLM, which sees later ones"):
        load_model(gemma, tokenizer=words)
    # handed over, not loaded
    model = AutoModelForCausalLM.from_config(BertConfig(**sizes)).eval()
    example, sees = Example("a", "b", ("b", "c")), "BertLMHeadModel, which sees later"
    with pytest.raises(ValueError, match=sees):
        score_options(model, words, [], [example])
    task = Task("t", "classification", train=(example,) * 4)
    with pytest.raises(ValueError, match=sees):
        meta_train(model, words, [task], TrainConfig(steps=1, demonstrations=1))


def test_a_configuration_stays_the_callers(tmp_path):
    words = write_model(tmp_path / "model")
    config = CONFIGS["gpt2"]()
    config.vocab_size = 257
    before = config.to_dict()
    first, _ = load_model(config, tokenizer=words, attention="eager", dtype="float64")
    load_model(config, tokenizer=words, attention="sdpa")
    assert config.to_dict() == before
    assert first.config._attn_implementation == "eager"


TINY = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
XLM = dict(vocab_size=257, emb_dim=32, n_layers=2, n_heads=4, pad_token_id=2)
XLNET = dict(vocab_size=257, d_model=32, n_layer=2, n_head=4, d_inner=64)
BIRD = dict(vocab_size=257, intermediate_size=64, is_decoder=True, **TINY)
REFORMER = dict(
    vocab_size=257,
    is_decoder=True,
    hidden_size=32,
    num_attention_heads=4,
    attention_head_size=8,
    axial_pos_embds_dim=[16, 16],
    axial_pos_shape=[16, 16],
    attn_layers=["local", "lsh"],
    num_hashes=1,
    max_position_embeddings=256,
)
CPM = dict(vocab_size=257, dim_head=8, dim_ff=64, prompt_length=8, **TINY)
SEEING = {  # configuration, whether it is told to see what comes before only, the cure
    "xlnet": (XLNetConfig(**XLNET), False, "attn_type='uni'"),
    "xlnet uni": (XLNetConfig(**XLNET, attn_type="uni"), True, ""),
    "xlm": (XLMConfig(**XLM), False, "causal=True"),
    "xlm causal": (XLMConfig(**XLM, causal=True), True, ""),
    "cpm-ant": (CpmAntConfig(**CPM), False, "another model"),
    "bigbird": (BigBirdConfig(**BIRD), False, "attention_type='original_full'"),
    "bigbird full": (
        BigBirdConfig(**BIRD, attention_type="original_full"),
        True,
        "",
    ),
    "reformer": (ReformerConfig(**REFORMER), True, ""),
    "bloom": (BloomConfig(vocab_size=257, **TINY), True, ""),
}


@pytest.mark.filterwarnings("ignore:attention. .* keeps its own")
@pytest.mark.filterwarnings("ignore:.*:FutureWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize(("config", "before", "cure"), SEEING.values(), ids=SEEING)
def test_classes_that_are_not_known_are_tried(tmp_path, config, before, cure, dtype):
    if isinstance(config, XLNetConfig) and dtype != "float32":
        pytest.skip("its places are in float32 only: it cannot be called")
    words, config = write_model(tmp_path / "model"), deepcopy(config)
    state = torch.get_rng_state()
    if not before:
        with pytest.raises(ValueError, match=f"sees later ones.*{cure}"):
            load_model(config, tokenizer=words, dtype=dtype)
    else:
        model, _ = load_model(config, tokenizer=words, dtype=dtype)
        # nothing that the trial has left stops autograd
        if dtype == "float32" and not isinstance(config, ReformerConfig):
            model(input_ids=torch.arange(8)[None]).logits.sum().backward()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.filterwarnings("ignore:attention. .* keeps its own")
def test_xlnet_gives_padded_rows_their_own_loss(tmp_path):
    words = write_model(tmp_path / "model")
    config = XLNetConfig(**XLNET, attn_type="uni")
    model, _ = load_model(config, tokenizer=words)  # it has no float64
    loss, params = PromptLoss(model), parameters(model)
    together = loss(params, collate(PROMPTS))
    alone = [loss(params, collate([prompt])) for prompt in PROMPTS]
    few = 16 * torch.finfo(torch.float32).eps  # a mean of 24 terms of a size
    torch.testing.assert_close(together, torch.stack(alone).mean(), rtol=few, atol=0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attention", "flash"),
        ("dtype", "int8"),
        ("dtype", torch.int64),
        ("device", "gpu9"),
        ("device", "cuda:99"),
        ("seed", -1),
        ("seed", 1.5),
    ],
)
def test_arguments_are_checked(tmp_path, name, value):
    folder = write_model(tmp_path / "model")
    with pytest.raises(ValueError, match=f"^{name}: expected .*, found"):
        load_model(folder, **{name: value})


@pytest.mark.parametrize("name", ["", 3, None, "a\0b"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(ValueError, match="model: expected a name, a folder"):
        load_model(name)


def test_dtype_and_device_by_name(tmp_path):
    folder = write_model(tmp_path / "model")
    model, _ = load_model(folder, dtype="float64", device="auto")
    assert model.dtype == torch.float64
    assert model.device.type == as_device("auto").type


@pytest.fixture
def saved(tmp_path):
    """A folder of a model with weights and its tokenizer."""
    for part in load_model("tiny-base"):
        part.save_pretrained(tmp_path)
    return tmp_path


def change_configuration(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_weights_that_do_not_fit_are_said_in_one_line(saved, capfd):
    change_configuration(saved, vocab_size=99)
    with pytest.raises(ValueError, match="^model: "):
        load_model(saved)
    assert "REPORT" not in capfd.readouterr().err


def test_a_damaged_configuration_is_not_the_tokenizers_fault(saved):
    change_configuration(saved, dtype="nope")
    with pytest.raises(ValueError, match="config.json: expected a conf.*'nope'") as bad:
        load_model(saved)
    assert "GPT2_BPE" not in str(bad.value)
