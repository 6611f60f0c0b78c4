"""Meta-training: the loop that draws meta-batches, asks a method for the gradient, and steps."""

import hashlib
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from .attention import TWICE
from .budget import Budget
from .eight_bit import EightBit
from .episodes import INNER_BATCH, QUERY_TASKS, SAMPLING, EpisodeSampler
from .errors import check_choice
from .meta import MODES as GRADIENTS
from .limited import limit
from .methods import MOMENTS, MAMLenLLM, MetaICL, Reptile, clip_by_norm
from .models import PromptLoss, load_model, parameters, write_back
from .optimizers import SGD, Adam
from .prompts import MODES, SEPARATORS, Format, PromptEncoder
from .tasks import Task, load_benchmark

METHODS = ("metaicl", "metaict", "multi-task", "maml-en-llm", "fomaml", "reptile")
# Tokens, with padding, of a batch without inner steps: of 2^10 to 2^13 the fastest for tiny-base on two cores, 16 prompts a step
# taking half as long as one by one
TOKENS_AT_ONCE = 2**11
OPTIMIZERS = ("adam", "adam-8bit", "sgd")
_CHOICES = dict(
    method=METHODS, optimizer=OPTIMIZERS, moments=MOMENTS, gradient=GRADIENTS, sampling=SAMPLING,
    query_tasks=QUERY_TASKS, inner_batch=INNER_BATCH, mode=MODES, separator=tuple(SEPARATORS),
)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides a meta-training run. Lengths in tokens; the published recipe's value in brackets."""

    benchmark: str = "hf://datasets/allenai/metaicl-data/data"
    setting: str = "hr_to_lr"
    allow_missing: bool = False
    faithful: bool = False  # True: with the two leaks of the published task lists
    task_share: float = 1.0  # of the meta-training tasks that are used
    record_share: float = 1.0  # of the records of each of them
    model: str = "gpt2-medium"
    tokenizer: str | None = None
    method: str = "maml-en-llm"
    seed: int = 1
    steps: int = 30_000  # outer steps [30,000]
    tasks_per_step: int = 4  # n, exploration tasks a meta-batch
    inner_steps: int = 1  # k; MetaICL, MetaICT and multi-task training have none
    prompts: int = 1  # prompts a support or query batch
    demonstrations: int = 16  # examples shown before the query; multi-task training has none [16]
    optimizer: str = "adam"  # both phases; "adam-8bit" keeps its moments in 8 bits between outer steps [8-bit Adam]
    lr: float = 1e-5  # outer rate, falling linearly to 0 [1e-5]
    inner_lr: float = 1e-5  # constant
    betas: tuple[float, float] = (0.9, 0.995)  # Adam's decay rates [0.9, 0.995]
    eps_root: float = 1e-8  # added under Adam's root; with 0 the second order is not a number
    moments: str = "shared"  # what the inner phase sees of Adam's moments
    gradient: str = "reverse"  # mode of `meta_gradient`; FOMAML's is "first_order"
    clip: float = 1.0  # largest norm of an outer gradient [1.0]
    sampling: str = "size"  # tasks in proportion to their records [size]
    query_tasks: str = "same"  # or "fresh": the query batch comes from another task
    inner_batch: str = "one"  # or "all": the k support batches in a single step
    mode: str = "direct"
    separator: str = "newline"
    max_length: int = 1024  # [1,024]
    max_example_length: int = 256  # [256]

    def __post_init__(self):
        for name, known in _CHOICES.items():
            check_choice(name, getattr(self, name), known)
        for name, least in dict(steps=1, tasks_per_step=1, inner_steps=0, prompts=1, demonstrations=0).items():
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least}, found {getattr(self, name)}")

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that change with any field."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    @property
    def second_order(self) -> bool:
        """Whether the run differentiates twice, which fused attention cannot."""
        return self.method == "maml-en-llm" and self.inner_steps > 0 and self.gradient in ("reverse", "unrolled")

    @property
    def format(self) -> Format:
        """The prompt format of the run."""
        return Format(mode=self.mode, separator=self.separator, max_length=self.max_length,
                      max_example_length=self.max_example_length)

    def make_optimizer(self, lr: float):
        """The run's inner optimiser, at another rate."""
        return SGD(lr) if self.optimizer == "sgd" else Adam(lr, betas=self.betas, eps_root=self.eps_root)

    def make_outer_optimizer(self, lr: float):
        """The run's outer optimiser, whose moments the inner one may share."""
        return EightBit(self.make_optimizer(lr)) if self.optimizer == "adam-8bit" else self.make_optimizer(lr)

    def make_method(self):
        """The run's method."""
        if self.method in ("metaicl", "metaict", "multi-task"):
            return MetaICL(tokens_at_once=TOKENS_AT_ONCE)
        inner = dict(inner=self.make_optimizer(self.inner_lr), inner_steps=self.inner_steps, moments=self.moments)
        if self.method == "reptile":
            return Reptile(**inner)
        return MAMLenLLM(**inner, mode="first_order" if self.method == "fomaml" else self.gradient)

    def make_sampler(self, tasks: Sequence[Task], tokenizer) -> EpisodeSampler:
        """What draws the run's meta-batches from ``tasks``."""
        tasks = limit(tasks, task_share=self.task_share, record_share=self.record_share, seed=self.seed)
        return EpisodeSampler(
            tasks, PromptEncoder(tokenizer, self.format), random.Random(self.seed), self.tasks_per_step,
            self.make_method().inner_steps, self.prompts, 0 if self.method == "multi-task" else self.demonstrations,
            self.sampling, self.query_tasks, self.inner_batch, self.method == "metaict",
        )


