"""An optimizer whose state stays as it is."""

from dataclasses import dataclass
from typing import Any, ClassVar

from ..tensors import Tensors
from .base import State, first_state, not_none


@dataclass(frozen=True)
class Frozen:
    """Another optimizer whose state is read but not advanced.

    Every step starts from the same moments.
    """

    optimizer: Any  # an `Optimizer`, or one that is wrapped
    slots: ClassVar[tuple[str, ...]] = ()  # no step writes the moments

    def init(self, params: Tensors) -> State:
        """The wrapped optimizer's state."""
        return first_state(self.optimizer, params)

    def update(
        self,
        grads: Tensors,
        state: State,
        params: Tensors,
        *,
        lr: float | None = None,
        out: Any = None,  # noqa: ARG002  # the state is not this one's to write over
    ) -> tuple[Tensors, State]:
        """One step of the wrapped optimizer, into new memory; the state comes back."""
        return self.optimizer.update(grads, state, params, **not_none(lr=lr))[0], state

    def pull_back_(
        self,
        grads: Tensors,
        state: State,
        params: Tensors,
        adjoint: Tensors,
        moments_adjoint,  # noqa: ARG002  # none: no step has written the moments
        out: Tensors | None = None,
    ):
        """As the wrapped optimizer's; no adjoint reaches the moments."""
        to_grads, _ = self.optimizer.pull_back_(
            grads, state, params, adjoint, None, out
        )
        return to_grads, None
