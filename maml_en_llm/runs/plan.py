"""What one outer step will need, before it is tried: memory, gradients and seconds.

Memory is what the step's tensors take together at its peak; a process needs some
hundreds of MiB more for its libraries. There are two moments to look at: a graph that
stands (its activations, and few copies of the parameters), and the end of a step, when
copies of the parameters are many and no graph stands.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from ..errors import check_choice, check_integer
from ..meta.calculus import loss_and_grad
from ..meta.trajectory import SPACING
from ..methods import METHODS
from ..methods.budget import gradients_per_task
from ..methods.inner import MOMENTS
from ..models import PromptLoss, parameters, positions_of
from ..models.loss import PARAMETERS, TOGETHER
from ..optimizers import SGD
from ..prompts import Prompt, collate
from ..tensors import GIB, check_memory
from ..training.config import MOST_TASKS, TOKENS_AT_ONCE
from .model_sizes import Sizes, sizes_of

MOST = {"n": MOST_TASKS, "prompts": MOST_TASKS, "length": 2**30, "target": 2**30}
PLANNED = ("metaicl", "metaict", "multi-task", "maml-en-llm", "fomaml", "reptile")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One outer step: n tasks, k inner steps, batches of prompts of a length.

    Of a batch ``at_once`` prompts are differentiated together; None: all of them.
    ``moments`` are one of `methods.inner.MOMENTS`, for methods that have inner steps.
    """

    method: str = "maml-en-llm"
    n: int = 4
    k: int = 1
    prompts: int = 1
    length: int = 1024
    target: int = 8  # tokens
    at_once: int | None = None
    moments: str = "shared"

    def __post_init__(self):
        check_choice("method", self.method, PLANNED)
        check_choice("moments", self.moments, MOMENTS)
        for name in ("n", "prompts", "length", "target"):
            check_integer(name, getattr(self, name), 1, MOST[name])
        check_integer("k", self.k, most=MOST_TASKS)
        if self.at_once is not None:
            check_integer("at_once", self.at_once, 1)
        if self.length <= self.target:
            raise ValueError(
                f"length: expected more tokens than the target's {self.target}, found "
                f"{self.length}"
            )

    @property
    def inner_steps(self) -> int:
        """k, of a method that has inner steps."""
        return self.k if "inner_steps" in METHODS[self.method].takes else 0

    @property
    def together(self) -> int:
        """Prompts of one graph: of a batch; as MetaICL those of several tasks."""
        batches = 1
        if "tokens_at_once" in METHODS[self.method].takes:
            fitting = TOKENS_AT_ONCE // (self.prompts * self.length)
            batches = min(max(fitting, 1), self.n)
        rows = batches * self.prompts
        return min(self.at_once or rows, rows)

    @property
    def advances(self) -> bool:
        """Whether the outer step goes on from m and v as inner steps advanced them."""
        return self.moments == "shared" and self.inner_steps > 0

    @property
    def second_order(self) -> bool:
        """Whether a gradient is differentiated again."""
        return self.method == "maml-en-llm" and self.k > 0

    @property
    def gradients(self) -> int:
        """Gradient equivalents: forward and backward passes of a batch, all tasks."""
        method = METHODS[self.method](inner=SGD(1.0), inner_steps=self.k)
        in_parts = self.together < self.prompts
        return self.n * gradients_per_task(method, self.inner_steps, in_parts)


# Numbers per token that a graph keeps: of each layer (in widths of the hidden states
# and of the feed-forward part), and of the rest (in widths); then copies of the moving
# parameters while it stands. Measured op by op with attention "twice".
@dataclass(frozen=True)
class _Graph:
    widths: float
    inners: float
    rest: float
    copies: float


_GATED = {False: _Graph(6.8, 4.75, 6.7, 4.5), True: _Graph(27.2, 14.25, 42, 9)}
_PLAIN = {False: _Graph(5, 3, 6.7, 4.5), True: _Graph(27.2, 4.3, 62, 9)}
_BLOCK = 2**18  # numbers of one matrix of attention's second derivative


def peak_bytes(sizes: Sizes, step: Step) -> float:
    """The most that the tensors of one outer step take, the model's own included."""
    if _stacks(sizes, step):  # n times all but the outer step's own θ, m and v
        outer, one = 3 * sizes.moving, replace(step, n=1, moments="fresh")
        beside = outer + step.n * (_beside(sizes, one) - outer)
    else:
        beside = _beside(sizes, step)
    return sizes.bytes_each * (sizes.parameters + beside)


def _stacks(sizes: Sizes, step: Step) -> bool:
    """Whether training runs the inner loops of all tasks as one, as on a CPU.

    On CUDA batches may be larger, see `PromptLoss.faster_together`; a copy of so small
    a model has 16 MiB at most.
    """
    small = step.prompts * step.length * sizes.width <= TOGETHER
    small = small and sizes.parameters <= PARAMETERS
    can = "together" in METHODS[step.method].takes and step.inner_steps > 0
    return can and small and step.n > 1 and step.together == step.prompts


def _beside(sizes: Sizes, step: Step) -> float:
    return max(_graph(sizes, step), _end(sizes, step))


def _graph(sizes: Sizes, step: Step) -> float:
    """Numbers beside the model's own while the largest graph stands."""
    kinds = _GATED if sizes.gated else _PLAIN
    graph = kinds[step.second_order]
    tokens = step.together * step.length
    layer = graph.widths * sizes.width + graph.inners * sizes.inner
    kept = tokens * (sizes.layers * layer + graph.rest * sizes.width)
    logits = step.together * step.target * sizes.vocabulary
    logits *= 3 if step.second_order else 1
    work = 0.0
    if step.second_order:
        work = 3 * min(sizes.heads * 128 * step.length, _BLOCK)
    copies = graph.copies - 1 + _more_copies(step)
    return kept + logits + work + sizes.table + copies * sizes.moving


