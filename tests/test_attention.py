"""Attention "twice" against the formula, derivative by derivative, and the tied embedding."""

import pytest
import torch
from models_small import small_model
from torch.autograd import gradcheck, gradgradcheck
from transformers import GPT2Config

from maml_en_llm import attention
from maml_en_llm.attention import _Attention
from maml_en_llm.embedding import look_up, tied_weight

LENGTH = 7


def inputs(length=LENGTH, heads=3, prompts=2):
    source = torch.Generator().manual_seed(0)
    return [torch.randn(prompts, heads, length, 4, generator=source, dtype=torch.float64).requires_grad_() for _ in range(3)]


def padded(length):
    """Causal, the second prompt one key shorter and with a window of three keys."""
    mask = torch.ones(2, 1, length, length, dtype=torch.bool).tril()
    mask[1] &= mask[1].triu(-2)
    return mask


MASKS = {
    "causal": lambda length: None,
    "padded": padded,
    "all keys": lambda length: torch.ones(2, 1, length, length, dtype=torch.bool),
    "bias": lambda length: torch.linspace(-1, 1, 3 * length * length, dtype=torch.float64).view(1, 3, length, length),
}


@pytest.mark.parametrize("mask", MASKS)
def test_both_derivatives_block_by_block(monkeypatch, mask):
    monkeypatch.setattr(attention, "ROWS", 3)  # three blocks of rows, two heads at a time
    monkeypatch.setattr(attention, "BLOCK", {"cpu": 3 * LENGTH * 2})

    def function(q, k, v):
        return _Attention.apply(q, k, v, MASKS[mask](LENGTH), 0.7)

    assert gradcheck(function, inputs())
    assert gradgradcheck(function, inputs())


@pytest.mark.parametrize("mask", MASKS)
def test_several_blocks_equal_the_formula(mask):
    length, found = 2 * attention.ROWS + 5, []
    mask = MASKS[mask](length)

    def formula(q, k, v, mask, scale):
        scores = scale * q @ k.mT
        allowed = torch.ones(length, length, dtype=torch.bool).tril() if mask is None else mask
        scores = scores.masked_fill(~allowed, float("-inf")) if allowed.dtype == torch.bool else scores + allowed
        return scores.softmax(-1) @ v

    for function in (_Attention.apply, formula):
        leaves = inputs(length)
        value = function(*leaves, mask, 0.7)
        first = torch.autograd.grad(value.sin().sum(), leaves, create_graph=True)
        found.append([value, *first, *torch.autograd.grad(sum(g.cos().sum() for g in first), leaves)])
    for ours, theirs in zip(*found):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_derivatives_it_is_attention_all_the_same(mode):
    q, k, v = (t.detach() for t in inputs())
    with mode():
        found = _Attention.apply(q, k, v, None, 0.7)
    assert not found.requires_grad
    torch.testing.assert_close(found, torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.7))


def test_a_derivative_with_respect_to_the_queries_alone():
    (q, k, v), plain = inputs(), torch.nn.functional.scaled_dot_product_attention
    found, expected = (torch.autograd.grad(f(q, k.detach(), v.detach()).sin().sum(), q)[0] for f in (
        lambda q, k, v: _Attention.apply(q, k, v, None, 0.7), lambda q, k, v: plain(q, k, v, is_causal=True, scale=0.7)))
    torch.testing.assert_close(found, expected)


def test_a_third_derivative_is_refused():
    leaves = inputs()
    first = torch.autograd.grad(_Attention.apply(*leaves, None, 0.7).sin().sum(), leaves, create_graph=True)
    with pytest.raises(NotImplementedError, match="no third derivative; load_model"):
        torch.autograd.grad(first[0].sin().sum(), leaves, create_graph=True)


def test_a_tied_embedding_is_differentiated_twice():
    weight = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ids = torch.tensor([[1, 3, 1], [0, 1, 4]])  # a word three times, a word never

    def function(weight):
        rows, head = look_up(weight, ids)
        return torch.tanh(rows @ head.T)

    torch.testing.assert_close(function(weight), torch.tanh(weight[ids] @ weight.T))
    assert gradcheck(function, weight) and gradgradcheck(function, weight)


@pytest.mark.parametrize("tie, expected", [(True, "transformer.wte.weight"), (False, None)])
def test_the_weight_of_a_tied_embedding_is_found(tie, expected):
    config = GPT2Config(vocab_size=97, n_embd=32, n_layer=1, n_head=2, tie_word_embeddings=tie, bos_token_id=0, eos_token_id=0)
    assert tied_weight(small_model(config)) == expected


def test_an_embedding_with_a_padding_word_is_left_alone():
    model = small_model()
    model.get_input_embeddings().padding_idx = 0  # that row has no gradient from the embedding
    assert tied_weight(model) is None
