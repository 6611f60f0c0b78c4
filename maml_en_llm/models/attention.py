"""Attention that can be differentiated twice in the memory of one.

Fused attention has no second derivative, and the explicit one keeps several (T, T)
matrices of every layer until the end. Here the forward pass and its gradient are the
fused kernel's, and the gradient's own derivative is written out: it goes through the
matrices in blocks that stay in the processor's cache, leaves out the keys after the
last that a query of the block may see, and keeps none of them. Registered with
`transformers` as the attention implementation "twice".
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from threading import Lock, RLock
from weakref import WeakKeyDictionary

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .sizes import base_of, own_configs, text_config

TWICE = "twice"


# Queries of a block, and elements of one of its matrices. On the CPU 128 and the best
# of 2^17 … 2^19 with 2 MiB of L2 per core; elsewhere fewer and larger kernels, untuned
ROWS = {"cpu": 128, "other": 512}
BLOCK = {"cpu": 2**18, "other": 2**24}


class _Attention(torch.autograd.Function):
    """softmax(scale · q kᵀ + mask) v, (B, H, T, d) each."""

    @staticmethod
    def forward(ctx, q, k, v, mask, scale):
        ctx.save_for_backward(q, k, v)
        ctx.mask, ctx.scale = mask, scale
        ctx.fused = _fused(q, k, v, mask, scale, any(ctx.needs_input_grad))
        return ctx.fused[0].detach()

    @staticmethod
    def backward(ctx, grad):
        q, k, v = ctx.saved_tensors
        fused = ctx.fused or _fused(q, k, v, ctx.mask, ctx.scale)
        if not torch.is_grad_enabled():
            # the last time, most likely: autograd does not free what it does not know
            ctx.fused = None
        grads = _Gradient.apply(q, k, v, grad, ctx.mask, ctx.scale, fused)
        return *grads, None, None


class _Gradient(torch.autograd.Function):
    """The gradient (dq, dk, dv) of `_Attention` by q, k, v and the incoming one."""

    @staticmethod
    def forward(ctx, q, k, v, grad, mask, scale, fused):
        ctx.save_for_backward(q, k, v, grad)
        ctx.mask, ctx.scale = mask, scale
        output, inputs = fused
        return torch.autograd.grad(output, inputs, grad, retain_graph=True)

    @staticmethod
    def backward(ctx, *adjoints):
        if torch.is_grad_enabled():
            # "create_graph"; autograd would leave the missing part out, silently
            raise NotImplementedError(
                f"attention: {TWICE!r} has no third derivative; "
                "load_model(..., attention='eager')"
            )
        inputs = ctx.saved_tensors
        wide = torch.promote_types(inputs[0].dtype, torch.float32)  # sums over blocks
        sums = [torch.zeros_like(t, dtype=wide) for t in inputs]
        q, k = inputs[0], inputs[1]
        for rows, keys in _blocks(q, k, ctx.mask):
            p = _probabilities(q, k, ctx.mask, ctx.scale, rows, keys)
            _pull_back(p, inputs, adjoints, sums, ctx.scale, rows, keys)
        grads = [s.to(t.dtype) for s, t in zip(sums, inputs, strict=True)]
        return *grads, None, None, None


def _fused(q, k, v, mask, scale, wanted=True):
    """The fused kernel's output, and copies of its inputs.

    Where it is ``wanted`` a graph of its own lies between them.
    """
    inputs = [t.detach().requires_grad_(wanted) for t in (q, k, v)]
    with torch.enable_grad():
        query, key, value = inputs
        output = scaled_dot_product_attention(
            query, key, value, mask, is_causal=_causal(q, mask), scale=scale
        )
    return output, inputs


def _pull_back(p, inputs, adjoints, sums, scale, rows, keys) -> None:
    """Add one block's share of the adjoints of q, k, v and g to ``sums``.

    With P = softmax(S), dP = g vᵀ, T = dP − rowsum(dP ∘ P) the gradient is
    dS = scale · P ∘ T, dq = dS k, dk = dSᵀ q, dv = Pᵀ g. For adjoints a, b, c of these
    three,

        W = scale · (a kᵀ + q bᵀ),   e = rowsum(W ∘ P),   λ_dP = P ∘ (W − e),
        λ_P = W ∘ T − e ∘ dP + g cᵀ,   λ_S = P ∘ (λ_P − rowsum(λ_P ∘ P))

    Shapes: q, g, a (H, R, d), k, v, b, c (H, K, d), matrices (H, R, K), e (H, R, 1).
    """
    q, g = inputs[0][rows], inputs[3][rows]
    k, v = inputs[1][keys], inputs[2][keys]
    a, b, c = adjoints[0][rows], adjoints[1][keys], adjoints[2][keys]
    dp = g @ v.mT
    t = dp - _row_sum(dp * p)
    w = torch.baddbmm(a @ k.mT, q, b.mT).mul_(scale)
    e = _row_sum(w * p)
    to_p = torch.baddbmm(w * t, g, c.mT).sub_(dp.mul_(e))
    ds = t.mul_(p).mul_(scale)
    to_dp = w.sub_(e).mul_(p)
    to_s = to_p.sub_(_row_sum(to_p * p)).mul_(p).mul_(scale)
    to_q, to_k, to_v, to_g = sums
    to_q[rows] += torch.baddbmm(to_s @ k, ds, b)
    to_k[keys] += torch.baddbmm(to_s.mT @ q, ds.mT, a)
    to_v[keys] += to_dp.mT @ g
    to_g[rows] += torch.baddbmm(to_dp @ v, p, c)


def _probabilities(q, k, mask, scale, rows, keys) -> torch.Tensor:
    """softmax(scale · q kᵀ + mask) of one block."""
    scores = (q[rows] @ k[keys].mT).mul_(scale)
    if mask is None:
        if _causal(q, mask):
            future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device)
            future = future.triu(rows[-1].start + 1)
            scores.masked_fill_(future, float("-inf"))
        return scores.softmax(-1)
    mask = mask.expand(*q.shape[:3], k.shape[2])[(*rows, keys[-1])]
    if mask.dtype != torch.bool:
        return scores.add_(mask).softmax(-1)
    probabilities = scores.masked_fill_(~mask, float("-inf")).softmax(-1)
    # a query that sees no key, of padding beyond a sliding window, has none
    return probabilities.masked_fill_(~mask, 0)


def _blocks(q, k, mask):
    """Indices (queries, keys) of the blocks.

    Each is of one prompt, some heads, and the keys up to the last one seen.
    """
    batch, heads, length, _ = q.shape
    kind = "cpu" if q.device.type == "cpu" else "other"
    group = max(1, BLOCK[kind] // (ROWS[kind] * k.shape[2]))
    seen = _seen(q, k, mask)
    starts = range(0, length, ROWS[kind])
    for i, head, start in product(range(batch), range(0, heads, group), starts):
        rows = slice(start, min(start + ROWS[kind], length))
        some = slice(head, head + group)
        yield (i, some, rows), (i, some, slice(0, max(seen[rows])))


def _seen(q, k, mask) -> list[int]:
    """How many keys each query has, up to the last that any prompt or head may see."""
    if _causal(q, mask):
        return list(range(1, q.shape[2] + 1))
    if mask is None or mask.dtype != torch.bool:
        return [k.shape[2]] * q.shape[2]
    numbers = torch.arange(1, k.shape[2] + 1, device=mask.device)
    return (mask.flatten(0, 1).any(0) * numbers).amax(-1).clamp(min=1).tolist()


def _row_sum(matrix: torch.Tensor) -> torch.Tensor:
    return matrix.sum(-1, keepdim=True)


def _causal(q, mask) -> bool:
    # transformers leaves the mask out where it says no more than "causal", and for a
    # single query, which sees all keys
    return mask is None and q.shape[-2] > 1


def _forward(
    module, query, key, value, attention_mask, scaling=None, dropout=0.0, **kwargs
):
    _check(module, query, attention_mask, dropout, kwargs)
    # grouped-query attention: several query heads share a key head
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key = key.repeat_interleave(groups, dim=1)
        value = value.repeat_interleave(groups, dim=1)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    output = _Attention.apply(query, key, value, attention_mask, scale)
    return output.transpose(1, 2).contiguous(), None


def _check(module, query, mask, dropout, kwargs) -> None:
    if dropout and module.training:
        raise ValueError(
            f"dropout: attention {TWICE!r} has none; model.eval() or set attention "
            "dropout to 0"
        )
    other = _other_kind(module, query, mask, kwargs)
    if other:
        raise ValueError(
            f"attention: {TWICE!r} is causal and scales, masks and adds nothing else, "
            f"found a model with {other}; load_model(..., attention='eager')"
        )


def _other_kind(module, query, mask, kwargs) -> str | None:
    """What the model wants of its attention that is not done here, if anything."""
    for name in ("softcap", "s_aux", "position_bias"):
        if kwargs.get(name) is not None:
            return name
    if mask is not None and mask.requires_grad:  # it would get no gradient, silently
        return "a mask that is learned"
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    if not causal and _causal(query, mask):
        return "attention to later words"
    return None


ALL_ATTENTION_FUNCTIONS.register(TWICE, _forward)
ALL_MASK_ATTENTION_FUNCTIONS.register(TWICE, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])


_locks: WeakKeyDictionary[PreTrainedModel, RLock] = WeakKeyDictionary()
_finding = Lock()


@contextmanager
def using_attention(model: PreTrainedModel, name: str) -> Iterator[None]:
    """``model`` computing its attention another way for a while: the same function.

    So do layers with a configuration of their own. Other threads that ask this of the
    model wait meanwhile.
    """
    configs = [text_config(model), *own_configs(model)]
    with _finding:
        lock = _locks.setdefault(base_of(model), RLock())
    with lock:
        before = [config._attn_implementation for config in configs]
        try:
            for config in configs:
                config._attn_implementation = name
            yield
        finally:
            for config, own in zip(configs, before, strict=True):
                config._attn_implementation = own
