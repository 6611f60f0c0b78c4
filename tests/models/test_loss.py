"""What the loss takes for parameters, and how tasks are stacked."""

from dataclasses import replace
from threading import Event, Thread

import pytest
import torch
from helpers import CONFIGS, LLAMA, WORDS, distance, rounding, small_model
from peft import LoraConfig, TrainableTokensConfig, get_peft_model
from transformers import (
    BioGptConfig,
    Gemma3Config,
    Gemma3TextConfig,
    GPT2Config,
    Lfm2Config,
    LlamaConfig,
    RobertaConfig,
)

from maml_en_llm import SGD, PromptLoss, load_model, meta_gradient, parameters
from maml_en_llm.models import loss as loss_module
from maml_en_llm.models import positions_of, safe, using_attention, write_back
from maml_en_llm.models.guards import check
from maml_en_llm.models.loss import PARAMETERS, TOGETHER
from maml_en_llm.models.sizes import attention_of
from maml_en_llm.prompts import Batch, Prompt, collate, stack

PROMPTS = [
    Prompt((5, 6, 7, 0, 8, 9), 2),
    Prompt((9, 0, 0, 3), 1),
    Prompt((10, 11, 12, 13, 14, 15, 16), 3),
]
LFM2 = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "layer_types": ["conv", "full_attention"],
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": None,
}


# --- parameters ---


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (torch.nn.Linear(2, 2), "a Linear$"),
        (torch.nn.DataParallel(small_model()), "a DataParallel; take its .module"),
        ("gpt2", "'gpt2'$"),
    ],
    ids=["linear", "parallel", "text"],
)
def test_what_is_no_language_model_is_refused(model, found):
    with pytest.raises(ValueError, match=f"model: expected a causal .*found {found}"):
        PromptLoss(model)


@pytest.mark.parametrize("mode", ["reverse", "first_order"])
def test_names_that_the_model_does_not_have_are_refused(mode):
    model, batch = small_model(attention="eager"), collate(PROMPTS)
    name = "transformer.ln_f.weight"
    weight = parameters(model)[name]
    loss = PromptLoss(model)
    for support in ([], [batch]):
        with pytest.raises(
            ValueError, match=f"params: .*found 'module.{name}'; nearest: {name}"
        ):
            wrong = {name: weight, f"module.{name}": weight}
            meta_gradient(loss, wrong, support, batch, SGD(0.1), mode=mode)


def test_names_of_tied_weights_and_of_later_parts_are_legal():
    model, batch = small_model(), collate(PROMPTS)
    loss, words = PromptLoss(model), "transformer.wte.weight"
    weight = parameters(model)[words]
    expected = loss({words: weight}, batch)
    assert torch.equal(loss({"lm_head.weight": weight}, batch), expected)
    model.more = torch.nn.Linear(1, 1)
    assert torch.equal(loss({"more.weight": torch.ones(1, 1)}, batch), expected)


def test_frozen_parameters_are_not_parameters():
    model = small_model()
    frozen = ("transformer.wte.weight", "transformer.wpe.weight")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    params = parameters(model)
    assert set(params) == {n for n, _ in model.named_parameters()} - set(frozen)
    batch = collate(PROMPTS)
    found = meta_gradient(PromptLoss(model), params, [batch], batch, SGD(0.1))
    assert set(found.grads) == set(found.adapted) == set(params)
    whole = small_model()
    everything = parameters(whole)
    expected = meta_gradient(
        PromptLoss(whole), everything, [batch], batch, SGD(0.1), adapt=list(params)
    )
    torch.testing.assert_close(found.grads, {n: expected.grads[n] for n in params})


