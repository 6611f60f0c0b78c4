"""Models that a user has changed: never by a path that was measured of others."""

import math
import warnings
from copy import deepcopy
from functools import wraps

import pytest
import torch
from helpers import CONFIGS, CharTokenizer, small_model
from torch.nn.utils import parametrizations, parametrize, weight_norm

from maml_en_llm import (
    SGD,
    PromptLoss,
    Task,
    TrainConfig,
    load_model,
    meta_gradient,
    meta_train,
    parameters,
)
from maml_en_llm.evaluation import score_options
from maml_en_llm.meta import loss_and_grad
from maml_en_llm.models import safe, using_attention
from maml_en_llm.models.as_made import altered_part, foreign_part
from maml_en_llm.models.complete import check_causal
from maml_en_llm.models.guards import check
from maml_en_llm.models.sizes import keeps_logits, own_configs
from maml_en_llm.prompts import Format, Prompt, PromptEncoder, collate, stack
from maml_en_llm.tasks import Example

PROMPTS = [Prompt((5, 6, 7, 0, 8, 9), 2), Prompt((9, 0, 0, 3), 1)]
LABELS = ("ab", "cd e", "fgh")
SHOWN = [Example(f"text {n}", LABELS[n % 3], LABELS) for n in range(4)]
ASKED = [Example(f"more {n}", LABELS[0], LABELS) for n in range(3)]


def untied_model():
    config = CONFIGS["gpt2"]()
    config.tie_word_embeddings = False
    return small_model(config)


class Mixed(torch.nn.Module):
    """A part that looks back by itself: a running mean over the row."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        places = torch.arange(1, x.shape[1] + 1, dtype=x.dtype)
        return self.inner(x.cumsum(1) / places[:, None])


def by_place(module, given, rows):
    return rows + torch.linspace(0, 1, rows.shape[1], dtype=rows.dtype)[:, None]


def hooked(model):
    model.get_input_embeddings().register_forward_hook(by_place)


def mixed(model):
    layer = model.transformer.h[0]
    layer.mlp = Mixed(layer.mlp)


def replaced(model):
    inner = model.transformer
    usual = inner.forward

    def forward(*given, position_ids=None, **how):  # places are its own affair
        return usual(*given, **how)

    inner.forward = forward


def forked(model):
    kind = type(model)

    def forward(self, *given, position_ids=None, **how):
        return kind.forward(self, *given, **how)

    model.__class__ = type(kind.__name__, (kind,), {"forward": forward})


def deepened(model):
    """A copied layer on top, as in depth up-scaling: its configuration is its own."""
    layers = model.transformer.h
    layers.append(deepcopy(layers[0]))
    layers[-1].attn.layer_idx = len(layers) - 1


CHANGES = [hooked, mixed, replaced, forked, deepened]


def plainly(model, tokenizer, query):
    """Mean NLL of each option, one prompt at a time, by the model's own call."""
    scores = []
    for prompt in PromptEncoder(tokenizer, Format()).query_prompts(SHOWN, query):
        with torch.no_grad():
            ids = torch.tensor([prompt.ids])
            found = model(ids, use_cache=False).logits[0].log_softmax(-1)
        targets = range(len(prompt.ids) - prompt.n_target, len(prompt.ids))
        each = [-found[at - 1, prompt.ids[at]].item() for at in targets]
        scores.append(math.fsum(each) / prompt.n_target)
    return scores


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model_is_scored_as_it_computes(change):
    model, tokenizer = (
        small_model(),
        CharTokenizer(),
    )
    assert not altered_part(model) and safe.shares(model)
    change(model)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        found = score_options(model, tokenizer, SHOWN, ASKED)
    assert altered_part(model) and not safe.shares(model)
    for query, scores in zip(ASKED, found, strict=True):
        assert scores == pytest.approx(plainly(model, tokenizer, query), abs=1e-12)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_layer_that_is_used_twice_stores_no_prefix(kind, attention):
    model, tokenizer = small_model(kind, attention=attention), CharTokenizer()
    inner = model.transformer.h if kind == "gpt2" else model.model.layers
    inner.append(inner[-1])
    assert not altered_part(model) and not safe.shares(model)
    safe._warned.clear()
    with pytest.warns(UserWarning, match="options are scored one by one"):
        found = score_options(model, tokenizer, SHOWN, ASKED)
    for query, scores in zip(ASKED, found, strict=True):
        assert scores == pytest.approx(plainly(model, tokenizer, query), abs=1e-12)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_layers_of_two_kinds_of_attention_are_refused(kind):
    """The mask is made for the model's; "eager" without one sees later words."""
    model = small_model(kind, attention="sdpa")
    layers = model.transformer.h if kind == "gpt2" else model.model.layers
    other = small_model(kind, attention="eager")
    layers[1] = (other.transformer.h if kind == "gpt2" else other.model.layers)[1]
    assert own_configs(model) == [other.config]
    with pytest.raises(ValueError, match="'sdpa', found some of 'eager' with a conf"):
        score_options(model, CharTokenizer(), SHOWN, ASKED)
    for module in layers[1].modules():
        if hasattr(module, "config"):
            module.config = model.config
    assert own_configs(model) == [] and not altered_part(model)
    score_options(model, CharTokenizer(), SHOWN, ASKED)