def train(config: TrainConfig, *, output: str | Path | None = None, progress: Callable | None = None) -> dict:
    """Load benchmark and model as ``config`` says, meta-train, and return the run's record.

    With ``output``, the model, its tokenizer and ``record.json`` are saved there; the folder must not exist, and
    appears only when it is complete.
    """
    if output is not None and Path(output).exists():
        raise FileExistsError(f"output: {output} is there already; name a new folder")
    benchmark = load_benchmark(config.benchmark, config.setting, allow_missing=config.allow_missing, faithful=config.faithful)
    attention = TWICE if config.second_order else "sdpa"
    model, tokenizer = load_model(config.model, tokenizer=config.tokenizer, attention=attention, seed=config.seed)
    record = meta_train(model, tokenizer, benchmark.train, config, progress=progress)
    record["missing_tasks"] = list(benchmark.missing)
    record["revision"], record["checksums"] = benchmark.revision, dict(benchmark.checksums)  # of a hub source
    if output is not None:
        _save(Path(output), model, tokenizer, record)
    return record


def meta_train(
    model, tokenizer, tasks: Sequence[Task], config: TrainConfig, *, progress: Callable[[int, dict], None] | None = None
) -> dict:
    """Meta-train ``model`` in place on ``tasks`` and return the record.

    ``progress(step, row)`` is called after every outer step with that step's row of the record: the outer rate, the
    mean query loss (nats a target token, at the adapted parameters), the inner losses of every task, the gradient's
    norm before clipping. The same configuration and seed give the same losses, to the bit, on the same CPU; on a GPU only
    with ``torch.use_deterministic_algorithms(True)``.

    Raises:
        FloatingPointError: a loss or gradient that is not finite, with its step and tasks.
    """
    loss, method = PromptLoss(model), config.make_method()
    loss.check("first_order")
    sampler, budget = config.make_sampler(tasks, tokenizer), Budget()
    params, rows, start = parameters(model), [], time.perf_counter()
    state = config.make_outer_optimizer(config.lr).init(params)
    for step in range(config.steps):
        episodes = sampler.sample()
        budget.add(method, episodes)
        episodes = [_to(episode, model.device) for episode in episodes]
        outer = method.gradient(loss, params, episodes, state)
        grads, norm = clip_by_norm(outer.grads, config.clip)
        _check_finite(outer.loss, norm, step, [episode.task for episode in episodes])
        rate = config.lr * (1 - step / config.steps)
        params, state = config.make_outer_optimizer(rate).update(grads, outer.state, params)
        rows.append(dict(lr=rate, loss=outer.loss, inner_losses=outer.inner_losses, norm=norm))
        if progress is not None:
            progress(step, rows[-1])
    write_back(model, params)
    return _record(config, rows, budget, time.perf_counter() - start, model)


def _to(episode, device):
    return replace(episode, support=tuple(b.to(device) for b in episode.support), query=episode.query.to(device))


def _check_finite(loss: float, norm: float, step: int, tasks: list[str]) -> None:
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise FloatingPointError(
            f"step {step}: expected a finite loss and gradient, found loss {loss} and gradient norm {norm} "
            f"on tasks {', '.join(tasks)}; lower lr or inner_lr"
        )


def _record(config: TrainConfig, rows: list[dict], budget: Budget, seconds: float, model) -> dict:
    return {
        "config": asdict(config),
        "hash": config.hash,
        "losses": [row["loss"] for row in rows],
        "inner_losses": [row["inner_losses"] for row in rows],
        "norms": [row["norm"] for row in rows],
        "budget": asdict(budget),
        "seconds": seconds,
        "device": str(model.device),
        "torch": torch.__version__,
    }


def _save(output: Path, model, tokenizer, record: dict) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=output.parent) as folder:
        partial = Path(folder) / output.name
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        (partial / "record.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
        partial.rename(output)
