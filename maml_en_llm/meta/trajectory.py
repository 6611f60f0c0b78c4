"""The states of an inner loop, last first, most of them rebuilt instead of kept.

A step of Adam leaves three tensors per parameter behind (θ, m, v) but is a pure
function of one new one, its gradient. So every `SPACING`-th state is kept whole, and
between two of them only the gradients: the same updates give the same states again, to
the bit, in buffers that are already there. With SPACING = 4 and k = 6, where gradients
are not wanted themselves, these are kept (the last state is asked for first):

    t         0    1    2    3    4    5
    state     θ₀   –    –    –    θ₄   θ₅
    gradient  g₀   g₁   g₂   –    –    –
"""

from typing import Any

import torch

from ..tensors import Tensors

# One kept state and three gradients are 6 tensors per parameter where four states are
# 12, for 6 more updates in 4 steps.
SPACING = 4
LARGE = 2**25  # bytes; from here on glibc gives every tensor pages of its own


class Trajectory:
    """Takes k inner steps in turn, and gives back (θₜ, sₜ, gₜ) from the last on.

    Args:
        inner: an optimizer.
        names: the parameters that it moves.
        k: the number of steps that will be taken.
        keep_grads: whether the gradients are wanted too; else gₜ may be ``None``.
    """

    def __init__(self, inner, names: list[str], k: int, *, keep_grads: bool):
        self.inner, self.names, self.k, self.keep_grads = inner, names, k, keep_grads
        # Without moments a gradient is as large as the state it would replace. (And
        # without steps there is no optimizer.)
        self.every = SPACING if getattr(inner, "slots", ()) else 1
        self.states: dict[int, tuple[Tensors, Any]] = {}
        self.grads: list[Tensors | None] = []
        self.buffers: tuple[Tensors, Any] | None = None

    @property
    def at_last(self) -> bool:
        """Whether the next step is the last, and so the first to be given back."""
        return len(self.grads) == self.k - 1

    def step(self, params: Tensors, state, grads: Tensors):
        """θₜ₊₁ and sₜ₊₁; (θₜ, sₜ) are written over where they can be rebuilt."""
        t, last = len(self.grads), self.at_last
        keep = last or t % self.every == 0
        if keep:
            self.states[t] = params, state
            if t and not self.keep_grads:
                self.grads[t - 1] = None  # what led here need not be repeated
        moved = {name: grads[name] for name in self.names}
        self.grads.append(self._kept(grads, moved, t, last))
        out = None if keep else (params, state)
        return self.inner.update(moved, state, params, out=out)

    def pop(self) -> tuple[Tensors, Any, Tensors | None]:
        """(θₜ, sₜ, gₜ) of the last step not yet given back.

        What was given back before is written over.
        """
        t = len(self.grads) - 1
        params, state = self.states.pop(t) if t in self.states else self._rebuild(t)
        self.buffers = params, state
        return params, state, self.grads.pop()

    def _kept(self, grads: Tensors, moved: Tensors, t: int, last: bool):
        if self.keep_grads:
            return grads if last else in_one_piece(grads)
        next_is_kept = last or (t + 1) % self.every == 0
        return None if next_is_kept else in_one_piece(moved)

    def _rebuild(self, t: int) -> tuple[Tensors, Any]:
        """(θₜ, sₜ) from the kept state before it, by the updates in between."""
        start = t - t % self.every
        params, state = self.states[start]
        for step in range(start, t):
            grads = self.grads[step]
            assert grads is not None, "gradients between two kept states are kept"
            moved = {name: grads[name] for name in self.names}
            params, state = self.inner.update(moved, state, params, out=self.buffers)
        return params, state


def in_one_piece(tensors: Tensors) -> Tensors:
    """The same tensors, all but `LARGE` ones copied to lie side by side.

    Autograd leaves a gradient scattered among activations. Once those are freed, what
    was kept would pin down holes that the next activations do not fit into.
    """
    kinds: dict[tuple, Tensors] = {}
    for name, tensor in tensors.items():
        if tensor.nbytes < LARGE:
            kinds.setdefault((tensor.dtype, tensor.device), {})[name] = tensor
    packed = {}
    for small in kinds.values():
        whole = torch.cat([tensor.flatten() for tensor in small.values()])
        pieces = whole.split([tensor.numel() for tensor in small.values()])
        for (name, tensor), piece in zip(small.items(), pieces, strict=True):
            packed[name] = piece.view(tensor.shape)
    return tensors | packed
