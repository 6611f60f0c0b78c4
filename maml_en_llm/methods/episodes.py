"""Episodes: what one task contributes to one outer step, k support batches and a query batch."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import DataError, check_choice
from ..prompts import Batch, PromptEncoder, collate
from ..tasks.benchmark import Task

SAMPLING = ("size", "uniform")


QUERY_TASKS = ("same", "fresh")


INNER_BATCH = ("one", "all")


@dataclass(frozen=True)
class Episode:
    """One task's share of a meta-batch: ``support`` adapts the parameters, ``query`` scores the adapted ones."""

    task: str
    support: tuple[Batch, ...]
    query: Batch


@dataclass
class EpisodeSampler:
    """Draws meta-batches of ``n_tasks`` episodes.

    Tasks are drawn with replacement, in proportion to their number of records as the reference does (``"size"``,
    protocol 3.2) or uniformly. A batch has ``prompts`` prompts; a prompt is ``demonstrations`` examples and a query
    record. Within an episode all query records differ, and none serves as a demonstration.

    Two points that the source leaves open: the query batch holds other examples of the same task (``query_tasks`` =
    "same") or is drawn from another task ("fresh"); an inner step sees one support batch (``inner_batch`` = "one", k
    steps), or all k of them at once ("all", a single step).
    """

    tasks: Sequence[Task]
    encoder: PromptEncoder
    rng: random.Random
    n_tasks: int = 1
    inner_steps: int = 0
    prompts: int = 1
    demonstrations: int = 16
    sampling: str = "size"
    query_tasks: str = "same"
    inner_batch: str = "one"
    instructions: bool = False  # every prompt begins with its task's

    def __post_init__(self):
        for name, known in (
            ("sampling", SAMPLING),
            ("query_tasks", QUERY_TASKS),
            ("inner_batch", INNER_BATCH),
        ):
            check_choice(name, getattr(self, name), known)
        if not self.tasks:
            raise DataError(
                "tasks: expected at least one meta-training task, found none"
            )
        silent = [
            task.name
            for task in self.tasks
            if self.instructions and not task.instruction
        ]
        if silent:
            raise DataError(
                f"tasks: expected an instruction for each, found none for {', '.join(silent)}; settings.json may "
                'give one, under "tasks", or choose a method without instructions'
            )
        need = self._queries + self.demonstrations
        short = [
            f"{task.name} ({len(task.train)})"
            for task in self.tasks
            if len(task.train) < need
        ]
        if short:
            raise DataError(
                f"tasks: an episode takes {need} different records ({self.inner_steps} inner steps and a query batch of "
                f"{self.prompts} prompts each, {self.demonstrations} demonstrations); too few in {', '.join(short)}; "
                "lower inner_steps, prompts or demonstrations, or leave those tasks out"
            )

    @property
    def _queries(self) -> int:
        return (self.inner_steps + 1) * self.prompts

    def sample(self) -> list[Episode]:
        """One meta-batch."""
        tasks = self._draw_tasks()
        queries = self._draw_tasks() if self.query_tasks == "fresh" else tasks
        return [self._episode(task, other) for task, other in zip(tasks, queries)]

    def _draw_tasks(self) -> list[Task]:
        weights = (
            [len(task.train) for task in self.tasks]
            if self.sampling == "size"
            else None
        )
        return self.rng.choices(self.tasks, weights, k=self.n_tasks)

    def _episode(self, task: Task, query_task: Task) -> Episode:
        prompts, n = (
            self._prompts(task),
            self._queries - self.prompts,
        )  # n of them are for the inner steps
        query = prompts[n:] if query_task is task else self._prompts(query_task)[n:]
        size = max(n, 1) if self.inner_batch == "all" else self.prompts
        support = [collate(prompts[i : min(i + size, n)]) for i in range(0, n, size)]
        return Episode(task.name, tuple(support), collate(query))

    def _prompts(self, task: Task) -> list:
        queries = self.rng.sample(range(len(task.train)), self._queries)
        return [
            self._prompt(task, query, self._shown(task, queries)) for query in queries
        ]

    def _shown(self, task: Task, queries: list[int]) -> list[int]:
        drawn = self.rng.sample(
            range(len(task.train)), self.demonstrations + len(queries)
        )
        return [i for i in drawn if i not in queries][: self.demonstrations]

    def _prompt(self, task: Task, query: int, shown: list[int]):
        instruction = task.instruction if self.instructions else ""
        return self.encoder.training_prompt(
            [task.train[i] for i in shown], task.train[query], instruction
        )
