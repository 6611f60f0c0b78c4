"""Attention "twice" against the formula, and the tied embedding."""

import pytest
import torch
from helpers import LLAMA, WORDS, distance, rounding, small_model
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call
from transformers import GPT2Config, MistralConfig

from maml_en_llm import PromptLoss, parameters
from maml_en_llm.meta.calculus import hessian_vector_product
from maml_en_llm.models import attention
from maml_en_llm.models.attention import _Attention
from maml_en_llm.models.tied_embedding import built_once, tied_weight
from maml_en_llm.prompts import Prompt, collate

LENGTH = 7


def inputs(length=LENGTH, heads=3, prompts=2):
    source = torch.Generator().manual_seed(0)
    return [
        torch.randn(
            prompts, heads, length, 4, generator=source, dtype=torch.float64
        ).requires_grad_()
        for _ in range(3)
    ]


def padded(length):
    """Causal, in the second prompt a window of three keys, the last ones padding.

    Queries there see none.
    """
    mask = torch.ones(2, 1, length, length, dtype=torch.bool).tril()
    mask[1] &= mask[1].triu(-2)
    mask[1, ..., 3:] = False
    return mask


MASKS = {
    "causal": lambda length: None,
    "padded": padded,
    "all keys": lambda length: torch.ones(2, 1, length, length, dtype=torch.bool),
    "bias": lambda length: torch.linspace(
        -1, 1, 3 * length * length, dtype=torch.float64
    ).view(1, 3, length, length),
}


@pytest.mark.parametrize("mask", MASKS)
def test_both_derivatives_block_by_block(monkeypatch, mask):
    monkeypatch.setattr(
        attention, "ROWS", {"cpu": 3}
    )  # three blocks of rows, two heads at a time
    monkeypatch.setattr(attention, "BLOCK", {"cpu": 3 * LENGTH * 2})

    def function(q, k, v):
        return _Attention.apply(q, k, v, MASKS[mask](LENGTH), 0.7)

    assert gradcheck(function, inputs())
    assert gradgradcheck(function, inputs())


@pytest.mark.parametrize("mask", MASKS)
def test_several_blocks_equal_the_formula(mask):
    length, found = 2 * attention.ROWS["cpu"] + 5, []
    mask = MASKS[mask](length)

    def formula(q, k, v, mask, scale):
        scores = scale * q @ k.mT
        allowed = (
            torch.ones(length, length, dtype=torch.bool).tril()
            if mask is None
            else mask
        )
        if allowed.dtype == torch.bool:
            return (
                scores.masked_fill(~allowed, -1e30).softmax(-1) * allowed
            ) @ v  # nothing, where no key is seen
        return (scores + allowed).softmax(-1) @ v

    for function in (_Attention.apply, formula):
        leaves = inputs(length)
        value = function(*leaves, mask, 0.7)
        first = torch.autograd.grad(value.sin().sum(), leaves, create_graph=True)
        found.append(
            [
                value,
                *first,
                *torch.autograd.grad(sum(g.cos().sum() for g in first), leaves),
            ]
        )
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_derivatives_it_is_attention_all_the_same(mode):
    q, k, v = (t.detach() for t in inputs())
    with mode():
        found = _Attention.apply(q, k, v, None, 0.7)
    assert not found.requires_grad
    torch.testing.assert_close(
        found,
        torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=0.7
        ),
    )


def test_a_derivative_with_respect_to_the_queries_alone():
    (q, k, v), plain = inputs(), torch.nn.functional.scaled_dot_product_attention
    found, expected = (
        torch.autograd.grad(f(q, k.detach(), v.detach()).sin().sum(), q)[0]
        for f in (
            lambda q, k, v: _Attention.apply(q, k, v, None, 0.7),
            lambda q, k, v: plain(q, k, v, is_causal=True, scale=0.7),
        )
    )
    torch.testing.assert_close(found, expected)


def test_a_third_derivative_is_refused():
    leaves = inputs()
    first = torch.autograd.grad(
        _Attention.apply(*leaves, None, 0.7).sin().sum(), leaves, create_graph=True
    )
    with pytest.raises(NotImplementedError, match="no third derivative; load_model"):
        torch.autograd.grad(first[0].sin().sum(), leaves, create_graph=True)


