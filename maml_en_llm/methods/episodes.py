"""Episodes: what one task contributes to one outer step."""

import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from ..errors import (
    DataError,
    check_choice,
    check_integer,
    check_once,
    check_truth,
    listed,
    shown,
)
from ..prompts import Batch, Cut, Prompt, PromptEncoder, collate
from ..tasks import Task
from ..tasks.doubled import warn_of_doubled
from .draws import Drawn, draw_prompts
from .fitting import (
    check_enough,
    check_instructions,
    check_positions,
    checked_training,
    fitting,
)

SAMPLING = ("size", "uniform")
QUERY_TASKS = ("same", "fresh")
INNER_BATCH = ("one", "all")


@dataclass(frozen=True)
class Episode:
    """One task's share of a meta-batch.

    ``support`` adapts the parameters, ``query`` scores the adapted ones.
    """

    task: str
    support: tuple[Batch, ...]
    query: Batch

    def to(self, device) -> "Episode":
        """The same episode on another device."""
        support = tuple(batch.to(device) for batch in self.support)
        return Episode(self.task, support, self.query.to(device))


class EpisodeDraw(NamedTuple):
    """An episode before its texts are read: tasks and examples by their places."""

    task: int
    query_task: int
    support: list[list[Drawn]]  # a row per inner step, a prompt per column
    query: list[Drawn]