def test_a_copied_layer_has_the_derivatives_of_its_model():
    """Attention is switched in every layer, and back."""
    model, batch = small_model(), collate(PROMPTS)
    deepened(model)
    loss, params = PromptLoss(model), parameters(model)
    found = meta_gradient(loss, params, [batch], batch, SGD(0.1)).grads
    by_hand = meta_gradient(loss, params, [batch], batch, SGD(0.1), mode="unrolled")
    for name, grad in by_hand.grads.items():
        torch.testing.assert_close(found[name], grad, rtol=1e-9, atol=1e-12)
    with using_attention(model, "sdpa"):
        assert {c._attn_implementation for c in own_configs(model)} == {"sdpa"}
    assert {c._attn_implementation for c in own_configs(model)} == {"eager"}


@pytest.mark.parametrize("output", [None, {}, (torch.zeros(1),)], ids=repr)
def test_a_forward_without_logits_is_refused(output):
    model, batch = small_model(), collate(PROMPTS)
    model.forward = lambda *_, **__: output
    with pytest.raises(ValueError, match="whose output has logits .*, found"):
        PromptLoss(model)(parameters(model), batch)


@pytest.mark.parametrize("change", CHANGES)
def test_tasks_with_a_changed_model_are_computed_in_turn(change):
    model, batch = small_model(), collate(PROMPTS)
    assert PromptLoss(model).faster_together(parameters(model), [batch, batch])
    change(model)
    loss, params = PromptLoss(model), parameters(model)
    safe._warned.clear()
    why = "(code of its own|a hook|a configuration of its own) is"
    with pytest.warns(UserWarning, match=f"one by one: .* {why}"):
        assert not loss.faster_together(params, [batch, batch])
    alone = loss(params, batch)
    stacked = {name: torch.stack([p, p]) for name, p in params.items()}
    both = loss(stacked, stack([batch, batch]))
    assert torch.equal(both, torch.stack([alone, alone]))


class Ahead(torch.nn.Module):
    """A part that looks at the whole row."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) + x.mean(1, keepdim=True)


def test_a_model_that_was_made_to_look_ahead_is_refused_whenever_it_was():
    model, tokenizer = small_model(), CharTokenizer()
    score_options(model, tokenizer, SHOWN, ASKED[:1])
    layer = model.transformer.h[0]
    usual, layer.mlp = layer.mlp, Ahead(layer.mlp)
    with pytest.raises(ValueError, match="GPT2LMHeadModel, which sees later ones"):
        score_options(model, tokenizer, SHOWN, ASKED[:1])
    layer.mlp = usual
    score_options(model, tokenizer, SHOWN, ASKED[:1])


def by_row(usual):
    """A class's forward that adds to each place something of its own."""

    def forward(self, hidden_states, **how):
        return usual(self, by_place(self, None, hidden_states), **how)

    return forward


