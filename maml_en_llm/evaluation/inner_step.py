"""Is an inner step of use? Query loss before and after one, on tasks held back.

Training compares different prompts before and after (the support at θ, the query at
θᵢ). Here the same queries of a task are asked at θ and after one step on support
prompts of that task, for many sizes of the support, rates and moments.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

import torch

from ..errors import check_choice, check_integer, check_rate, shown
from ..meta import Loss, loss_and_grad
from ..methods.draws import draw_prompts
from ..methods.inner import inner_step
from ..models import PromptLoss, parameters, write_back
from ..optimizers import Adam, State
from ..optimizers.base import check_optimizer
from ..prompts import Batch, Prompt, PromptEncoder, collate
from ..protocol import SHOTS
from ..tasks import Example, Task
from ..tasks.task import checked_tasks
from ..tensors import Tensors, clip_by_norm
from .arguments import check_model, format_of, prefix_of
from .scoring import CALL_ON_CPU, prompt_scores

SUPPORTS = (1, 4, 8, 16)  # prompts that one inner step sees
STEP_RATES = (1e-4, 3e-4, 1e-3, 3e-3)
WARMTH = ("fresh", "second", "shared")
"""Moments of the step, as `maml_en_llm.methods.inner.MOMENTS` calls them. What is not
fresh is what an optimizer would have come to by the clipped gradients of the *other*
tasks at θ: m is their mean, v the mean of their squares."""
TRIED = ("supports", "rates", "moments")
STEP_QUERIES = 16  # of a task, asked before and after
LOSS_DIGITS = 5  # of a loss, after the point
LONG_WARM = 100_000  # updates after which no bias correction is left


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """What is tried. ``clip`` is the largest norm of a support gradient, or None.

    Raises `ValueError` naming the field.
    """

    supports: Sequence[int] = SUPPORTS
    rates: Sequence[float] = STEP_RATES
    moments: Sequence[str] = ("fresh",)
    optimizer: Any = field(default_factory=lambda: Adam(1.0, (0.9, 0.995)))
    clip: float | None = 1.0
    queries: int = STEP_QUERIES
    demonstrations: int = SHOTS
    seed: int = 0

    def __post_init__(self):
        found: dict[str, Any] = {}
        for name in TRIED:
            values = getattr(self, name)
            if isinstance(values, str) or not isinstance(values, Iterable):
                raise ValueError(f"{name}: expected a list, found {shown(values)}")
            found[name] = list(values)
            if not found[name]:
                raise ValueError(f"{name}: expected a list, found an empty one")
        supports = {check_integer("supports", n, 1) for n in found["supports"]}
        rates = [check_rate("rates", rate, above=True) for rate in found["rates"]]
        for moments in found["moments"]:
            check_choice("moments", moments, WARMTH)
        found |= dict(supports=sorted(supports), rates=rates)
        found["queries"] = check_integer("queries", self.queries, 1)
        found["demonstrations"] = check_integer("demonstrations", self.demonstrations)
        found["seed"] = check_integer("seed", self.seed)
        check_optimizer("optimizer", self.optimizer)
        if self.clip is not None:
            found["clip"] = check_rate("clip", self.clip, above=True)
        for name, value in found.items():
            object.__setattr__(self, name, value)


def inner_steps(
    model,
    tokenizer,
    tasks: Sequence[Task],
    *,
    progress: Callable[[str], None] | None = None,
    options: StepOptions | None = None,
    **format_options,
) -> dict:
    """Query losses of every task before and after one inner step.

        before[i] = L(θ; Qᵢ),   after[w][i][s][r] = L(θ − r · U(c(∇L(θ; Sᵢ,ₛ)), w); Qᵢ)

    in nats per target token, where Sᵢ,ₛ are the first s support prompts of task i, r is
    the rate and w the moments. Support and query examples differ, no prompt shows any
    of them, and all queries of a task are asked after the same demonstrations.

    Args:
        tasks: as `held_set` or `hold_back` gives them: prompts are drawn from their
            first demonstrations and their test examples, which no model was trained on;
            of tasks without any, from their training examples.
        progress: called with a task's name when it is done.
        options: what is tried, see `StepOptions`.
        format_options: mode, separator, max_length, max_example_length of `Format`.

    Returns:
        JSON: tasks, supports, rates, moments, before, after.

    Raises:
        ValueError: no task, or one with too few examples.
    """
    options = options or StepOptions()
    tasks = checked_tasks("tasks", tasks)
    if not tasks:
        raise ValueError("tasks: expected at least one, found none")
    probe = Probe(model, tokenizer, options, format_options)
    drawn = [probe.draw(task) for task in tasks]
    means = probe.means(drawn)
    before, after = [], []
    for task in drawn:
        before.append(round(probe.query_loss(probe.params, task), LOSS_DIGITS))
        after.append(probe.tables(task, means))
        if progress is not None:
            progress(task.name)
    tried = {name: list(getattr(options, name)) for name in TRIED}
    losses = [list(tables) for tables in zip(*after, strict=True)]
    names = [task.name for task in tasks]
    return {"tasks": names, **tried, "before": before, "after": losses}


def new_examples(task: Task) -> tuple[Example, ...]:
    """What a task holds that meta-training has not seen, or else what it has."""
    if not task.test:
        return task.train
    first = next(iter(task.demonstrations.values()), ())
    return (*first, *task.test)


@dataclass(frozen=True)
class DrawnTask:
    """A task's queries, what their prompts begin with, and its support in pieces.

    The first s support prompts are the pieces up to that which ends at s.
    """

    name: str
    queries: list[Prompt]
    prefix: tuple[int, ...]
    batches: list[Batch]


class Probe:
    """A model, as it is and after a step."""

    def __init__(self, model, tokenizer, options: StepOptions, format_options: Mapping):
        check_model(model, 1, tokenizer)
        self.options = options
        self.encoder = PromptEncoder(tokenizer, format_of(format_options))
        self.model = deepcopy(model)
        self.params = {n: p.clone() for n, p in parameters(self.model).items()}
        self.loss: Loss = PromptLoss(self.model)

    def draw(self, task: Task) -> DrawnTask:
        """The task's prompts, a function of its name and the seed."""
        some, examples = self.options, new_examples(task)
        size = len(examples)
        most = max(some.supports[-1], some.queries)
        need = 2 * most + some.demonstrations
        if size < need:
            raise ValueError(
                f"tasks: expected {need} examples of {shown(task.name)} (support, "
                f"queries and demonstrations all differ), found {size}; lower "
                "supports, queries or demonstrations"
            )
        key = f"{some.seed} {task.name}"
        query, support = draw_prompts(size, key, 1, most, some.demonstrations)
        asked = [examples[one.query] for one in query[: some.queries]]
        prompts = [
            self.encoder.training_prompt(
                [examples[i] for i in one.shown], examples[one.query]
            )
            for one in support
        ]
        ends = [0, *some.supports]
        pieces = zip(ends, ends[1:], strict=False)
        batches = [collate(prompts[a:b]).to(self.model.device) for a, b in pieces]
        before = tuple(examples[i] for i in query[0].shown)
        queries = [
            self.encoder.query_prompts(before, replace(one, options=(one.output,)))[0]
            for one in asked
        ]
        prefix = prefix_of(self.encoder, before, "")
        return DrawnTask(task.name, queries, prefix, batches)

    def gradients(self, batches: Sequence[Batch]) -> Iterator[Tensors]:
        """∇L(θ; the first s support prompts) for each support size s."""
        total: Tensors = {}
        write_back(self.model, self.params)
        for size, batch in zip(self.options.supports, batches, strict=True):
            prompts = len(batch.input_ids)
            _, grads = loss_and_grad(self.loss, self.params, batch)
            for name, g in grads.items():
                part = g * prompts
                total[name] = total[name] + part if name in total else part
            yield {name: part / size for name, part in total.items()}

    def clipped(self, batches: Sequence[Batch]) -> Tensors:
        """The gradient on the whole support, as it enters moments."""
        *_, grads = self.gradients(batches)
        return self._clip(grads)

    def means(self, drawn: Sequence[DrawnTask]) -> "Means | None":
        """What all tasks' gradients come to; None where no moments need it."""
        if set(self.options.moments) == {"fresh"}:
            return None
        return Means(self.clipped(task.batches) for task in drawn)

    def state(self, moments: str, means: "Means | None", grads: Tensors):
        """The optimizer's state before the step."""
        if moments == "fresh" or means is None:
            return self.options.optimizer.init(self.params)
        slots = means.without(self._clip(grads))
        return State(
            tuple(slots[slot] for slot in self.options.optimizer.slots), LONG_WARM
        )

    def tables(self, task: DrawnTask, means: "Means | None") -> list:
        """Query losses after a step: (moments, supports, rates)."""
        gradients = list(self.gradients(task.batches))
        found = []
        for moments in self.options.moments:
            state = self.state(moments, means, gradients[-1])
            step = inner_step(self.options.optimizer, moments, self.options.clip)
            rows = []
            for grads in gradients:
                row = []
                for rate in self.options.rates:
                    moved, _ = step.update(grads, state, self.params, lr=rate)
                    row.append(round(self.query_loss(moved, task), LOSS_DIGITS))
                rows.append(row)
            found.append(rows)
        return found

    @torch.inference_mode()
    def query_loss(self, params: Tensors, task: DrawnTask) -> float:
        """The mean over queries of the answer's mean NLL per token."""
        write_back(self.model, params)
        return fmean(
            prompt_scores(self.model, task.queries, task.prefix, True, CALL_ON_CPU)
        )

    def _clip(self, grads: Tensors) -> Tensors:
        if self.options.clip is None:
            return grads
        return clip_by_norm(grads, self.options.clip)[0]


class Means:
    """m and v of an optimizer that has long seen gradients of all tasks at θ."""

    def __init__(self, gradients: Iterable[Tensors]):
        self.tasks = 0
        self.sums: Tensors = {}
        self.squares: Tensors = {}
        for grads in gradients:
            self.tasks += 1
            for name, g in grads.items():
                zero = torch.zeros_like(g)
                self.sums[name] = self.sums.get(name, zero) + g
                self.squares[name] = self.squares.get(name, zero) + g.square()
        if self.tasks < 2:
            raise ValueError(
                "tasks: expected at least 2 for moments that other tasks have warmed, "
                f"found {self.tasks}"
            )

    def without(self, own: Tensors) -> dict[str, Tensors]:
        """The moments by slot, one task's own gradient left out."""
        others = self.tasks - 1
        mean = {n: (self.sums[n] - g) / others for n, g in own.items()}
        square = {
            n: ((self.squares[n] - g.square()) / others).clamp(min=0)
            for n, g in own.items()
        }
        return {"mean": mean, "variance": square}
