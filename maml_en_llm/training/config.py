"""Everything that decides a meta-training run."""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ..errors import check_choice
from ..meta.gradient import DERIVATIVES as GRADIENTS
from ..methods.episodes import INNER_BATCH, QUERY_TASKS, SAMPLING, EpisodeSampler
from ..methods.maml import MOMENTS, MAMLenLLM
from ..methods.metaicl import MetaICL
from ..methods.reptile import Reptile
from ..optimizers.eight_bit import EightBit
from ..optimizers.rules import SGD, Adam
from ..prompts import MODES, SEPARATORS, Format, PromptEncoder
from ..tasks.benchmark import Task
from ..tasks.subset import limit

METHOD_NAMES = ("metaicl", "metaict", "multi-task", "maml-en-llm", "fomaml", "reptile")


# Tokens, with padding, of a batch without inner steps: of 2^10 to 2^13 the fastest for tiny-base on two cores, 16 prompts a step
# taking half as long as one by one
TOKENS_AT_ONCE = 2**11


OPTIMIZERS = ("adam", "adam-8bit", "sgd")


_CHOICES = dict(
    method=METHOD_NAMES,
    optimizer=OPTIMIZERS,
    moments=MOMENTS,
    gradient=GRADIENTS,
    sampling=SAMPLING,
    query_tasks=QUERY_TASKS,
    inner_batch=INNER_BATCH,
    mode=MODES,
    separator=tuple(SEPARATORS),
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
    demonstrations: int = (
        16  # examples shown before the query; multi-task training has none [16]
    )
    optimizer: str = "adam"  # both phases; "adam-8bit" keeps its moments in 8 bits between outer steps [8-bit Adam]
    lr: float = 1e-5  # outer rate, falling linearly to 0 [1e-5]
    inner_lr: float = 1e-5  # constant
    betas: tuple[float, float] = (0.9, 0.995)  # Adam's decay rates [0.9, 0.995]
    eps_root: float = (
        1e-8  # added under Adam's root; with 0 the second order is not a number
    )
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
        for name, least in dict(
            steps=1, tasks_per_step=1, inner_steps=0, prompts=1, demonstrations=0
        ).items():
            if getattr(self, name) < least:
                raise ValueError(
                    f"{name}: expected at least {least}, found {getattr(self, name)}"
                )

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that change with any field."""
        return hashlib.sha256(
            json.dumps(asdict(self), sort_keys=True).encode()
        ).hexdigest()[:12]

    @property
    def second_order(self) -> bool:
        """Whether the run differentiates twice, which fused attention cannot."""
        return (
            self.method == "maml-en-llm"
            and self.inner_steps > 0
            and self.gradient in ("reverse", "unrolled")
        )

    @property
    def format(self) -> Format:
        """The prompt format of the run."""
        return Format(
            mode=self.mode,
            separator=self.separator,
            max_length=self.max_length,
            max_example_length=self.max_example_length,
        )

    def make_optimizer(self, lr: float):
        """The run's inner optimiser, at another rate."""
        return (
            SGD(lr)
            if self.optimizer == "sgd"
            else Adam(lr, betas=self.betas, eps_root=self.eps_root)
        )

    def make_outer_optimizer(self, lr: float):
        """The run's outer optimiser, whose moments the inner one may share."""
        return (
            EightBit(self.make_optimizer(lr))
            if self.optimizer == "adam-8bit"
            else self.make_optimizer(lr)
        )

    def make_method(self):
        """The run's method."""
        if self.method in ("metaicl", "metaict", "multi-task"):
            return MetaICL(tokens_at_once=TOKENS_AT_ONCE)
        inner = dict(
            inner=self.make_optimizer(self.inner_lr),
            inner_steps=self.inner_steps,
            moments=self.moments,
        )
        if self.method == "reptile":
            return Reptile(**inner)
        return MAMLenLLM(
            **inner, mode="first_order" if self.method == "fomaml" else self.gradient
        )

    def make_sampler(self, tasks: Sequence[Task], tokenizer) -> EpisodeSampler:
        """What draws the run's meta-batches from ``tasks``."""
        tasks = limit(
            tasks,
            task_share=self.task_share,
            record_share=self.record_share,
            seed=self.seed,
        )
        return EpisodeSampler(
            tasks,
            PromptEncoder(tokenizer, self.format),
            random.Random(self.seed),
            self.tasks_per_step,
            self.make_method().inner_steps,
            self.prompts,
            0 if self.method == "multi-task" else self.demonstrations,
            self.sampling,
            self.query_tasks,
            self.inner_batch,
            self.method == "metaict",
        )
