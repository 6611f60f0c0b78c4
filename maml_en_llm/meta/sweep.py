"""The reverse sweep: a meta-gradient in the memory of one inner step.

Source: back-propagation through time, every inner gradient computed again.
"""

from ..tensors import own_memory
from .calculus import loss_and_grad


def reverse_sweep(loss, params, support, query, inner, state, steps):
    """λ ← ∇L_Q(θ_k), μ ← 0; then for t = k − 1 … 0, with U's step from gₜ, sₜ and θₜ,

        (λᵍ, μ, λ) ← (∂U/∂(g, s, θ))ᵀ (λ, μ);    λ ← λ + ∇²Lₜ₊₁(θₜ) λᵍ

    Args:
        loss: a `Loss`; params: θ₀ by name; support: k batches; query: one batch.
        inner: the optimizer U, and state: s₀.
        steps: how gradients are looked back on, see `maml_en_llm.meta.steps`.

    Returns:
        L_Q(θ_k), λ = dL_Q(θ_k)/dθ₀, the losses Lₜ₊₁(θₜ), θ_k and s_k.
    """
    losses = []
    for batch in support:
        value, params, state = steps.forward(params, state, batch)
        losses.append(value)
    value, adjoint = loss_and_grad(loss, params, query)
    adjoint = own_memory(adjoint)
    moments_adjoint = to_grads = None
    for batch in reversed(support):
        theta, s, g, add_product = steps.back(batch)
        to_grads, moments_adjoint = inner.pull_back_(
            g, s, theta, adjoint, moments_adjoint, to_grads
        )
        add_product(to_grads, adjoint)
        del g, add_product  # this step's graph, before the next one is built
    return value, adjoint, tuple(losses), params, state
