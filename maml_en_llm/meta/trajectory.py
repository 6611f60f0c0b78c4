"""The states of an inner loop, last first, most of them rebuilt instead of kept.

A step of Adam leaves three tensors a parameter behind (θ, m, v) but is a pure function of one new one, its gradient. So
every `EVERY`-th state is kept whole, and between two of them only the gradients: the same updates give the same
states again, to the bit, in buffers that are already there.
"""

import torch

from ..tensors import Tensors

EVERY = 4  # one kept state and three gradients are 6 tensors where four states are 12, for 6 more updates in 4 steps


LARGE = 2**25  # bytes; from here on glibc gives every tensor pages of its own


class Trajectory:
    """Takes the inner steps one after the other, and gives back (θₜ, sₜ, gₜ) from the last to the first.

    ``keep_grads`` says whether the gradients are wanted too; where they are not, gₜ may be ``None``.
    """

    def __init__(self, inner, names: list[str], keep_grads: bool):
        self.inner, self.names, self.keep_grads = inner, names, keep_grads
        # without moments a gradient is as large as the state it would replace (and without steps there is no optimiser)
        self.every = EVERY if getattr(inner, "slots", ()) else 1
        self.states, self.grads, self.buffers = {}, [], None

    def step(self, params: Tensors, state, grads: Tensors, last: bool):
        """θₜ₊₁ and sₜ₊₁; (θₜ, sₜ) are overwritten where they can be rebuilt, and not after the ``last`` step, which is
        the first to be asked for."""
        t = len(self.grads)
        keep = last or t % self.every == 0
        if keep:
            self.states[t] = params, state
            if self.grads and not self.keep_grads:
                self.grads[-1] = None  # it led to this state, which need not be rebuilt
        moved = {name: grads[name] for name in self.names}
        rebuilds = not (last or (t + 1) % self.every == 0)  # the next state is not kept
        kept = grads if self.keep_grads else moved if rebuilds else None
        self.grads.append(kept if last or kept is None else in_one_piece(kept))
        return self.inner.update(
            moved, state, params, out=None if keep else (params, state)
        )

    def pop(self):
        """(θₜ, sₜ, gₜ) of the last step not yet given back; what was given back before is overwritten."""
        t = len(self.grads) - 1
        params, state = self.states.pop(t) if t in self.states else self._rebuild(t)
        self.buffers = params, state
        return params, state, self.grads.pop()

    def _rebuild(self, t: int):
        start = t - t % self.every
        params, state = self.states[start]
        for grads in self.grads[start:t]:
            moved = {name: grads[name] for name in self.names}
            params, state = self.inner.update(moved, state, params, out=self.buffers)
        return params, state


def in_one_piece(tensors: Tensors) -> Tensors:
    """The same tensors, all but `LARGE` ones copied to lie side by side.

    Autograd leaves a gradient scattered among activations. Once those are freed, what was kept would pin down holes
    that the next activations do not fit into.
    """
    kinds: dict[tuple, Tensors] = {}
    for name, tensor in tensors.items():
        if tensor.nbytes < LARGE:
            kinds.setdefault((tensor.dtype, tensor.device), {})[name] = tensor
    packed = {}
    for small in kinds.values():
        pieces = torch.cat([t.flatten() for t in small.values()]).split(
            [t.numel() for t in small.values()]
        )
        packed |= {
            name: piece.view(small[name].shape) for name, piece in zip(small, pieces)
        }
    return tensors | packed
