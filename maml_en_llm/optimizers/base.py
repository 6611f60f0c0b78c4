"""What all optimizers share: pure updates and their adjoints."""

from collections.abc import Mapping, Set
from dataclasses import fields, replace
from typing import Any, ClassVar, NamedTuple

import torch

from ..errors import check_integer, check_number, check_rate, listed, nearest, shown
from ..tensors import Tensors, check_floating, check_named, map_blocks


class State(NamedTuple):
    """The moments, each like the parameters, and the number of updates so far.

    ``slots`` names the moments, blanks between; a state made by hand may leave it out.
    """

    moments: tuple[Tensors, ...]
    step: int
    slots: str = ""


def check_state(state, slots: tuple[str, ...]) -> None:
    """Raise `ValueError` unless ``state`` is one of moments ``slots`` and a count."""
    own = isinstance(state, State) and len(state.moments) == len(slots)
    if not own or state.slots not in ("", " ".join(slots)):
        found = getattr(state, "slots", None) or shown(state)
        raise ValueError(
            "state: expected that of the optimizer, inner.init(params), with moments "
            f"{listed(slots) or 'none'}, found {found}"
        )
    check_integer("state.step", state.step)


def check_variances(state, slots: tuple[str, ...]) -> None:
    """Raise `ValueError` for second moments below 0, means of squares as they are.

    It reads them all: for a state that is handed in, once. A device is asked once.
    """
    for slot, moment in zip(slots, state.moments, strict=False):
        if slot != "variance" or not isinstance(moment, Mapping):
            continue
        least = {  # 8 bits hold no sign
            name: v.min()
            for name, v in moment.items()
            if isinstance(v, torch.Tensor) and v.numel()
        }
        device = next((x.device for x in least.values()), None)
        together = [x.to(device, torch.float64) for x in least.values()]
        lows = torch.stack(together).tolist() if together else []
        for name, low in zip(least, lows, strict=True):
            if low < 0:
                raise ValueError(
                    f"state: expected a variance of at least 0, found {low:g} for "
                    f"{shown(name)}; take that of inner.init(params), or of an update"
                )


def check_optimizer(argument: str, value: Any, role: str = "") -> None:
    """`ValueError` for what makes no steps: names, classes, optimizers of torch.

    An ``update`` is all that is asked for. ``role`` says what it is wanted for.
    """
    other = isinstance(value, (type, Mapping, Set))  # these have another update
    if other or not callable(getattr(value, "update", None)):
        raise ValueError(
            f"{argument}: expected an optimizer{role}, such as SGD(0.1), found "
            f"{shown(value)}"
        )


def first_state(optimizer: Any, params: Tensors):
    """The state before the first update; `ValueError` where the optimizer has none."""
    if not callable(getattr(optimizer, "init", None)):
        raise ValueError(
            "inner: expected an optimizer with init(params), since no state is handed "
            f"in, found {shown(type(optimizer).__name__)}; write one, or give a state"
        )
    return optimizer.init(params)


def not_none(**how) -> dict[str, Any]:
    """Those that are not None: an update of one's own need not know the others."""
    return {name: value for name, value in how.items() if value is not None}


def layers_of(optimizer: Any) -> list:
    """An optimizer and, each inside the one before, those that it wraps."""
    found = [optimizer]
    while callable(getattr(getattr(found[-1], "optimizer", None), "update", None)):
        found.append(found[-1].optimizer)
    return found


def check_alike(grads: Tensors, argument: str, tensors: Tensors) -> None:
    """Raise `ValueError` unless every gradient has a namesake of its own kind.

    That is of its shape, its type and its device: in another type, torch would either
    round the parameters to the gradient's, silently, or raise an error of its own.
    """
    for name, g in grads.items():
        other = tensors.get(name)
        if other is None:
            raise ValueError(
                f"{argument}: expected a tensor of shape {tuple(g.shape)} for "
                f"{shown(name)}, as its gradient is, found none{nearest(name, tensors)}"
            )
        for kind in ("shape", "dtype", "device"):
            expected, found = getattr(g, kind), getattr(other, kind, None)
            if expected != found:
                raise ValueError(
                    f"{argument}: expected a tensor of {kind} {_said(expected)} for "
                    f"{shown(name)}, as its gradient is, found {_said(found)}"
                    f"{'' if kind == 'shape' else '; convert one of them (.to)'}"
                )


def _said(value) -> str:
    return str(tuple(value) if isinstance(value, torch.Size) else value)