def ahead(usual):
    def forward(self, hidden_states, **how):
        mean = hidden_states.mean(1, keepdim=True)
        return usual(self, hidden_states + mean, **how)

    return forward


@pytest.mark.parametrize(
    "named",
    [lambda _, new: new, lambda old, new: wraps(old)(new)],
    ids=["plain", "wraps"],
)
def test_a_class_that_is_patched_once_it_was_used_is_seen(named, monkeypatch):
    """Whatever the name that the new forward bears."""
    model, tokenizer = small_model("llama"), CharTokenizer()
    kind = type(model.model.layers[0].self_attn)
    score_options(model, tokenizer, SHOWN, ASKED[:1])
    assert not altered_part(model) and safe.shares(model)
    usual = kind.forward
    monkeypatch.setattr(kind, "forward", named(usual, by_row(usual)))
    assert altered_part(model).startswith("model.layers.0.self_attn (LlamaAttention)")
    assert not safe.shares(model) and not safe.takes_twice(model)
    check_causal(model)
    monkeypatch.setattr(kind, "forward", named(usual, ahead(usual)))
    with pytest.raises(ValueError, match="LlamaForCausalLM, which sees later ones"):
        check_causal(model)
    monkeypatch.setattr(kind, "forward", usual)
    assert not altered_part(model)
    check_causal(model)


def test_a_hook_in_the_place_of_another_is_tried_anew():
    model = small_model()
    table = model.get_input_embeddings()
    handle = table.register_forward_hook(by_place)
    check_causal(model)
    handle.remove()
    table.register_forward_hook(lambda m, x, rows: rows + rows.mean(1, keepdim=True))
    with pytest.raises(ValueError, match="which sees later ones"):
        check_causal(model)


def test_a_patched_class_without_logits_to_keep_is_not_asked_for_it(monkeypatch):
    model = small_model()
    kind, usual = type(model), type(model).forward
    assert keeps_logits(model)

    def forward(self, input_ids, attention_mask=None, use_cache=None):
        return usual(self, input_ids, attention_mask=attention_mask)

    before = PromptLoss(model)(parameters(model), collate(PROMPTS))
    monkeypatch.setattr(kind, "forward", forward)
    assert not keeps_logits(model)
    after = PromptLoss(model)(parameters(model), collate(PROMPTS))
    torch.testing.assert_close(after, before, rtol=1e-12, atol=0)


def flag(model, causal, layers=(0, 1)):
    """As LLM2Vec does it; the names of the layers' attentions."""
    names = []
    for name, module in model.named_modules():
        if hasattr(module, "is_causal") and any(f".{n}." in name for n in layers):
            module.is_causal = causal
            names.append(name)
    return names


def changed_by_the_last_word(model):
    """How much another last word changes the logits before it."""
    rows = torch.tensor([[5, 6, 7, 8, 9], [5, 6, 7, 8, 3]])
    with torch.no_grad():
        first, second = (model(row[None]).logits[0, :-1] for row in rows)
    return (first - second).abs().max().item()


@pytest.mark.parametrize("layers", [(0, 1), (1,)])
@pytest.mark.parametrize("attention", ["eager", "sdpa", "twice"])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_layers_that_are_told_to_look_both_ways_are_refused(kind, attention, layers):
    """Scores are computed by "sdpa", which heeds what a layer is told."""
    model, tokenizer = small_model(kind, attention=attention), CharTokenizer()
    score_options(model, tokenizer, SHOWN, ASKED[:1])
    names = flag(model, False, layers)
    with using_attention(model, "sdpa"):
        assert changed_by_the_last_word(model) > 1e-3
    message = f"sees later ones, too; set is_causal to True in {', '.join(names)}$"
    with pytest.raises(ValueError, match=message):
        score_options(model, tokenizer, SHOWN, ASKED[:1])
    task = Task("t", "classification", train=(*SHOWN, *ASKED))
    config = TrainConfig(method="metaicl", steps=1, tasks_per_step=1, demonstrations=1)
    with pytest.raises(ValueError, match=message):
        meta_train(model, tokenizer, [task], config)
    flag(model, True, layers)
    score_options(model, tokenizer, SHOWN, ASKED[:1])