def test_write_back_takes_some_parameters_and_checks_before_it_writes():
    model, other = small_model(), small_model(seed=1)
    before = {n: p.clone() for n, p in model.named_parameters()}
    name = "transformer.h.0.mlp.c_fc.weight"
    new = parameters(other)[name]
    for wrong in ({"no.such": new}, {"transformer.wpe.weight": new}):
        with pytest.raises(ValueError, match=r"params\['.*'\]: expected .*, found"):
            write_back(model, {name: new} | wrong)
        assert torch.equal(dict(model.named_parameters())[name], before[name])
    numbers = new.numpy()
    odd = new.to("meta"), new.to_sparse(), new.to(torch.cfloat)
    for value in (numbers, *odd, 1.0, None):
        second = "transformer.h.0.mlp.c_proj.weight"
        with pytest.raises(ValueError, match=r"expected a tensor of real numbers, "):
            write_back(model, {name: new, second: value})
        assert torch.equal(dict(model.named_parameters())[name], before[name])
    for kind in ([new], None, "weights"):
        with pytest.raises(ValueError, match="params: expected tensors by name, found"):
            write_back(model, kind)
    write_back(model, {name: new})
    for other_name, parameter in model.named_parameters():
        expected = new if other_name == name else before[other_name]
        assert torch.equal(parameter, expected)


def test_a_models_own_weights_can_be_written_back_in_other_places():
    """As they were before the first is written: layers swapped, a matrix turned."""
    model = small_model()
    own = parameters(model)
    one, other = (f"transformer.h.{layer}.ln_1.weight" for layer in (0, 1))
    square = "transformer.h.0.attn.c_proj.weight"
    own[one].fill_(1.0)
    own[other].fill_(2.0)
    numbers = own[square].numpy().copy()
    write_back(model, {one: own[other], other: own[one], square: own[square].T})
    assert set(own[one].tolist()) == {2.0} and set(own[other].tolist()) == {1.0}
    assert (own[square].numpy() == numbers.T).all() and numbers.std() > 0
    write_back(model, own)  # each in its own place
    assert set(own[one].tolist()) == {2.0}


def over_one_memory(model):
    norm = model.transformer.h[0].ln_1
    norm.bias = torch.nn.Parameter(norm.weight.data)


def expanded(model):
    norm = model.transformer.ln_f
    norm.weight = torch.nn.Parameter(torch.ones(1).expand(len(norm.weight)))


def without_memory(model):
    model.transformer.ln_f.to("meta")


def made_in_inference_mode(model):
    with torch.inference_mode():
        model.transformer.ln_f.weight = torch.nn.Parameter(torch.ones(32))


UNWRITABLE = {
    over_one_memory: "found transformer.h.0.ln_1.weight and transformer.h.0.ln_1.bias",
    expanded: "found transformer.ln_f.weight with several entries in one place",
    without_memory: "found transformer.ln_f.weight on 'meta'",
    made_in_inference_mode: "found transformer.ln_f.weight made within",
}


@pytest.mark.parametrize(("spoil", "message"), UNWRITABLE.items())
def test_what_cannot_be_written_is_refused_before_the_rest_is(spoil, message):
    model, new = small_model(), parameters(small_model(seed=1))
    spoil(model)
    table = model.transformer.wte.weight
    before = table.clone()
    with pytest.raises(ValueError, match=f"expected weights .*, {message}"):
        write_back(model, new)
    assert torch.equal(table, before)
    write_back(model, {"transformer.wte.weight": new["transformer.wte.weight"]})
    assert torch.equal(table, new["transformer.wte.weight"])


def test_a_weight_over_the_memory_of_one_that_is_not_named_is_not_written():
    model = small_model()
    over_one_memory(model)
    name = "transformer.h.0.ln_1.weight"
    with pytest.raises(ValueError, match="over one memory"):
        write_back(model, {name: parameters(model)[name] + 1})
    assert (model.transformer.h[0].ln_1.weight == 1).all()


def test_weights_in_their_own_places_are_not_copied(monkeypatch):
    model, copied = small_model(), []
    usual = torch.Tensor.clone
    monkeypatch.setattr(
        torch.Tensor, "clone", lambda t, **how: copied.append(1) or usual(t, **how)
    )
    write_back(model, parameters(model))
    assert not copied


def test_ids_beyond_the_embedding_are_refused():
    model = small_model()
    with pytest.raises(ValueError, match=f"ids below {WORDS}, .* found {WORDS};"):
        PromptLoss(model)(parameters(model), collate([Prompt((1, 2, WORDS), 1)]))


LEFT = Batch(
    torch.tensor([[0, 0, 1, 2, 3], [4, 5, 6, 7, 8]]),
    torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]),
    torch.tensor([[False] * 4 + [True]] * 2),
)


