"""Meta-training: draw a meta-batch, ask a method for its gradient, step."""

import inspect
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..errors import check_callable, listed, shown
from ..meta.calculus import in_parts
from ..methods import Budget, Episode, EpisodeSampler, Method, OuterGradient
from ..methods.fitting import checked_training
from ..models import PromptLoss, parameters, positions_of, write_back
from ..models.complete import check_causal
from ..models.guards import check_kind, check_no_dropout
from ..models.sizes import base_of
from ..models.tokenizer import check_tokenizer
from ..prompts import Cut
from ..provenance import weights_hash
from ..tasks import Task
from ..tensors import clip_by_norm
from .config import TrainConfig
from .failures import (
    cause_of,
    check_end,
    check_start,
    explained,
    warn_if_cut,
    warn_if_hidden,
    warn_if_unmoved,
)
from .inner_loop import look, looked_at
from .ranks import Ranks
from .record import make_record
from .state import TrainState

CUT_STEPS = 8  # outer steps over whose prompts cuts are counted
CALLED_WITH = ("input_ids", "attention_mask", "use_cache")  # by the loss


def meta_train(
    model,
    tokenizer,
    tasks: Sequence[Task],
    config: TrainConfig,
    *,
    progress: Callable[[int, dict], None] | None = None,
) -> dict:
    """Meta-train ``model`` in place on ``tasks`` and return the record.

    ``progress(step, row)`` is called after every outer step with a copy of that step's
    row of the record: ``lr``, the outer rate; ``loss``, the mean query loss in nats per
    target token, at the adapted parameters; ``inner_losses`` of every task; ``norm`` of
    the gradient before clipping. See `training.record.make_record` for the record.
    The same configuration and seed give the same losses, to the bit, on the same CPU;
    on a GPU only with ``torch.use_deterministic_algorithms(True)``. The model stays on
    its device and in its type, whatever the configuration says of them, and gets no
    adapters: with ``lora`` it has to bring those of that rank. ``model``,
    ``tokenizer``, ``benchmark`` and ``setting`` of the configuration are not read here,
    so that the record's ``hash`` does not tell apart runs that differ in them; its
    ``model``, ``data`` and ``weights_before`` say what was used.

    Whatever stops it, the model then holds the last weights whose loss and gradient
    were finite.

    Raises:
        ValueError: examples, prompts, token ids or an attention that do not fit, before
            any step.
        FloatingPointError: a loss or gradient that is not finite, with its step, tasks
            and first prompt.
    """
    check_progress(config, progress)
    tasks = checked_training(tasks)
    loop = Loop.of(model, tokenizer, tasks, config)
    before, began = weights_hash(model), time.perf_counter()
    start = state = loop.start()
    for state in loop.steps(start):
        tell(progress, state)
    loop.finish(state)
    return make_record(loop, state, before, time.perf_counter() - began)


def tell(progress: Callable[[int, dict], None] | None, state: TrainState) -> None:
    """Call ``progress`` with the last step and a copy of its row, to do as it likes."""
    if progress is not None:
        progress(state.step - 1, deepcopy(state.rows[-1]))


def check_progress(config, progress) -> None:
    """`ValueError` for what is no configuration, or a progress that is no function."""
    if not isinstance(config, TrainConfig):
        raise ValueError(f"config: expected a TrainConfig, found {shown(config)}")
    if progress is not None:
        check_callable("progress", progress, "a function of step and row")