def test_a_spent_graph_holds_nothing():
    """What a custom function keeps by itself, autograd does not free with the rest."""
    q, k, v = inputs()
    value = _Attention.apply(q, k, v, None, 0.7).sin().sum()
    node = value.grad_fn.next_functions[0][0].next_functions[0][0]
    assert node.fused is not None
    again = [
        torch.autograd.grad(value, (q, k, v), retain_graph=True) for _ in range(2)
    ]  # the second builds it anew
    assert node.fused is None
    for first, second in zip(*again, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize(
    "extra",
    [
        dict(softcap=30.0),
        dict(position_bias=torch.zeros(1)),
        dict(s_aux=torch.zeros(1)),
        dict(is_causal=False),
    ],
    ids=str,
)
def test_an_attention_of_another_kind_is_refused(extra):
    module, (q, k, v) = torch.nn.Module().eval(), inputs()
    with pytest.raises(ValueError, match="attention: 'twice' is causal .* load_model"):
        attention._forward(module, q, k, v, None, **extra)


def test_a_learned_mask_is_refused_and_a_constant_one_is_not():
    module, (q, k, v) = torch.nn.Module().eval(), inputs()
    mask = torch.zeros(2, 3, LENGTH, LENGTH, dtype=torch.float64, requires_grad=True)
    with pytest.raises(ValueError, match="attention: .* a mask that is learned; load_"):
        attention._forward(module, q, k, v, mask)
    out, _ = attention._forward(module, q, k, v, mask.detach())
    assert out.requires_grad


@pytest.mark.parametrize("window", [None, 4])
def test_padding_and_a_window_leave_a_finite_second_derivative(window):
    """Padding further than the window from the last word sees no key at all."""
    batch = collate([Prompt(tuple(range(20)), 2), Prompt(tuple(range(30, 38)), 2)])
    config = MistralConfig(vocab_size=WORDS, sliding_window=window, **LLAMA)
    plain, fused = (small_model(config, attention=n) for n in ("eager", "twice"))

    def product(model):
        params = parameters(model)
        return hessian_vector_product(PromptLoss(model), params, batch, params)

    # the rotations and the softmax of eager attention are in 32 bits
    assert distance(product(plain), product(fused)) < 10 * rounding(product, plain)


# --- the tied embedding ---


def tied_model(**changes):
    config = GPT2Config(
        vocab_size=97,
        n_embd=32,
        n_layer=1,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
        **changes,
    )
    return small_model(config, attention="eager")


def test_a_tied_embedding_is_differentiated_twice():
    model = tied_model(n_positions=8, n_inner=8)
    ids = torch.tensor([[1, 3, 1], [0, 1, 4]])  # a word three times, most of them never
    params = parameters(model)
    weight = params["transformer.wte.weight"]

    def function(some):  # of six words' rows
        moved = {**params, "transformer.wte.weight": torch.cat([some, weight[6:]])}
        with built_once(model, moved, ids) as given:
            return (
                functional_call(model, given, (ids,))
                .logits[..., :6]
                .sin()
                .sum(dim=(0, 1))
            )

    some = weight[:6].clone().requires_grad_()
    plain = functional_call(
        model,
        {**params, "transformer.wte.weight": torch.cat([some, weight[6:]])},
        (ids,),
    ).logits
    torch.testing.assert_close(function(some), plain[..., :6].sin().sum(dim=(0, 1)))
    assert gradcheck(function, some, fast_mode=True) and gradgradcheck(
        function, some, fast_mode=True
    )


def test_what_a_model_makes_of_its_embedding_stays():
    """A forward hook that scales the rows, and a call with other words."""
    model, ids = tied_model(), torch.tensor([[1, 3, 1]])
    model.get_input_embeddings().register_forward_hook(
        lambda module, args, rows: 3 * rows
    )
    with built_once(model, parameters(model), ids) as given:
        for words in (ids, ids + 1):
            torch.testing.assert_close(
                functional_call(model, given, (words,)).logits, model(words).logits
            )
    assert "forward" not in vars(model.get_input_embeddings())


@pytest.mark.parametrize(
    "tie, expected", [(True, "transformer.wte.weight"), (False, None)]
)
def test_the_weight_of_a_tied_embedding_is_found(tie, expected):
    assert tied_weight(tied_model(tie_word_embeddings=tie)) == expected


def test_an_embedding_with_a_padding_word_is_left_alone():
    model = small_model()
    model.get_input_embeddings().padding_idx = (
        0  # that row has no gradient from the embedding
    )
    assert tied_weight(model) is None


def test_an_embedding_with_a_forward_of_its_own_keeps_it():
    """Noise added to embeddings, or an offloading hook, is put there."""
    model, ids = tied_model(), torch.tensor([[1, 3, 1]])
    words = model.get_input_embeddings()
    usual = words.forward

    def forward(given):
        return 3 * usual(given)

    words.forward = forward
    assert tied_weight(model) is None
    with built_once(model, parameters(model), ids) as given:
        found = functional_call(model, given, (ids,)).logits
    assert torch.equal(found, model(ids).logits)
    assert vars(words)["forward"] is forward