def _end(sizes: Sizes, step: Step) -> float:
    """Numbers beside the model's own where copies of the parameters are most."""
    if not step.second_order:
        # θ, m and v as they were; the gradient, clipped too; θ, m and v anew; a block
        return (3 + 2 + 3 + 0.1 + _inner_copies(step)) * sizes.moving
    parts = 2 * (step.together < step.prompts)  # the sums over a split batch
    return (13 + parts + _more_copies(step)) * sizes.moving + 2 * sizes.table


def _inner_copies(step: Step) -> int:
    """Copies that a first-order inner loop adds to an update.

    Its last update starts from θ, m and v of its own, if another was before it (Reptile
    takes one more, on the query); after a single one shared m and v go on.
    """
    updates = step.inner_steps + (step.method == "reptile")
    last = 3 if updates > 1 else 2 * step.advances
    return last + (step.inner_steps > 0 and step.n > 1) + _sums_of_moments(step)


def _sums_of_moments(step: Step) -> int:
    """Copies for the mean of what the tasks made of m and v."""
    return 2 * (step.advances and step.n > 1)


def _more_copies(step: Step) -> float:
    """Copies of the moving parameters for inner steps, and for a sum over tasks.

    Of k states every fourth is kept whole, of the others their gradients.
    """
    if not step.second_order:
        moved = 3 * (step.inner_steps > 0)  # θ, m and v of the inner loop
        over_batches = step.together < step.n * step.prompts
        return float(moved + over_batches + _sums_of_moments(step))
    whole = {*range(0, step.k, SPACING), step.k - 1}  # the first is there anyway
    between = sum(t not in whole for t in range(1, step.k))
    later = 3 * (len(whole) - 1) + between
    return later + (step.n > 1) + _sums_of_moments(step)


def ways(step: Step) -> Iterator[tuple[str, Step]]:
    """What makes a step smaller, the exact ways first."""
    if step.together > 1:
        yield "micro-batching (prompts_at_once=1)", replace(step, at_once=1)
    if step.second_order:
        first = replace(step, method="fomaml")
        yield "first order (method='fomaml')", first
        if step.prompts > 1:
            yield "first order, one prompt at once", replace(first, at_once=1)


def advice(sizes: Sizes, step: Step, memory: float) -> list[tuple[str, float, bool]]:
    """(what, peak in bytes, whether it is below ``memory`` bytes), as asked first.

    Adapters (rank 8) are taken to be a fortieth of the parameters that move.
    """
    few = replace(sizes, moving=max(sizes.moving // 40, 1), table=0)
    found = [("as asked", sizes, step)]
    found += [(what, sizes, way) for what, way in ways(step)]
    if sizes.moving == sizes.parameters:
        found.append(("adapters alone (lora=8)", few, step))
        found += [(f"adapters alone, {what}", few, way) for what, way in ways(step)]
    peaks = [(what, peak_bytes(who, how)) for what, who, how in found]
    return [(what, peak, peak <= memory) for what, peak in peaks]


def in_lines(
    sizes: Sizes, step: Step, memory: float | None, seconds: float | None
) -> str:
    """The plan in words: sizes, cost, peaks, and what fits."""
    lines = [
        f"{sizes.parameters / 1e6:.1f} million parameters, {sizes.moving / 1e6:.1f} of "
        f"them move; {step.n} tasks, {step.inner_steps} inner steps, {step.prompts} "
        f"prompts of {step.length} tokens per batch",
        f"{step.gradients} gradient equivalents per outer step",
    ]
    if seconds is not None:
        whole = f"{seconds * step.gradients:.3g} s per outer step (predicted)"
        lines.append(f"{seconds:.3g} s per gradient (measured), {whole}")
    rows = advice(sizes, step, float("inf") if memory is None else memory)
    for what, peak, fits in rows:
        verdict = ""
        if memory is not None:
            verdict = f"  {'fits' if fits else 'does not fit'} {memory / GIB:g} GiB"
        lines.append(f"{peak / GIB:8.3f} GiB  {what}{verdict}")
    lines.append("peaks are predicted: tensors alone, without the process's libraries")
    return "\n".join(lines)


def check_length(model, step: Step) -> None:
    """Raise `ValueError` where the model takes no prompt as long as the step's."""
    positions = positions_of(model)
    if positions is not None and step.length > positions:
        raise ValueError(
            f"length: expected at most {positions}, the model's positions, found "
            f"{step.length}"
        )


def seconds_per_gradient(model, step: Step) -> float:
    """Seconds of one gradient of a batch, the faster of two: the first also warms up.

    Raises `ValueError` where prompts are longer than the model takes, or do not fit the
    memory of the machine.
    """
    check_length(model, step)
    sizes = sizes_of(model)
    if model.device.type == "cpu":
        one = replace(step, method="metaicl", n=1)
        need = _graph(sizes, one) * sizes.bytes_each
        check_memory("prompts", need, "lower prompts, length or at_once")
    ids = (torch.arange(step.length) % 97 + 1) % sizes.vocabulary
    batch = collate([Prompt(tuple(ids.tolist()), step.target)] * step.prompts)
    batch = batch.to(model.device)
    loss, params = PromptLoss(model, step.at_once), parameters(model)
    times = []
    for _ in range(2):
        start = time.perf_counter()
        loss_and_grad(loss, params, batch)  # ends in a number: a GPU has finished
        times.append(time.perf_counter() - start)
    return min(times)