def test_parts_that_look_both_ways_and_are_not_asked_are_let_pass():
    """Attention to what another model has read, which there is none of here."""
    config = CONFIGS["gpt2"]()
    config.add_cross_attention = True
    model = small_model(config, attention="sdpa")
    assert not model.transformer.h[0].crossattention.is_causal
    assert changed_by_the_last_word(model) == 0
    check_causal(model)


class Unmasked(torch.nn.Module):
    """A part that looks at the whole row where no mask says otherwise."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x, attention_mask=None, **how):
        found, weights = self.inner(x, attention_mask=attention_mask, **how)
        if attention_mask is None:
            found = found + x.mean(1, keepdim=True)
        return found, weights


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_model_is_tried_in_each_attention_that_it_may_be_called_with(attention):
    model = small_model(attention=attention)
    layer = model.transformer.h[0]
    layer.attn = Unmasked(layer.attn)
    with using_attention(model, "eager"):
        assert changed_by_the_last_word(model) == 0
    with using_attention(model, "sdpa"):
        assert changed_by_the_last_word(model) > 1e-3
    with pytest.raises(ValueError, match="which sees later ones"):
        check_causal(model)


def test_a_trial_that_fails_lets_no_model_pass_for_good():
    model = small_model()
    layer = model.transformer.h[0]
    usual, layer.mlp = layer.mlp.forward, Ahead(layer.mlp)

    def broken(x):
        raise RuntimeError("out of memory")

    layer.mlp.inner.forward = broken
    check_causal(model)  # whoever calls it hears of the error
    layer.mlp.inner.forward = usual
    with pytest.raises(ValueError, match="which sees later ones"):
        check_causal(model)


def test_hooks_leave_attention_twice_and_other_code_does_not():
    model, _ = load_model("tiny-base")
    model.model.layers[0].register_forward_hook(lambda *_: None)
    assert safe.takes_twice(model) and not safe.pads(model)
    model.model.layers[0].mlp.forward = lambda x: x
    assert foreign_part(model).startswith("model.layers.0.mlp (")
    with pytest.raises(ValueError, match="'twice' is not known .*model.layers.0.mlp"):
        check(model, "first_order")


def test_hooks_by_which_transformers_keeps_outputs_change_nothing():
    model = small_model()
    model(torch.tensor([[1, 2, 3]]), output_hidden_states=True, output_attentions=True)
    assert not altered_part(model)


def counted(model):
    model.register_forward_pre_hook(lambda *_: None)


def cast(model):
    usual = model.forward
    model.forward = lambda *given, **how: usual(*given, **how)


@pytest.mark.parametrize("change", [counted, cast])
def test_what_is_around_the_whole_model_keeps_it_from_stacking_alone(change):
    model = small_model()
    change(model)
    assert safe.shares(model) and safe.pads(model) and safe.takes_twice(model)
    assert not safe.stacks(model)
    assert "which was wrapped" in safe.known_as(model)


def test_what_is_compiled_is_not_changed():
    assert not altered_part(torch.compile(small_model(), backend="eager"))


# --- gradients ---


@pytest.mark.parametrize("derivative", ["reverse", "first_order"])
@pytest.mark.parametrize(
    "hook", ["register_hook", "register_post_accumulate_grad_hook"]
)
def test_a_hook_on_a_weights_gradient_is_refused(derivative, hook):
    model = small_model()
    weight = model.transformer.wte.weight
    handle = getattr(weight, hook)(lambda grad: None)
    with pytest.raises(ValueError, match="hook on that of transformer.wte.weight"):
        check(model, derivative)
    weight.requires_grad_(False)  # then nothing asks for its gradient
    check(model, derivative)
    weight.requires_grad_(True)
    handle.remove()
    check(model, derivative)


def test_a_hook_on_a_modules_gradient_is_heard_in_every_task():
    model, batch = small_model(), collate(PROMPTS)
    none = {"transformer.h.0.mlp.c_fc.weight", "transformer.wte.weight"}

    def silent(module, before, after):
        return tuple(None if x is None else 0 * x for x in before)

    model.transformer.h[0].register_full_backward_hook(silent)
    loss, params = PromptLoss(model), parameters(model)
    stacked = {n: torch.stack([p, p]).requires_grad_() for n, p in params.items()}
    both = loss(stacked, stack([batch, batch])).sum()
    found = torch.autograd.grad(both, [stacked[name] for name in sorted(none)])
    _, alone = loss_and_grad(loss, params, batch)
    for name, grad in zip(sorted(none), found, strict=True):
        torch.testing.assert_close(grad[0], alone[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("how", ["scale_grad_by_freq", "sparse"])
def test_embeddings_with_another_gradient_are_not_stacked(how):
    model, batch = small_model(), collate(PROMPTS)
    loss, params = PromptLoss(model), parameters(model)
    setattr(model.transformer.wte, how, True)
    assert not loss.faster_together(params, [batch, batch])


# --- weights ---


@pytest.mark.parametrize("norm", [weight_norm, parametrizations.weight_norm])
def test_weight_norm_is_refused_where_its_second_derivative_is_asked(norm):
    """By its formula, written out, the exact ways agree with finite differences."""
    model = untied_model()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older one is deprecated
        norm(model.lm_head)
    for derivative in ("reverse", "unrolled"):
        with pytest.raises(ValueError, match="weight_norm: .* found it in lm_head"):
            check(model, derivative)
    for derivative in ("finite_difference", "first_order"):
        check(model, derivative)


def test_other_parametrizations_have_exact_derivatives():
    model, batch = small_model(), collate(PROMPTS)
    layer = model.transformer.h[0].mlp.c_fc

    class Doubled(torch.nn.Module):
        def forward(self, weight):
            return 2 * weight + weight**3

    parametrize.register_parametrization(layer, "weight", Doubled())
    ways = ("reverse", "unrolled")
    how = PromptLoss(model), parameters(model), [batch], batch, SGD(0.1)
    one, other = (meta_gradient(*how, mode=way).grads for way in ways)
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-9, atol=1e-12)
    with parametrize.cached(), pytest.raises(ValueError, match="parametrize.cached"):
        meta_gradient(*how)


def test_weights_over_one_memory_are_refused():
    model = untied_model()
    head, words = model.lm_head, model.transformer.wte
    head.weight = torch.nn.Parameter(words.weight.data)  # "tied", as two parameters
    with pytest.raises(ValueError, match="transformer.wte.weight and lm_head.weight"):
        check(model, "first_order")
    head.weight = words.weight  # tied
    check(model, "first_order")
    norm = model.transformer.ln_f
    norm.weight = torch.nn.Parameter(norm.weight.data[:1].expand(len(norm.weight)))
    with pytest.raises(ValueError, match="ln_f.weight with several entries in one"):
        check(model, "first_order")


def test_weights_between_each_other_in_one_memory_are_let_pass():
    model = small_model()
    first, second = (layer.ln_1 for layer in model.transformer.h[:2])
    both = torch.ones(len(first.weight), 2, dtype=torch.float64)
    first.weight, second.weight = map(torch.nn.Parameter, both.unbind(1))
    check(model, "first_order")
    second.weight = torch.nn.Parameter(both[:, 0])
    with pytest.raises(ValueError, match=r"h.0.ln_1.weight and transformer.h.1.ln_1"):
        check(model, "first_order")
