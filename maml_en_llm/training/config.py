"""Everything that decides a meta-training run."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

from ..errors import (
    check_choice,
    check_integer,
    check_number,
    check_rate,
    check_truth,
    or_none,
    shown,
)
from ..meta import DERIVATIVES
from ..methods import METHODS, EpisodeSampler, Method
from ..methods.episodes import INNER_BATCH, QUERY_TASKS, SAMPLING
from ..methods.inner import JOINS, MOMENTS
from ..optimizers import OPTIMIZERS, fields_of, make_optimizer
from ..prompts import MODES, SEPARATORS, Format, PromptEncoder
from ..provenance import configuration_hash
from ..tasks import Task, limit

# Tokens, with padding, of a batch without inner steps: of 2^10 to 2^13 the fastest for
# tiny-base on two cores, 16 prompts a step taking half as long as one by one
TOKENS_AT_ONCE = 2**11

DTYPE_NAMES = ("float32", "float64", "bfloat16", "float16")
MOST_LOOKS = 1000  # at the inner loops of a run
LARGEST = 2**63 - 1  # of a seed
MOST_STEPS = 10**8  # outer steps of a run
MOST_TOKENS = 10**8  # of a prompt; of the rank of adapters
MOST_TASKS = 10**5  # of a meta-batch; of inner steps, of prompts, of demonstrations


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides a meta-training run.

    The comment beside a field says what it is, with the published recipe's value in
    brackets, and ``python -m maml_en_llm train --help`` prints them all. Lengths are in
    tokens. All fields are checked at once. Other libraries' numbers, paths and lists
    are kept as plain Python values: ``TrainConfig(**record["config"])`` is the same.

    Raises:
        ValueError: a value of a wrong type or range, by its field.
    """

    # where the tasks are: on the hub, in a folder, or minicrossfit
    benchmark: str = "hf://datasets/allenai/metaicl-data/data"
    setting: str = "hr_to_lr"  # which tasks train and which are targets
    allow_missing: bool = False  # leave out, and name, tasks that lack their files
    faithful: bool = False  # True: with the two leaks of the published task lists
    task_share: float = 1.0  # of the meta-training tasks that are used
    record_share: float = 1.0  # of the examples of each of them
    model: str = "gpt2-medium"  # tiny-base, mini-base, a folder, a name on the hub
    tokenizer: str | None = None  # folder or name; None: the model's own
    method: str = "maml-en-llm"  # of meta-training
    seed: int = 1  # of the meta-batches, and of weights where a model has none
    steps: int = 30_000  # outer steps [30,000]
    tasks_per_step: int = 4  # n, exploration tasks per meta-batch
    inner_steps: int = 1  # k; MetaICL, MetaICT and multi-task training have none
    prompts: int = 4  # prompts per support or query batch
    demonstrations: int = 16  # shown before the query; none in multi-task [16]
    optimizer: str = "adam"  # "adam-8bit": moments in 8 bits between steps [8-bit Adam]
    inner_optimizer: str | None = None  # of the inner phase; None: as the outer
    lr: float = 1e-5  # outer rate β, falling linearly to 0 [1e-5]
    inner_lr: float = 1e-5  # inner rate α, the same at every step
    betas: tuple[float, float] = (0.9, 0.995)  # Adam's decay rates [0.9, 0.995]
    eps_root: float = 1e-8  # under Adam's root, 1e-12 for real models; 0: may be nan
    moments: str = "shared"  # what the inner phase sees of Adam's moments
    clip_support: bool = True  # each support gradient is clipped as the outer one is
    join: str = "mean"  # of the n advanced copies of shared moments
    gradient: str = "reverse"  # mode of `meta_gradient`; FOMAML's is "first_order"
    clip: float = 1.0  # largest norm of an outer gradient [1.0]
    sampling: str = "size"  # size: tasks in proportion to their examples [size]
    independent_draws: bool = True  # of task and examples; False: as older records
    query_tasks: str = "same"  # "fresh": the query batch comes from another task
    inner_batch: str = "one"  # "all": the k support batches in a single step
    mode: str = "direct"  # channel: an answer, then its text
    separator: str = "newline"  # between a text and its answer
    max_length: int = 1024  # most tokens per prompt [1,024]
    max_example_length: int = 256  # most tokens per example [256]
    bos: bool = False  # the tokenizer's beginning-of-text token before every prompt
    lora: int = 0  # rank of adapters, which alone are trained; 0: all parameters
    prompts_at_once: int | None = None  # of a batch that are differentiated together
    device: str = "cpu"  # cpu, cuda, mps, or auto for the first that is there
    dtype: str = "float32"  # of weights; the second order needs float32 or float64
    skip_steps: int = 0  # steps in all that may be skipped as not finite
    looks: int = 8  # times that the record says what the inner loops do; 0: never

    def __post_init__(self):
        for each in fields(self):
            value = CHECKS[each.name](each.name, getattr(self, each.name))
            object.__setattr__(self, each.name, value)
        self._check_moments()
        if self.second_order and self.dtype in ("bfloat16", "float16"):
            raise ValueError(
                "dtype: expected float32 or float64 for a gradient of second order "
                f"({self.gradient!r}), found {self.dtype!r}; or choose "
                "gradient='first_order'"
            )

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that change with what differs from the defaults."""
        return configuration_hash(self)

    @property
    def unsaid(self) -> dict:
        """What a record stands for that lacks a field, for the hash.

        Before there was ``clip_support`` nothing clipped support gradients, and a batch
        had one prompt by default. A method without inner steps has none to clip. The
        draw of a task also decided its first query's example.
        """
        clips = "clip" in METHODS[self.method].takes
        return {
            "prompts": 1,
            "clip_support": False if clips else self.clip_support,
            "independent_draws": False,
        }

    @property
    def second_order(self) -> bool:
        """Whether the run differentiates twice, which fused attention cannot."""
        return self.make_method().derivative in ("reverse", "unrolled")

    @property
    def format(self) -> Format:
        """The prompt format of the run."""
        return Format(
            mode=self.mode,
            separator=self.separator,
            max_length=self.max_length,
            max_example_length=self.max_example_length,
            bos=self.bos,
        )

    def make_optimizer(self, lr: float, name: str | None = None):
        """The run's optimizer at another rate, its moments as ordinary tensors.

        ``name``: another optimizer with the run's fields.
        """
        return _optimizer(_plain(name or self.optimizer), lr, self)

    def make_inner_optimizer(self):
        """The run's inner optimizer."""
        return self.make_optimizer(self.inner_lr, self.inner_optimizer)

    def make_outer_optimizer(self):
        """The run's outer optimizer, whose moments the inner one may share.

        Raises:
            ImportError: "adam-8bit" without `bitsandbytes`.
        """
        return _optimizer(self.optimizer, self.lr, self)

    def make_method(self) -> Method:
        """The run's method."""
        return METHODS[self.method](
            inner=self.make_inner_optimizer(),
            inner_steps=self.inner_steps,
            moments=self.moments,
            mode=self.gradient,
            clip=self.clip if self.clip_support else None,
            join=self.join,
            tokens_at_once=TOKENS_AT_ONCE,
        )

    def make_sampler(self, tasks: Sequence[Task], tokenizer) -> EpisodeSampler:
        """What draws the run's meta-batches from ``tasks``."""
        tasks = limit(
            tasks,
            task_share=self.task_share,
            record_share=self.record_share,
            seed=self.seed,
        )
        method = self.make_method()
        return EpisodeSampler(
            tasks,
            PromptEncoder(tokenizer, self.format),
            self.seed,
            n_tasks=self.tasks_per_step,
            inner_steps=method.inner_steps,
            prompts=self.prompts,
            demonstrations=self.demonstrations if method.demonstrations else 0,
            sampling=self.sampling,
            independent=self.independent_draws,
            query_tasks=self.query_tasks,
            inner_batch=self.inner_batch,
            instructions=method.instructions,
        )

    def _check_moments(self) -> None:
        """An inner phase can only share moments that its optimizer has too."""
        uses = "moments" in METHODS[self.method].takes
        inner = _plain(self.inner_optimizer or self.optimizer)
        same = OPTIMIZERS[inner].slots == OPTIMIZERS[_plain(self.optimizer)].slots
        if uses and self.moments != "fresh" and not same:
            raise ValueError(
                f"moments: expected 'fresh' where inner_optimizer, {inner!r}, has "
                f"other moments than optimizer, {self.optimizer!r}, found "
                f"{self.moments!r}"
            )


