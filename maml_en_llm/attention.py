"""Attention that can be differentiated twice in the memory of one.

Fused attention has no second derivative, and the explicit one keeps every (T, T) matrix of every layer until the end. Here
the forward pass is the fused kernel, and so is the gradient where it is not to be differentiated again. Where it is, it and
its own gradient are explicit, and compute the probabilities anew when they need them, so that between passes only q, k, v
and the incoming gradient are kept. Registered with
`transformers` as the attention implementation "twice".
"""

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

TWICE = "twice"


class _Attention(torch.autograd.Function):
    """softmax(scale · q kᵀ + mask) v, (B, H, T, d) each; forward by the fused kernel."""

    @staticmethod
    def forward(ctx, q, k, v, mask, scale):
        ctx.save_for_backward(q, k, v)
        ctx.mask, ctx.scale = mask, scale
        return _fused(q, k, v, mask, scale)

    @staticmethod
    def backward(ctx, grad):
        gradient = _Gradient.apply if torch.is_grad_enabled() else _fused_gradient  # enabled: "create_graph"
        return *gradient(*ctx.saved_tensors, grad, ctx.mask, ctx.scale), None, None


class _Gradient(torch.autograd.Function):
    """The gradient of `_Attention` as a function of q, k, v and the incoming gradient."""

    @staticmethod
    def forward(ctx, q, k, v, grad, mask, scale):
        ctx.save_for_backward(q, k, v, grad)
        ctx.mask, ctx.scale = mask, scale
        return _explicit_gradient(q, k, v, grad, mask, scale)

    @staticmethod
    def backward(ctx, *weights):
        inputs = [t.detach().requires_grad_() for t in ctx.saved_tensors]
        with torch.enable_grad():
            outputs = _explicit_gradient(*inputs, ctx.mask, ctx.scale)
        return *torch.autograd.grad(outputs, inputs, weights), None, None


def _fused(q, k, v, mask, scale):
    return scaled_dot_product_attention(q, k, v, mask, is_causal=_causal(q, mask), scale=scale)


def _fused_gradient(q, k, v, grad, mask, scale):
    """As `_explicit_gradient`, by the fused kernel, whose forward pass is run again."""
    inputs = [t.detach().requires_grad_() for t in (q, k, v)]
    with torch.enable_grad():
        output = _fused(*inputs, mask, scale)
    return torch.autograd.grad(output, inputs, grad)


def _explicit_gradient(q, k, v, grad, mask, scale):
    """(dq, dk, dv) for S = scale · q kᵀ + mask, P = softmax(S): dS = P ∘ (dP − rowsum(dP ∘ P))."""
    scores = q @ k.transpose(-1, -2) * scale
    if _causal(q, mask):
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(future, float("-inf"))
    elif mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    p = scores.softmax(-1)
    dp = grad @ v.transpose(-1, -2)
    ds = p * (dp - (dp * p).sum(-1, keepdim=True)) * scale
    return ds @ k, ds.transpose(-1, -2) @ q, p.transpose(-1, -2) @ grad


def _causal(q, mask) -> bool:
    # transformers leaves the mask out where it says no more than "causal", and for a single query, which sees all keys
    return mask is None and q.shape[-2] > 1


def _forward(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **kwargs):
    groups = query.shape[1] // key.shape[1]  # grouped-query attention: several query heads share a key head
    if groups > 1:
        key, value = (t.repeat_interleave(groups, dim=1) for t in (key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if dropout and module.training:
        raise ValueError("dropout: attention 'twice' has none; model.eval() or set attention dropout to 0")
    return _Attention.apply(query, key, value, attention_mask, scale).transpose(1, 2).contiguous(), None


ALL_ATTENTION_FUNCTIONS.register(TWICE, _forward)
ALL_MASK_ATTENTION_FUNCTIONS.register(TWICE, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