@dataclass(frozen=True)
class Loop:
    """What does not change from step to step."""

    config: TrainConfig
    model: Any
    loss: PromptLoss
    method: Method
    sampler: EpisodeSampler
    optimizer: Any
    ranks: Ranks
    looked_at: frozenset[int] = frozenset()

    @classmethod
    def of(
        cls, model, tokenizer, tasks, config: TrainConfig, ranks: Ranks | None = None
    ) -> "Loop":
        """The loop of a configuration; all that can be refused is refused here."""
        check_kind(model)
        check_no_dropout(model, "which would be random and in no record")
        check_causal(model)
        _check_adapters(model, config.lora)
        method = config.make_method()
        loss = PromptLoss(model, config.prompts_at_once)
        _check_forward(model)
        loss.check(method.derivative)
        check_tokenizer(tokenizer, model)
        sampler = config.make_sampler(tasks, tokenizer)
        sampler.check_positions(positions_of(model))
        outer = config.make_outer_optimizer()
        ranks = ranks or Ranks()
        _check_join(config, ranks)
        steps = looked_at(config)
        loop = cls(config, model, loss, method, sampler, outer, ranks, steps)
        if ranks.first:
            warn_if_cut(loop.cut, config.demonstrations, config.max_length)
        return loop

    @cached_property
    def cut(self) -> Cut:
        """What ``max_length`` leaves of the prompts of the first outer steps."""
        return self.sampler.cut(min(self.config.steps, CUT_STEPS))

    def start(self) -> TrainState:
        """The state before the first step."""
        params = parameters(self.model)
        if not params:
            raise ValueError(
                "model: expected parameters that require grad, found none to train"
            )
        check_start(params)
        if self.ranks.first:
            warn_if_hidden(params, self.config.clip, self.optimizer)
        return TrainState(0, params, self.optimizer.init(params), Budget())

    def steps(self, state: TrainState) -> Iterator[TrainState]:
        """The states after ``state``, to the last step of the configuration."""
        while state.step < self.config.steps:
            state = self.step(state)
            yield state

    def step(self, state: TrainState) -> TrainState:
        """One outer step; ``state`` is left as it is.

        Once its loss and gradient are known to be finite, the model is given its
        parameters.
        """
        places = self.ranks.share(self.config.tasks_per_step)
        own = [self._episode(state.step, place) for place in places]
        outer, budget = self._gradient(state, own)
        grads, norm = clip_by_norm(outer.grads, self.config.clip)
        rate = self.config.lr * (1 - state.step / self.config.steps)
        row: dict = {"lr": rate, "loss": None, "inner_losses": [], "norm": None}
        params, optimizer, skipped = state.params, state.optimizer, state.skipped
        if math.isfinite(outer.loss) and math.isfinite(norm):
            write_back(self.model, params)
            params, optimizer = self.optimizer.update(
                grads, outer.state, params, lr=rate
            )
            if state.step == 0:
                warn_if_unmoved(state.params, params)
            inner_losses = [list(losses) for losses in outer.inner_losses]
            row |= {"loss": outer.loss, "inner_losses": inner_losses, "norm": norm}
            if state.step in self.looked_at:
                row["inner_loop"] = look(self, state, own, outer, params)
        else:
            skipped = (*skipped, state.step)
            if len(skipped) > self.config.skip_steps:
                raise self._error(state, own, outer.loss, norm)
        rows = (*state.rows, row)
        return TrainState(state.step + 1, params, optimizer, budget, rows, skipped)

    def finish(self, state: TrainState) -> None:
        """Give the model the parameters after the last step."""
        check_end(state.params, state.step)
        write_back(self.model, state.params)

    def _episode(self, step: int, place: int) -> Episode:
        return self.sampler.episode(step, place).to(self.model.device)

    def _gradient(
        self, state: TrainState, own: list[Episode]
    ) -> tuple[OuterGradient, Budget]:
        """That of the whole meta-batch, and what was spent up to and with it."""
        spent = Budget()
        support = [batch for e in own for batch in e.support[: self.method.inner_steps]]
        spent.add(self.method, own, in_parts(self.loss, support))
        local = None
        if own:
            local = self.method.gradient(self.loss, state.params, own, state.optimizer)
        outer, (gradients, forward, backward) = self.ranks.joined(
            local,
            (spent.gradients, spent.tokens_forward, spent.tokens_backward),
            n=self.config.tasks_per_step,
            params=state.params,
            state=state.optimizer,
        )
        total = Budget(
            state.budget.outer_steps + 1,
            state.budget.gradients + gradients,
            state.budget.tokens_forward + forward,
            state.budget.tokens_backward + backward,
        )
        return outer, total

    def _error(self, state: TrainState, own, loss: float, norm: float):
        draws = [
            self.sampler.draw(state.step, place)
            for place in range(self.config.tasks_per_step)
        ]
        names = [self.sampler.tasks[draw.task].name for draw in draws]
        at = state.step, loss, self.loss, state.params
        where, advice = cause_of(*at, self.method, own)
        return explained(state.step, loss, norm, names, where=where, advice=advice)


def _check_join(config: TrainConfig, ranks: Ranks) -> None:
    if config.join != "mean" and ranks.size > 1:
        raise ValueError(
            f"join: expected 'mean' for a meta-batch that {ranks.size} processes "
            f"share, found {config.join!r}, which needs all tasks in one place"
        )


def _check_forward(model) -> None:
    """A class of one's own may take other arguments than the loss calls it with."""
    base = base_of(model)
    taken = inspect.signature(base.forward).parameters.values()
    names = {each.name for each in taken if each.kind is not each.POSITIONAL_ONLY}
    lacking = [name for name in CALLED_WITH if name not in names]
    if lacking and not any(each.kind is each.VAR_KEYWORD for each in taken):
        raise ValueError(
            f"model: expected a forward that takes {listed(CALLED_WITH)} by name, "
            f"found that of {type(base).__name__} without {listed(lacking)}; let it "
            "take these, and pass them on"
        )


def _check_adapters(model, rank: int) -> None:
    """A record that names adapters is of a model that has them (`train` adds them)."""
    trained = ((n, p) for n, p in model.named_parameters() if p.requires_grad)
    ranks = {p.shape[0] for n, p in trained if re.search(r"\.lora_(embedding_)?A\b", n)}
    if rank and rank not in ranks:
        found = f"those of rank {listed(sorted(ranks))}" if ranks else "none"
        raise ValueError(
            f"lora: expected a model with adapters of rank {rank} to train, found "
            f"{found}; wrap it first (models.adapters.with_adapters), call train, or "
            "set lora=0"
        )