def _optimizer(name: str, lr: float, config: TrainConfig):
    known = fields_of(name)
    own = {n: getattr(config, n) for n in ("betas", "eps_root") if n in known}
    return make_optimizer(name, lr, **own)


def _plain(optimizer: str) -> str:
    """The optimizer that is the same with moments as ordinary tensors."""
    return optimizer.removesuffix("-8bit")


def _text(name: str, value) -> str:
    if not isinstance(value, (str, Path)) or not str(value).strip():
        raise ValueError(f"{name}: expected a text or a path, found {shown(value)}")
    return _characters(value)


def _characters(value: str | Path) -> str:
    """What is written there; of an enumeration's member ``str`` gives the name."""
    return str.__str__(value) if isinstance(value, str) else str(value)


def _choice(name: str, value, known: Sequence[str]) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name}: expected a text, found {shown(value)}")
    check_choice(name, value, known)
    return _characters(value)


def _betas(name: str, value) -> tuple[float, ...]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise ValueError(f"{name}: expected two numbers, found {shown(value)}")
    return tuple(check_number(name, beta, most=1, below=True) for beta in value)


def _device(name: str, value) -> str:
    kind, _, number = value.partition(":") if isinstance(value, str) else ("", "", "")
    numbered = not number or kind == "cuda" and number.isdecimal()
    if kind not in ("auto", "cpu", "cuda", "mps") or not numbered:
        raise ValueError(
            f"{name}: expected auto, cpu, mps, cuda or cuda:1, found {shown(value)}"
        )
    return _characters(value)