def marked(*rows):
    """A batch of three and four tokens with targets where ``rows`` say."""
    whole = collate([Prompt((1, 2, 3), 1), Prompt((4, 5, 6, 7), 1)])
    return replace(whole, loss_mask=torch.tensor(rows, dtype=torch.bool))


def other(**changes):
    """A good batch with some of its tensors as these functions return them."""
    good = marked([0, 0, 1, 0], [0, 0, 0, 1])
    return replace(
        good, **{name: f(getattr(good, name)) for name, f in changes.items()}
    )


def each(change):
    return other(input_ids=change, attention_mask=change, loss_mask=change)


WRONG = {
    "int32": (other(input_ids=lambda t: t.int()), "input_ids: .*int64, found .*int32"),
    "weights": (
        other(loss_mask=lambda t: t.long() * 2),
        "loss_mask: expected a tensor of torch.bool, found torch.int64",
    ),
    "meta": (each(lambda t: t.to("meta")), "input_ids: expected a tensor in memory"),
    "a list": (other(input_ids=lambda t: t.tolist()), "input_ids: expected a tensor"),
    "no mask": (other(attention_mask=lambda _: None), "attention_mask: .*found None"),
    "other shapes": (other(loss_mask=lambda t: t[:, :3]), "loss_mask: .*shape.*2, 3"),
    "one row": (each(lambda t: t[1]), r"batch: expected at least one .*found \(4,\)"),
    "no rows": (each(lambda t: t[:0]), r"batch: expected at least one .*\(0, 4\)"),
    "no batch": (None, "batch: expected a Batch .*found None"),
    "prompts": ([PROMPTS[0]], "batch: expected a Batch"),
    "negative ids": (collate([Prompt((1, -2, 3), 1)]), "ids below 97, .*found -2;"),
    "padded on the left": (LEFT, "batch: expected prompts padded on the right"),
    "segments": (
        other(attention_mask=lambda t: t * 2),
        "attention_mask: expected 1 on real tokens and 0 on padding, found 2;",
    ),
    "shares": (other(attention_mask=lambda t: t * 0.5), "attention_mask: .*found 0.5;"),
    "not a number": (
        other(attention_mask=lambda t: t * float("nan")),
        "attention_mask: .*found nan;",
    ),
    "no target": (marked([0] * 4, [0, 0, 0, 1]), "batch: expected a target in every"),
    "first token": (marked([1, 1, 0, 0], [0, 0, 0, 1]), "batch: expected a target in"),
    "padding": (marked([0, 0, 1, 1], [0, 0, 0, 1]), "batch: expected a target in"),
    "too long": (
        collate([Prompt((1,) * 1025, 1)]),
        "max_length: expected prompts of at most 1024 tokens, .*found 1025",
    ),
}


@pytest.mark.parametrize(("batch", "message"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("at_once", [None, 1])
def test_batches_that_the_loss_is_not_right_for_are_refused(batch, message, at_once):
    model = small_model()
    loss, params = PromptLoss(model, at_once), parameters(model)
    with pytest.raises(ValueError, match=message):
        meta_gradient(loss, params, [], batch, None)
    with pytest.raises(ValueError, match=message):
        loss(params, batch)


@pytest.mark.parametrize("kind", ["gpt2", "opt"])
def test_a_mask_of_truth_values_is_one_of_numbers(kind):
    model, batch = small_model(kind), collate(PROMPTS)
    same = replace(batch, attention_mask=batch.attention_mask.bool())
    found, expected = (PromptLoss(model)(parameters(model), b) for b in (same, batch))
    assert torch.equal(found, expected) and same.n_tokens == batch.n_tokens


def test_the_longest_prompt_that_has_positions_is_taken():
    model = small_model()
    loss = PromptLoss(model)(parameters(model), collate([Prompt((1,) * 1024, 1)]))
    assert loss.isfinite()


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "a"])
def test_prompts_at_once_is_a_number_of_prompts(value):
    with pytest.raises(ValueError, match="prompts_at_once: expected a whole number"):
        PromptLoss(small_model(), value)


# --- tasks together ---


def tasks(*rows):
    return [(collate(PROMPTS[:n]), collate(PROMPTS[1 : 1 + n])) for n in rows]


def value_of(batch):
    return lambda model: {"loss": PromptLoss(model)(parameters(model), batch).detach()}