@dataclass
class EpisodeSampler:
    """Draws meta-batches of ``n_tasks`` episodes.

    An episode is a function of (``seed``, step, index in the meta-batch) alone. Methods
    of one seed see the same meta-batches as far as they use them: the first n episodes
    of a larger meta-batch are those of a smaller one, MetaICL's query batch is
    MAML-en-LLM's, and more inner steps, prompts or demonstrations only add (see
    `draw_prompts`).

    Tasks are drawn with replacement, in proportion to their number of examples as the
    reference does ("size", protocol 3.2) or "uniform"ly. A batch has ``prompts``
    prompts; a prompt is ``demonstrations`` examples and a query example. Within an
    episode all query examples differ, and none serves as a demonstration.

    Two points that the source leaves open: the query batch holds other examples of the
    same task (``query_tasks`` = "same") or is drawn from another task ("fresh"); an
    inner step sees one support batch (``inner_batch`` = "one", k steps), or all k of
    them at once ("all", a single step).

    If ``independent``, examples are drawn independently of the task. If not, the draw
    of the task also decides the first query's example, as older runs had it.

    Examples whose target cannot fit the encoder's format are left out, with a warning;
    ``left_out`` counts them by task.

    Raises:
        DataError: no list of tasks, no task, two of one name, one with too few
            examples or, with ``instructions``, without any; what is no `Example` of two
            texts.
        ValueError: a bad argument, by name.
    """

    tasks: Sequence[Task]
    encoder: PromptEncoder
    seed: int
    n_tasks: int = 1
    inner_steps: int = 0
    prompts: int = 1
    demonstrations: int = 16
    sampling: str = "size"
    query_tasks: str = "same"
    inner_batch: str = "one"
    instructions: bool = False  # every prompt begins with its task's
    independent: bool = True
    left_out: dict[str, int] = field(default_factory=dict, init=False)

    def __post_init__(self):
        check_choice("sampling", self.sampling, SAMPLING)
        check_choice("query_tasks", self.query_tasks, QUERY_TASKS)
        check_choice("inner_batch", self.inner_batch, INNER_BATCH)
        check_truth("independent", self.independent)
        self.tasks = checked_training(self.tasks)
        least = {"seed": 0, "n_tasks": 1, "inner_steps": 0, "prompts": 1}
        for name, lowest in (least | {"demonstrations": 0}).items():
            setattr(self, name, check_integer(name, getattr(self, name), lowest))
        _check_encoder(self.encoder)
        if not self.tasks:
            raise DataError(
                "tasks: expected at least one meta-training task, found none"
            )
        check_once("tasks", [task.name for task in self.tasks], "name")
        if self.instructions:
            check_instructions(self.tasks)
        self.tasks, self.left_out, why = fitting(
            self.tasks,
            self.encoder,
            demonstrations=self.demonstrations > 0,
            instructions=self.instructions,
        )
        what = (
            f"{self.inner_steps} inner steps and a query batch of {self.prompts} "
            f"prompts each, {self.demonstrations} demonstrations"
        )
        need = (self.inner_steps + 1) * self.prompts + self.demonstrations
        check_enough(self.tasks, need, what, self.left_out, why)
        warn_of_doubled("tasks", self.tasks)
        if self.left_out:
            counts = listed(f"{name} ({n})" for name, n in self.left_out.items())
            warnings.warn(
                f"examples that do not fit are left out of {counts}; the first: {why}",
                stacklevel=3,
            )
        sizes = [len(task.train) for task in self.tasks]
        weights = sizes if self.sampling == "size" else [1] * len(sizes)
        self._cumulated = list(accumulate(weights))

    def check_positions(self, positions: int | None) -> None:
        """Raise `ValueError` where a prompt may not fit a model's ``positions``."""
        check_positions(
            self.tasks,
            self.encoder,
            positions,
            demonstrations=self.demonstrations,
            instructions=self.instructions,
        )

    def sample(self, step: int) -> list[Episode]:
        """The meta-batch of outer step ``step``."""
        return [self.episode(step, index) for index in range(self.n_tasks)]

    def episode(self, step: int, index: int) -> Episode:
        """One episode of outer step ``step``."""
        return self.encode(self.draw(step, index))

    def draw(self, step: int, index: int) -> EpisodeDraw:
        """Tasks and examples of one episode."""
        key = f"{self.seed} {check_integer('step', step)} {index}"
        rng = random.Random(key)
        places = range(len(self.tasks))
        task, other = rng.choices(places, cum_weights=self._cumulated, k=2)
        query_task = other if self.query_tasks == "fresh" else task
        if self.independent:  # one key for both would begin with one random number
            key += " records"
        query, *support = self._prompts_of(task, key)
        if query_task != task:
            query, *_ = self._prompts_of(query_task, key)
        return EpisodeDraw(task, query_task, support, query)

    def encode(self, draw: EpisodeDraw) -> Episode:
        """The episode that a draw stands for."""
        task = self.tasks[draw.task]
        query_task = self.tasks[draw.query_task]
        support = draw.support
        if self.inner_batch == "all" and support:
            support = [[drawn for row in support for drawn in row]]
        return Episode(
            task.name,
            tuple(self._batch(task, row) for row in support),
            self._batch(query_task, draw.query),
        )

    def cut(self, steps: int) -> Cut:
        """What the limit of length does to the prompts of the first ``steps``."""
        draws = [self.draw(s, n) for s in range(steps) for n in range(self.n_tasks)]
        return Cut.of(
            self._with_whole(self.tasks[task], one)
            for draw in draws
            for task, row in (
                *((draw.task, row) for row in draw.support),
                (draw.query_task, draw.query),
            )
            for one in row
        )

    def _prompts_of(self, task: int, key: str) -> list[list[Drawn]]:
        size = len(self.tasks[task].train)
        steps, prompts = self.inner_steps, self.prompts
        return draw_prompts(size, key, steps, prompts, self.demonstrations)

    def _batch(self, task: Task, drawn: Sequence[Drawn]) -> Batch:
        return collate([self._prompt(task, one) for one in drawn])

    def _prompt(self, task: Task, drawn: Drawn) -> Prompt:
        shown = [task.train[i] for i in drawn.shown]
        instruction = task.instruction_if(self.instructions)
        return self.encoder.training_prompt(shown, task.train[drawn.query], instruction)

    def _with_whole(self, task: Task, drawn: Drawn) -> tuple[Prompt, int]:
        """A prompt, and the number of demonstrations that it holds whole."""
        shown = [task.train[i] for i in drawn.shown]
        instruction = task.instruction_if(self.instructions)
        prompt = self._prompt(task, drawn)
        return prompt, self.encoder.whole(shown, prompt, instruction)


def _check_encoder(encoder) -> None:
    is_class = isinstance(encoder, type)
    if is_class or not callable(getattr(encoder, "check_target", None)):
        raise ValueError(
            f"encoder: expected PromptEncoder(tokenizer), found {shown(encoder)}"
        )
