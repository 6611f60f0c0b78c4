"""Episodes: what one task contributes to one outer step, k support batches and a query batch."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from .prompts import Batch, PromptEncoder, collate
from .records import DataError
from .tasks import Task

SAMPLING = ("size", "uniform")


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
    record. Within an episode all query records differ, and none serves as a demonstration: the query batch comes from
    the same task as the support batches, from other examples.
    """

    tasks: Sequence[Task]
    encoder: PromptEncoder
    rng: random.Random
    n_tasks: int = 1
    inner_steps: int = 0
    prompts: int = 1
    demonstrations: int = 16
    sampling: str = "size"

    def __post_init__(self):
        if self.sampling not in SAMPLING:
            raise ValueError(f"sampling: expected one of {', '.join(SAMPLING)}, found {self.sampling!r}")
        if not self.tasks:
            raise DataError("tasks: expected at least one meta-training task, found none")
        need = self._queries + self.demonstrations
        short = [f"{task.name} ({len(task.train)})" for task in self.tasks if len(task.train) < need]
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
        weights = [len(task.train) for task in self.tasks] if self.sampling == "size" else None
        return [self._episode(task) for task in self.rng.choices(self.tasks, weights, k=self.n_tasks)]

    def _episode(self, task: Task) -> Episode:
        queries = self.rng.sample(range(len(task.train)), self._queries)
        prompts = [self._prompt(task, query, self._shown(task, queries)) for query in queries]
        batches = [collate(prompts[i : i + self.prompts]) for i in range(0, len(prompts), self.prompts)]
        return Episode(task.name, tuple(batches[:-1]), batches[-1])

    def _shown(self, task: Task, queries: list[int]) -> list[int]:
        drawn = self.rng.sample(range(len(task.train)), self.demonstrations + len(queries))
        return [i for i in drawn if i not in queries][: self.demonstrations]

    def _prompt(self, task: Task, query: int, shown: list[int]):
        return self.encoder.training_prompt([task.train[i] for i in shown], task.train[query])
