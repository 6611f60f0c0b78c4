"""Several processes that share a meta-batch, under ``torchrun``.

Each takes every N-th task. Gradients, and moments that the inner phase has advanced,
are sums over processes of local means, each weighted by its share of the n tasks. So
all of them make the same outer step, and N does not change it beyond rounding.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from ..errors import shown
from ..methods import OuterGradient
from ..models import as_device
from ..optimizers import State, decoded
from ..tensors import Tensors


class RankLost(RuntimeError):
    """Another process of the run has ended or cannot be reached."""


@dataclass(frozen=True)
class Ranks:
    """This process, ``rank``, among ``size``; alone by default."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def share(self, n: int) -> range:
        """Places of this process's tasks in a meta-batch of n."""
        return range(self.rank, n, self.size)

    def device(self, name: str) -> torch.device:
        """This process's device, where the run's is ``name``."""
        device = as_device(name)
        if self.size > 1 and device.type == "cuda" and device.index is None:
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        return device

    def wait(self, device: torch.device) -> None:
        """Until all processes are here, each with its own ``device``."""
        if self.size > 1:
            self._sum(torch.zeros(1, device=device))  # nccl takes no tensor of a CPU

    def joined(
        self,
        local: OuterGradient | None,
        counts: tuple[int, ...],
        *,
        n: int,
        params: Tensors,
        state: State,
    ) -> tuple[OuterGradient, tuple[int, ...]]:
        """The gradient of the whole meta-batch of n tasks, and the sums of ``counts``.

        ``local`` is that of this process's share, None where that is empty.

        Raises:
            RankLost: another process has ended.
        """
        if self.size == 1:
            assert local is not None, "one process has all tasks"
            return local, counts
        about = self._told(local, counts, n, params, state)
        losses = self._inner_losses(local, n, params)
        part = len(self.share(n)) / n
        grads = {}
        for name, p in params.items():
            own = p.new_zeros(p.shape) if local is None else local.grads[name] * part
            grads[name] = self._sum(own)
        if about["advances"]:
            state = self._mean_state(local, part, params, state, about["advances"])
        return OuterGradient(about["loss"], grads, losses, state), about["counts"]

    def _told(self, local, counts, n: int, params, state) -> dict:
        """Loss, counts, and by how many updates the inner phase has advanced."""
        share = len(self.share(n))
        numbers = [0.0, 0.0, 0.0]
        if local is not None:
            steps = local.state.step - state.step if local.state is not state else 0
            numbers = [local.loss * share / n, 1.0, float(steps)]
        device = next(iter(params.values())).device
        told = torch.tensor([*numbers, *counts], dtype=_exact(device), device=device)
        loss, active, steps, *counts = self._sum(told).tolist()
        return {
            "loss": loss,
            "advances": round(steps / active),
            "counts": tuple(round(count) for count in counts),
        }

    def _inner_losses(self, local, n: int, params) -> tuple[tuple[float, ...], ...]:
        """Those of all tasks, (n, k)."""
        device = next(iter(params.values())).device
        own = [] if local is None else local.inner_losses
        width = torch.tensor(float(len(own[0]) if own else 0), device=device)
        k = int(self._reduced(width, dist.ReduceOp.MAX))
        table = torch.zeros(n, k, dtype=_exact(device), device=device)
        for place, losses in zip(self.share(n), own, strict=True):
            table[place] = torch.tensor(losses, dtype=table.dtype, device=device)
        return tuple(tuple(row) for row in self._sum(table).tolist())

    def _mean_state(self, local, part: float, params, state, advances: int) -> State:
        moments = []
        for i in range(len(state.moments)):
            mean = {}
            for name, p in params.items():
                own = p.new_zeros(p.shape)
                if local is not None:
                    own = decoded(local.state).moments[i][name] * part
                mean[name] = self._sum(own)
            moments.append(mean)
        return State(tuple(moments), state.step + advances)

    def _sum(self, tensor: torch.Tensor) -> torch.Tensor:
        return self._reduced(tensor.contiguous(), dist.ReduceOp.SUM)

    def _reduced(self, tensor: torch.Tensor, how) -> torch.Tensor:
        try:
            dist.all_reduce(tensor, how)
        except RuntimeError as error:
            raise RankLost(
                f"ranks: process {self.rank} of {self.size} has lost another one, "
                "which has ended or cannot be reached; see its own message"
            ) from error
        return tensor


@contextmanager
def joined_ranks(device: str) -> Iterator[Ranks]:
    """This process among those that ``torchrun`` has started; alone without it.

    On CUDA devices they talk by nccl, else by gloo.

    Raises:
        ValueError: environment variables of ``torchrun`` that are not numbers, or a
            RANK beyond WORLD_SIZE, 1 by default.
    """
    size = _variable("WORLD_SIZE", 1, 1)
    ranks = Ranks(_variable("RANK", 0, 0, size - 1), size)
    if size == 1:
        yield ranks
        return
    _variable("LOCAL_RANK", 0, 0)
    own = ranks.device(device)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    made = not dist.is_initialized()
    if made:
        _join("nccl" if own.type == "cuda" else "gloo", ranks)
    try:
        yield ranks
    finally:
        if made:
            dist.destroy_process_group()


def is_first() -> bool:
    """Whether this process is the one, of those of ``torchrun``, that writes."""
    return _variable("RANK", 0, 0, _variable("WORLD_SIZE", 1, 1) - 1) == 0


def _join(backend: str, ranks: Ranks) -> None:
    try:
        dist.init_process_group(backend)
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"ranks: expected process {ranks.rank} of {ranks.size} to meet the others "
            f"at MASTER_ADDR and MASTER_PORT, found {shown(reason)}; start it by "
            "torchrun, or without WORLD_SIZE"
        ) from error


def _variable(name: str, default: int, least: int, most: int = 2**20) -> int:
    value = os.environ.get(name, str(default))
    if not (value.isascii() and value.isdecimal() and least <= int(value) <= most):
        raise ValueError(
            f"{name}: expected a whole number from torchrun, at least {least} and at "
            f"most {most}, found {shown(value)}; unset it to train in one process"
        )
    return int(value)


def _exact(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64