def gradient_of(query, *support, **how):
    def gradient(model):
        params, inner = parameters(model), SGD(0.1)
        loss = PromptLoss(model)
        return meta_gradient(loss, params, list(support), query, inner, **how).grads

    return gradient


def together(model, batches, loss=None):
    return (loss or PromptLoss(model)).faster_together(parameters(model), batches)


def test_small_tasks_alike_are_faster_together():
    model = small_model()
    assert together(model, tasks(2, 2))
    assert together(model, [collate(PROMPTS[:2])] * 2)
    assert not together(model, tasks(2, 1))  # cannot be stacked
    assert not together(model, tasks(2))  # nothing to stack
    wide = TOGETHER // model.config.hidden_size
    long = collate([Prompt(tuple(range(9)) * (wide // 9 + 1), 1)])
    assert not together(model, [(long,), (long,)])
    many = {"w": torch.empty(PARAMETERS + 1, device="meta")}
    assert not PromptLoss(model).faster_together(many, tasks(2, 2))


def test_adapters_of_a_large_model_are_computed_one_by_one(monkeypatch):
    """A stack of n tasks would hold the activations of the whole model n times."""
    model = small_model()
    size = model.num_parameters()
    few = {"lora": torch.zeros(3)}
    for most, expected in ((size + 3, True), (size + 2, False)):
        monkeypatch.setattr(loss_module, "PARAMETERS", most)
        assert PromptLoss(model).faster_together(few, tasks(2, 2)) is expected


def test_on_cuda_larger_tasks_are_computed_together(monkeypatch):
    """Only the device's name is asked for; nothing is computed."""
    model = small_model()
    length = 2 * TOGETHER // model.config.hidden_size
    long = collate([Prompt(tuple(range(9)) * (length // 9 + 1), 1)])
    assert not together(model, [(long,), (long,)])
    for name, expected in (("cuda", True), ("cuda:1", True), ("mps", False)):
        monkeypatch.setattr(type(model), "device", torch.device(name))
        assert together(model, [(long,), (long,)]) is expected


def test_a_class_that_cannot_be_stacked_is_computed_one_by_one_and_told_of_once():
    model = small_model(Lfm2Config(**LFM2))
    safe._warned.clear()
    with pytest.warns(UserWarning, match="tasks are computed one by one: Lfm2"):
        assert not together(model, tasks(2, 2))
    assert not together(model, tasks(2, 2))
    # and a stack is right all the same
    loss, params = PromptLoss(model), parameters(model)
    batches = [collate(PROMPTS[:2]), collate(PROMPTS[1:])]
    many = {
        n: p.expand(2, *p.shape).clone().requires_grad_() for n, p in params.items()
    }
    found = loss(many, stack(batches))
    grads = torch.autograd.grad(found.sum(), list(many.values()))
    for task, batch in enumerate(batches):
        alone = meta_gradient(loss, params, [], batch, None)
        value = {"loss": found[task].detach()}
        lost = rounding(value_of(batch), model)
        assert distance(value, value_of(batch)(model)) < 10 * lost
        own = {n: g[task] for n, g in zip(many, grads, strict=True)}
        assert distance(own, alone.grads) < 10 * rounding(gradient_of(batch), model)


def padded(kind=LlamaConfig, around=None, **how):
    """A model whose embedding has a padding row, that of a word of `PROMPTS`."""
    sizes = {"vocab_size": WORDS, "pad_token_id": 0, **LLAMA, **how}
    model = small_model(kind(**sizes), dtype=torch.float32)
    return get_peft_model(model, around) if around else model


PADDED = {  # a model, whether tasks are stacked in it
    "tied": (lambda: padded(tie_word_embeddings=True), True),
    "untied": (lambda: padded(tie_word_embeddings=False), True),
    "scaled": (lambda: padded(Gemma3TextConfig, head_dim=16), True),
    "scaled, with positions": (
        lambda: padded(BioGptConfig, hidden_dropout_prob=0, attention_dropout=0),
        True,
    ),
    "adapter": (
        lambda: padded(
            around=LoraConfig(
                r=2, target_modules=["embed_tokens"], init_lora_weights=False
            )
        ),
        False,
    ),
    "tokens": (
        lambda: padded(
            tie_word_embeddings=False,
            around=TrainableTokensConfig(
                target_modules=["embed_tokens"], token_indices=[0, 5, 11]
            ),
        ),
        False,
    ),
}


@pytest.mark.numeric
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft's
@pytest.mark.parametrize(("make", "stacks"), PADDED.values(), ids=PADDED)
def test_the_padding_word_inside_a_text_gets_the_same_gradient_stacked(make, stacks):
    """An embedding's padding row has no gradient, of whatever order."""
    model = make()
    loss, params = PromptLoss(model), parameters(model)
    support, query = (
        [collate(PROMPTS[:2]), collate(PROMPTS[1:])],
        [collate(PROMPTS[2:]), collate(PROMPTS[:1])],
    )
    pairs = list(zip(support, query, strict=True))
    assert loss.faster_together(params, pairs) is stacks
    many = {n: p.expand(2, *p.shape) for n, p in params.items()}
    joint = meta_gradient(loss, many, [stack(support)], stack(query), SGD(0.1))
    for task in range(2):
        alone = meta_gradient(loss, params, [support[task]], query[task], SGD(0.1))
        own = {n: g[task] for n, g in joint.grads.items()}
        # padding to the longer task moves the rotations of 32 bits
        exact = gradient_of(query[task], support[task])
        assert distance(own, alone.grads) < 10 * rounding(exact, model)
    tables = [m for m in model.modules() if isinstance(m, torch.nn.Embedding)]
    assert not any("ConstantPadding" in str(type(table).__mro__) for table in tables)


def test_a_meta_gradient_is_not_written_back_whole():
    model = small_model()
    loss, batch = PromptLoss(model), collate(PROMPTS[:1])
    found = meta_gradient(loss, parameters(model), [], batch, None)
    with pytest.raises(ValueError, match="found a MetaGradient; take its .adapted$"):
        write_back(model, found)


def test_one_tensor_under_two_names_is_refused():
    model = small_model("gpt2")  # whose head is its embedding
    loss, batch = PromptLoss(model), collate(PROMPTS[:1])
    message = (
        "params: expected each weight once, found transformer.wte.weight, "
        r"lm_head.weight, which .* use parameters\(model\)"
    )
    for support in ([], [batch]):
        with pytest.raises(ValueError, match=message):
            meta_gradient(loss, model.state_dict(), support, batch, SGD(0.1))
    loss({"lm_head.weight": model.lm_head.weight}, batch)


# --- sizes ---


def test_positions():
    assert positions_of(small_model()) == 1024
    short = GPT2Config(vocab_size=9, n_positions=32, n_embd=8, n_layer=1, n_head=1)
    assert positions_of(small_model(short)) == 32
    roberta = RobertaConfig(
        vocab_size=WORDS,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=40,
        pad_token_id=1,
        is_decoder=True,
    )
    model = small_model(roberta)
    assert positions_of(model) == 38  # of 40 rows, two before the first position
    ids = torch.full((1, 38), 5)
    assert model(input_ids=ids).logits.isfinite().all()
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, 39), 5))


TEXT = {
    "vocab_size": 257,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 64,
    "max_position_embeddings": 256,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention"],
    "pad_token_id": None,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


@pytest.mark.filterwarnings("ignore:attention. .* keeps its own")
def test_sizes_that_stand_in_a_text_config(tmp_path):
    from helpers import write_bpe

    config = Gemma3Config(text_config=TEXT, vision_config=VISION)
    words = write_bpe(tmp_path / "words")
    model, _ = load_model(config, tokenizer=words, dtype=torch.float64)
    assert positions_of(model) == 256
    loss, params, batch = PromptLoss(model), parameters(model), collate(PROMPTS)
    found = meta_gradient(loss, params, [batch], batch, SGD(1e-3))
    unrolled = meta_gradient(loss, params, [batch], batch, SGD(1e-3), mode="unrolled")
    assert distance(found.grads, unrolled.grads) < 10 * rounding(
        gradient_of(batch, batch), model
    )
    model.set_attn_implementation("sdpa")
    with pytest.raises(ValueError, match="attention: .* found 'sdpa'"):
        loss.check("reverse")


# --- attention ---


def test_threads_leave_the_model_its_attention():
    model, inside = small_model(), []

    def use(name, entered, leave):
        with using_attention(model, name):
            entered.set()
            leave.wait(10)
            inside.append(attention_of(model))

    first, second, leave = Event(), Event(), Event()
    one = Thread(target=use, args=("sdpa", first, leave))
    two = Thread(target=use, args=("twice", second, leave))
    one.start()
    first.wait(10)
    two.start()
    assert not second.wait(0.1)  # it waits for the first
    leave.set()
    one.join(10)
    two.join(10)
    assert inside == ["sdpa", "twice"]
    assert attention_of(model) == "eager"


def test_a_thread_may_ask_for_attention_within_attention():
    model = small_model()
    with using_attention(model, "sdpa"), using_attention(model, "twice"):
        assert attention_of(model) == "twice"
    assert attention_of(model) == "eager"


# --- models that a user has changed ---


def test_tasks_with_a_replaced_lookup_are_computed_in_turn():
    model = small_model()
    words = model.get_input_embeddings()
    words.padding_idx = 0  # which stands in the prompts
    usual = words.forward

    def forward(given):
        return 3 * usual(given)

    batch, loss = collate(PROMPTS), PromptLoss(model)
    params = parameters(model)
    plain = loss(params, batch)
    assert loss.faster_together(params, [batch, batch])
    words.forward = forward
    safe._warned.clear()
    with pytest.warns(UserWarning, match="transformer.wte .*, which has code of its"):
        assert not loss.faster_together(params, [batch, batch])
    alone = loss(params, batch)
    stacked = {name: torch.stack([p, p]) for name, p in params.items()}
    both = loss(stacked, stack([batch, batch]))
    assert torch.equal(both, torch.stack([alone, alone])) and alone != plain
    assert vars(words)["forward"] is forward


def test_a_model_that_gives_tuples_is_refused():
    model = small_model()
    model.config.return_dict = False
    with pytest.raises(ValueError, match="found config.return_dict False, .* to True"):
        PromptLoss(model)


def test_a_name_is_no_model_and_a_model_is_no_loss():
    model, batch = small_model(), collate(PROMPTS)
    for call in (parameters, lambda name: write_back(name, {})):
        with pytest.raises(
            ValueError, match="model: expected a module of torch, found"
        ):
            call("tiny-base")
    with pytest.raises(ValueError, match=r"found a model, .*; PromptLoss\(model\) is"):
        meta_gradient(model, parameters(model), [batch], batch, SGD(0.1))


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_model_that_fails_on_a_batch_is_named(kind):
    config = CONFIGS[kind]()
    config.tie_word_embeddings = False
    model, batch = small_model(config, dtype=torch.float32), collate(PROMPTS)
    model.lm_head.to(torch.bfloat16)
    message = (
        f"^model: expected {type(model).__name__} to take prompts of up to 7 tokens, "
        "found RuntimeError: .*; its weights are of torch.bfloat16, torch.float32: "
        r"model.to\(one of them\)$"
    )
    with pytest.raises(ValueError, match=message) as caught:
        meta_gradient(
            PromptLoss(model), parameters(model), [], batch, None, mode="first_order"
        )
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert len(str(caught.value)) < 480
    model.to(torch.float32)
    assert PromptLoss(model)(parameters(model), batch).isfinite()


@pytest.mark.parametrize("error", [ValueError, AssertionError, ImportError])
def test_an_error_of_another_library_is_named(error, monkeypatch):
    model, batch = small_model(), collate(PROMPTS)

    def fails(*_, **__):
        raise error("exactly one of two")

    monkeypatch.setattr(model, "forward", fails)
    message = f"^model: expected GPT2.* found {error.__name__}: exactly one of two$"
    with pytest.raises(ValueError, match=message):
        PromptLoss(model)(parameters(model), batch)
    model.config.is_encoder_decoder = True
    with pytest.raises(ValueError, match="one of two; it has an encoder, too: take a"):
        PromptLoss(model)(parameters(model), batch)


def test_an_error_of_this_package_is_named_once():
    config = CONFIGS["llama"]()
    config.attention_dropout = 0.5
    model = small_model(config, attention="twice").train()
    with pytest.raises(ValueError, match="^dropout: attention 'twice'"):
        PromptLoss(model)(parameters(model), collate(PROMPTS))


def test_parameters_without_numbers_are_refused():
    model, batch = small_model(), collate(PROMPTS)
    params = {name: p.to("meta") for name, p in parameters(model).items()}
    with pytest.raises(ValueError, match="params: expected tensors in memory, found"):
        meta_gradient(PromptLoss(model), params, [batch], batch, SGD(0.1))


def test_a_lack_of_memory_is_no_fault_of_the_model(monkeypatch):
    model, batch = small_model(), collate(PROMPTS)

    def fails(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model, "forward", fails)
    with pytest.raises(torch.OutOfMemoryError):
        PromptLoss(model)(parameters(model), batch)


def test_a_target_that_the_head_does_not_have_is_refused():
    model, batch = small_model(), collate(PROMPTS)
    largest = int(batch.input_ids.max())
    model.lm_head = torch.nn.Linear(model.config.hidden_size, largest, bias=False)
    with pytest.raises(ValueError, match=f"token ids below {largest}, .* head, found"):
        PromptLoss(model)(parameters(model), batch)


def test_what_eager_attention_rounds_is_not_stacked():
    """In float64 a stack of other classes than GPT-2 would have a float32 softmax."""
    batches = [collate(PROMPTS[:2])] * 2
    assert together(small_model("gpt2"), batches)
    with pytest.warns(
        UserWarning, match=r"LlamaForCausalLM is not .* of torch.float64"
    ):
        assert not together(small_model("llama"), batches)
    assert together(small_model("llama", dtype=torch.float32), batches)


@pytest.mark.parametrize("mode", ["reverse", "first_order"])
def test_an_embedding_that_rewrites_its_rows_is_refused(mode):
    model, batch = small_model(), collate(PROMPTS)
    model.transformer.wpe.max_norm = 0.1
    with pytest.raises(ValueError, match="max_norm: .* found transformer.wpe, which"):
        meta_gradient(
            PromptLoss(model), parameters(model), [batch], batch, SGD(0.1), mode=mode
        )


def test_second_order_with_products_in_bfloat16_is_refused():
    model, batch = small_model(dtype=torch.float32), collate(PROMPTS)
    how = (PromptLoss(model), parameters(model), [batch], batch, SGD(0.1))
    products = torch.backends.mkldnn.matmul
    before = products.fp32_precision
    try:
        products.fp32_precision = "bf16"
        with pytest.raises(ValueError, match="matmul precision: .*'highest'"):
            meta_gradient(*how)
        meta_gradient(*how, mode="first_order")
    finally:
        products.fp32_precision = before
    meta_gradient(*how)


class OnCuda(type(small_model())):
    """A model that says that it lies on a GPU."""

    device = torch.device("cuda")


def test_second_order_with_products_in_tf32_is_refused():
    """Asked of a GPU, where it is as coarse as float16; a CPU computes as before."""
    model, batch = small_model(dtype=torch.float32), collate(PROMPTS)
    how = (PromptLoss(model), parameters(model), [batch], batch, SGD(0.1))
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        meta_gradient(*how)
        model.__class__ = OnCuda
        with pytest.raises(ValueError, match="TensorFloat-32; .*'highest'"):
            check(model, "reverse")
        check(model, "first_order")
        check(model.double(), "reverse")
    finally:
        torch.set_float32_matmul_precision(before)
    check(model.float(), "reverse")


def test_a_word_that_cannot_come_spoils_no_other_prompt():
    """Fillers of a shorter target may be such a word: their loss is infinite."""
    model = small_model()
    model.lm_head = Suppressed(model.lm_head, 6)
    loss, params = PromptLoss(model), parameters(model)
    alone = [loss(params, collate([prompt])).item() for prompt in PROMPTS[:2]]
    together = loss(params, collate(PROMPTS[:2])).item()
    assert together == pytest.approx(sum(alone) / 2, rel=1e-12)


class Suppressed(torch.nn.Module):
    """A head that never says one word."""

    def __init__(self, head, word):
        super().__init__()
        self.weight, self.word = head.weight, word

    def forward(self, x):
        logits = x @ self.weight.T
        words = torch.arange(logits.shape[-1])
        return logits.masked_fill(words == self.word, -torch.inf)
