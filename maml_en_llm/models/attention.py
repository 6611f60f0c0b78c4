"""Attention that can be differentiated twice in the memory of one.

Fused attention has no second derivative, and the explicit one keeps several (T, T) matrices of every layer until the end.
Here the forward pass and its gradient are the fused kernel's, and the gradient's own derivative is written out: it goes
through the matrices in blocks that stay in the processor's cache, leaves out the keys after the last that a query of the
block may see, and keeps none of them. Registered with `transformers` as the attention implementation "twice".
"""

from itertools import product

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

TWICE = "twice"


# Queries of a block, and elements of one of its matrices. On the CPU 128 and the best of 2^17 … 2^19 with 2 MiB of L2 a core;
# elsewhere fewer and larger kernels, not tuned
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
        fused = ctx.fused or _fused(*ctx.saved_tensors, ctx.mask, ctx.scale)
        if not torch.is_grad_enabled():  # the last time, most likely: what autograd does not know of it does not free
            ctx.fused = None
        return (
            *_Gradient.apply(*ctx.saved_tensors, grad, ctx.mask, ctx.scale, fused),
            None,
            None,
        )


class _Gradient(torch.autograd.Function):
    """The gradient (dq, dk, dv) of `_Attention` as a function of q, k, v and the incoming gradient."""

    @staticmethod
    def forward(ctx, q, k, v, grad, mask, scale, fused):
        ctx.save_for_backward(q, k, v, grad)
        ctx.mask, ctx.scale = mask, scale
        return torch.autograd.grad(*fused, grad, retain_graph=True)

    @staticmethod
    def backward(ctx, *adjoints):
        if (
            torch.is_grad_enabled()
        ):  # "create_graph"; autograd itself would leave the missing part out, silently
            raise NotImplementedError(
                f"attention: {TWICE!r} has no third derivative; load_model(..., attention='eager')"
            )
        inputs = ctx.saved_tensors
        wide = torch.promote_types(inputs[0].dtype, torch.float32)  # sums over blocks
        sums = [torch.zeros_like(t, dtype=wide) for t in inputs]
        for rows, keys in _blocks(inputs[0], inputs[1], ctx.mask):
            p = _probabilities(*inputs[:2], ctx.mask, ctx.scale, rows, keys)
            _pull_back(p, inputs, adjoints, sums, ctx.scale, rows, keys)
        return *(s.to(t.dtype) for s, t in zip(sums, inputs)), None, None, None


def _fused(q, k, v, mask, scale, wanted=True):
    """The fused kernel's output, and copies of its inputs, with a graph of its own between them where it is ``wanted``."""
    inputs = [t.detach().requires_grad_(wanted) for t in (q, k, v)]
    with torch.enable_grad():
        return scaled_dot_product_attention(
            *inputs, mask, is_causal=_causal(q, mask), scale=scale
        ), inputs


def _pull_back(p, inputs, adjoints, sums, scale, rows, keys) -> None:
    """Add one block's share of the adjoints of q, k, v and g to ``sums``.

    With P = softmax(S), dP = g vᵀ, T = dP − rowsum(dP ∘ P) the gradient is dS = scale · P ∘ T, dq = dS k, dk = dSᵀ q,
    dv = Pᵀ g. For adjoints a, b, c of these three,

        W = scale · (a kᵀ + q bᵀ),   e = rowsum(W ∘ P),   λ_dP = P ∘ (W − e),   λ_P = W ∘ T − e ∘ dP + g cᵀ,
        λ_S = P ∘ (λ_P − rowsum(λ_P ∘ P))
    """
    (q, g), (k, v) = (
        (inputs[i][rows] for i in (0, 3)),
        (inputs[i][keys] for i in (1, 2)),
    )
    a, b, c = adjoints[0][rows], adjoints[1][keys], adjoints[2][keys]
    dp = g @ v.mT
    t = dp - _row_sum(dp * p)
    w = torch.baddbmm(a @ k.mT, q, b.mT).mul_(scale)
    e = _row_sum(w * p)
    to_p = torch.baddbmm(w * t, g, c.mT).sub_(dp.mul_(e))
    ds, to_dp = t.mul_(p).mul_(scale), w.sub_(e).mul_(p)
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
            future = torch.ones(
                scores.shape[-2:], dtype=torch.bool, device=q.device
            ).triu(rows[-1].start + 1)
            scores.masked_fill_(future, float("-inf"))
        return scores.softmax(-1)
    mask = mask.expand(*q.shape[:3], k.shape[2])[(*rows, keys[-1])]
    if mask.dtype != torch.bool:
        return scores.add_(mask).softmax(-1)
    # a query that sees no key, such as one of padding beyond a sliding window, has no probabilities
    return scores.masked_fill_(~mask, float("-inf")).softmax(-1).masked_fill_(~mask, 0)


def _blocks(q, k, mask):
    """Indices (queries, keys) of the blocks, each of one prompt, some heads, and the keys up to the last one seen."""
    batch, heads, length, _ = q.shape
    kind = "cpu" if q.device.type == "cpu" else "other"
    group, seen = max(1, BLOCK[kind] // (ROWS[kind] * k.shape[2])), _seen(q, k, mask)
    for i, head, start in product(
        range(batch), range(0, heads, group), range(0, length, ROWS[kind])
    ):
        rows, some = (
            slice(start, min(start + ROWS[kind], length)),
            slice(head, head + group),
        )
        yield (i, some, rows), (i, some, slice(0, max(seen[rows])))


def _seen(q, k, mask) -> list[int]:
    """How many keys, counted up to the last one that any prompt or head may see, each query has."""
    if _causal(q, mask):
        return list(range(1, q.shape[2] + 1))
    if mask is None or mask.dtype != torch.bool:
        return [k.shape[2]] * q.shape[2]
    numbers = torch.arange(1, k.shape[2] + 1, device=mask.device)
    return (mask.flatten(0, 1).any(0) * numbers).amax(-1).clamp(min=1).tolist()


def _row_sum(matrix: torch.Tensor) -> torch.Tensor:
    return matrix.sum(-1, keepdim=True)


def _causal(q, mask) -> bool:
    # transformers leaves the mask out where it says no more than "causal", and for a single query, which sees all keys
    return mask is None and q.shape[-2] > 1


def _forward(
    module, query, key, value, attention_mask, scaling=None, dropout=0.0, **kwargs
):
    _check(module, query, attention_mask, dropout, kwargs)
    groups = (
        query.shape[1] // key.shape[1]
    )  # grouped-query attention: several query heads share a key head
    if groups > 1:
        key, value = (t.repeat_interleave(groups, dim=1) for t in (key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return _Attention.apply(query, key, value, attention_mask, scale).transpose(
        1, 2
    ).contiguous(), None


def _check(module, query, mask, dropout, kwargs) -> None:
    if dropout and module.training:
        raise ValueError(
            "dropout: attention 'twice' has none; model.eval() or set attention dropout to 0"
        )
    other = next(
        (
            name
            for name in ("softcap", "s_aux", "position_bias")
            if kwargs.get(name) is not None
        ),
        None,
    )
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    if other or not causal and _causal(query, mask):
        raise ValueError(
            f"attention: {TWICE!r} is causal and scales, masks and adds nothing else, found a model with "
            f"{other or 'attention to later words'}; load_model(..., attention='eager')"
        )


ALL_ATTENTION_FUNCTIONS.register(TWICE, _forward)


ALL_MASK_ATTENTION_FUNCTIONS.register(TWICE, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
