"""All that a run has come to, as plain tensors and JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ..methods import Budget
from ..optimizers import State
from ..optimizers.eight_bit import Coded
from ..tensors import Tensors


@dataclass(frozen=True)
class TrainState:
    """What the next outer step starts from, and what was measured so far.

    ``rows`` has a row per step done, ``skipped`` the steps whose loss or gradient was
    not finite. Episodes need no state: they are functions of the step.
    """

    step: int
    params: Tensors
    optimizer: State
    budget: Budget
    rows: tuple[dict, ...] = ()
    skipped: tuple[int, ...] = ()

    def tensors(self) -> Tensors:
        """Everything that is a tensor, by name."""
        found = {f"parameters//{name}": p for name, p in self.params.items()}
        for i, moments in enumerate(self.optimizer.moments):
            for name, moment in moments.items():
                if isinstance(moment, Coded):
                    found[f"levels/{i}/{name}"] = moment.levels
                    found[f"scales/{i}/{name}"] = moment.key.absmax
                    found[f"code/{i}/{name}"] = moment.key.code
                else:
                    found[f"moments/{i}/{name}"] = moment
        return found

    def facts(self) -> dict:
        """Everything else, as JSON."""
        blocks = {
            moment.key.blocksize
            for moments in self.optimizer.moments
            for moment in moments.values()
            if isinstance(moment, Coded)
        }
        return {
            "slots": len(self.optimizer.moments),
            "optimizer_step": self.optimizer.step,
            "numbers_per_scale": max(blocks, default=0),
            "budget": asdict(self.budget),
            "rows": list(self.rows),
            "skipped": list(self.skipped),
        }

    @classmethod
    def load(
        cls,
        step: int,
        tensors: Mapping[str, torch.Tensor],
        facts: Mapping,
        like: "TrainState",
    ) -> "TrainState":
        """The state that `tensors` and `facts` were taken from.

        It lies where ``like`` lies, and has its parameters and moments. Raises
        `ValueError` for others; `damage.check_facts` looks at the facts.
        """
        _check_shapes(tensors, like.tensors())
        device = next(iter(like.params.values())).device
        params: Tensors = {}
        moments: list[dict[str, Any]] = [{} for _ in like.optimizer.moments]
        for key, tensor in tensors.items():
            kind, slot, name = key.split("/", 2)
            if kind == "parameters":
                params[name] = tensor.to(device)
            elif kind == "moments":
                moments[int(slot)][name] = tensor.to(device)
            elif kind == "levels":
                moments[int(slot)][name] = _coded(
                    tensor.to(device),
                    tensors[f"scales/{slot}/{name}"].to(device),
                    tensors[f"code/{slot}/{name}"].to(device),
                    facts["numbers_per_scale"],
                    like.params[name].dtype,
                )
        # In the model's order: sums over all parameters depend on it in their last bit
        moments = [{name: some[name] for name in like.params} for some in moments]
        return cls(
            step,
            {name: params[name] for name in like.params},
            State(tuple(moments), facts["optimizer_step"]),
            Budget(**facts["budget"]),
            tuple(facts["rows"]),
            tuple(facts["skipped"]),
        )


def _coded(levels, scales, code, numbers_per_scale: int, dtype) -> Coded:
    from bitsandbytes.functional import QuantState

    key = QuantState(absmax=scales, code=code, blocksize=numbers_per_scale, dtype=dtype)
    return Coded(levels, key)


def _check_shapes(found: Mapping, expected: Tensors) -> None:
    for name in {**expected, **found}:
        shapes = [
            tuple(t[name].shape) if name in t else None for t in (expected, found)
        ]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"checkpoint: expected {name} of shape {shapes[0]}, found {shapes[1]}; "
                "it is another model's"
            )