_share = partial(check_number, least=0, most=1, above=True)
_count = partial(check_integer, most=MOST_TASKS)
_length = partial(check_integer, least=3, most=MOST_TOKENS)

CHOICES: dict[str, Iterable[str]] = {
    "method": METHODS,
    "optimizer": OPTIMIZERS,
    "inner_optimizer": OPTIMIZERS,
    "moments": MOMENTS,
    "join": JOINS,
    "gradient": DERIVATIVES,
    "sampling": SAMPLING,
    "query_tasks": QUERY_TASKS,
    "inner_batch": INNER_BATCH,
    "mode": MODES,
    "separator": SEPARATORS,
    "dtype": DTYPE_NAMES,
}
"""The values that a field of few values can have."""

CHECKS: dict[str, Callable] = {
    **{name: partial(_choice, known=tuple(CHOICES[name])) for name in CHOICES},
    **dict.fromkeys(("benchmark", "setting", "model"), _text),
    **dict.fromkeys(("allow_missing", "faithful", "clip_support", "bos"), check_truth),
    "independent_draws": check_truth,
    **dict.fromkeys(("task_share", "record_share"), _share),
    "tokenizer": or_none(_text),
    "seed": partial(check_integer, least=0, most=LARGEST),
    "steps": partial(check_integer, least=1, most=MOST_STEPS),
    **dict.fromkeys(("tasks_per_step", "prompts"), partial(_count, least=1)),
    **dict.fromkeys(("inner_steps", "demonstrations"), _count),
    "inner_optimizer": or_none(partial(_choice, known=tuple(OPTIMIZERS))),
    **dict.fromkeys(("lr", "clip"), partial(check_rate, above=True)),
    **dict.fromkeys(("inner_lr", "eps_root"), check_rate),
    "betas": _betas,
    **dict.fromkeys(("max_length", "max_example_length"), _length),
    "lora": partial(check_integer, most=MOST_TOKENS),
    "prompts_at_once": or_none(partial(_count, least=1)),
    "device": _device,
    "skip_steps": partial(check_integer, most=MOST_STEPS),
    "looks": partial(check_integer, most=MOST_LOOKS),
}
"""What each field is checked by: (name, value) → the value as it is kept."""