class Optimizer:
    """What all optimizers share.

    A subclass is a frozen dataclass of numbers and gives ``slots``; ``rule``, which
    writes its results to ``out`` where that is given; ``adjoint``, which may write over
    the adjoints that it is given; and ``safety`` where it divides.
    """

    lr: float
    slots: ClassVar[tuple[str, ...]] = ()  # names of the moments
    shares: ClassVar = ("betas", "momentum", "alpha")  # fields that are less than 1

    def __post_init__(self):
        for field in fields(self):  # type: ignore[arg-type]  # a subclass's fields
            value = self._checked(field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, value)

    def _checked(self, name: str, value):
        if name not in self.shares:
            return check_rate(name, value)
        if name != "betas":
            return check_number(name, value, most=1, below=True)
        if not isinstance(value, (tuple, list)) or len(value) != 2:
            raise ValueError(f"betas: expected two numbers, found {shown(value)}")
        return tuple(check_number(name, beta, most=1, below=True) for beta in value)

    def rule(self, t: int, g, p, *moments, out=(None,)) -> tuple[torch.Tensor, ...]:
        """(θ', moments') of update number ``t``, elementwise."""
        raise NotImplementedError

    def adjoint(self, t: int, g, p, *moments_and_adjoints) -> tuple[torch.Tensor, ...]:
        """(λ_g, λ_θ, λ_moments) of update number ``t``, elementwise."""
        raise NotImplementedError

    def safety(self, t: int) -> dict[str, float]:  # noqa: ARG002  # a subclass's needs
        """What keeps update ``t`` from dividing by zero: field name → number added."""
        return {}

    def check(self, tensors: Tensors, t: int = 1, argument: str = "params") -> None:
        """Raise `ValueError` where update ``t`` cannot be computed in their types.

        They have to be real floating point, and a safety term must not round to
        nothing: in float16 1e-8 does, and what has no gradient would become 0 / 0.
        """
        for dtype in check_floating(tensors, argument):
            least = torch.finfo(dtype).tiny
            for name, term in self.safety(t).items():
                if 0 < term < least:
                    raise ValueError(
                        f"{name}: expected a safety term that {dtype} can hold, found "
                        f"{getattr(self, name):g}, which enters step {t} as "
                        f"{term:.2g}, less than {least:.2g}; keep the parameters in "
                        f"float32, or raise {name}"
                    )

    def init(self, params: Tensors) -> State:
        """Zero moments, no step taken; each takes the memory of a single zero."""
        self.check(params)
        zeros = tuple(
            {n: p.new_zeros(()).expand(p.shape) for n, p in params.items()}
            for _ in self.slots
        )
        return State(zeros, 0, " ".join(self.slots))

    def update(
        self,
        grads: Tensors,
        state: State,
        params: Tensors,
        *,
        lr: float | None = None,
        out: tuple[Tensors, State] | None = None,
    ) -> tuple[Tensors, State]:
        """One step: the new parameters and the new state.

        Args:
            grads: gradients by name; what they leave out does not move.
            state: as `init` or an update before gave it.
            params: parameters by name.
            lr: the rate of this step, instead of the optimizer's own.
            out: (parameters, state) of an earlier step or the arguments themselves,
                written over, which saves new memory; not where autograd records, and
                not the single zeros of `init`.

        Raises:
            ValueError: a type that the update cannot be computed in, see `check`; a
                state of other moments; names, shapes, types or devices that differ.
        """
        check_named(grads=grads, params=params)
        check_state(state, self.slots)
        optimizer = self
        if lr not in (None, self.lr):
            optimizer = replace(self, lr=lr)  # type: ignore[type-var]  # a dataclass
        t = state.step + 1
        optimizer.check(grads, t, "grads")
        optimizer.check({n: params[n] for n in grads if n in params}, t)
        check_alike(grads, "params", params)
        for moment in state.moments:
            check_alike(grads, "state", moment)
        moved = {}
        for n, g in grads.items():
            inputs = [g, params[n], *(m[n] for m in state.moments)]
            outputs: list = [None] * (1 + len(self.slots))
            if out is not None:
                into = [out[0][n], *(m[n] for m in out[1].moments)]
                outputs = [x if x.is_contiguous() else None for x in into]
            moved[n] = optimizer._step(t, inputs, outputs)
        moments = tuple(
            old | {n: new[i] for n, new in moved.items()}
            for i, old in enumerate(state.moments, 1)
        )
        moved_params = {**params, **{n: new[0] for n, new in moved.items()}}
        return moved_params, State(moments, t, " ".join(self.slots))

    def pull_back_(
        self,
        grads: Tensors,
        state: State,
        params: Tensors,
        adjoint: Tensors,
        moments_adjoint,
        out: Tensors | None = None,
    ):
        """The adjoint of `update`: from (λ_θ', λ_s') to (λ_g, λ_θ, λ_s).

        Returns λ_g, new or written over ``out``, and λ_s; λ_θ is written over
        ``adjoint``, λ_s over ``moments_adjoint`` (``None`` stands for zeros). The
        arguments are those of the update.
        """
        if moments_adjoint is None:
            moments_adjoint = tuple(
                {n: g.new_zeros(g.shape) for n, g in grads.items()} for _ in self.slots
            )
        to_grads = {}
        for n, g in grads.items():
            carried = [adjoint[n], *(part[n] for part in moments_adjoint)]
            inputs = [g, params[n], *(m[n] for m in state.moments), *carried]
            outputs = [None if out is None else out[n], *carried]
            found = map_blocks(
                lambda x, _: self.adjoint(state.step + 1, *x), inputs, outputs
            )
            to_grads[n] = found[0]
        return to_grads, moments_adjoint

    def _step(
        self, t: int, inputs: list[torch.Tensor], outputs: list
    ) -> list[torch.Tensor]:
        if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
            return list(self.rule(t, *inputs))  # autograd has to see whole tensors
        return map_blocks(lambda x, out: self.rule(t, *x, out=out), inputs, outputs)
