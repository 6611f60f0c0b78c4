"""Adaptation curves: the score on the target tasks after j gradient steps on their demonstrations."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..errors import DataError
from ..optimizers.base import Optimizer
from ..optimizers.rules import Adam
from ..tasks.benchmark import Benchmark, Task
from .adaptation import Adaptation
from .benchmark import SHOTS, evaluate

ADAPTATION_STEPS = (0, 1, 2, 4, 8, 16)


ADAPTATION_RATES = (3e-4, 1e-3, 3e-3)


HELD_OUT = 40  # records of a meta-training task that a rate is judged by


def adaptation_curve(
    model,
    tokenizer,
    benchmark: Benchmark,
    *,
    optimizer: Optimizer,
    steps: Sequence[int] = ADAPTATION_STEPS,
    **how,
) -> dict[str, dict[int, dict]]:
    """Records of `evaluate` by number of steps, with the demonstrations still in the prompt and without them.

    ``how`` goes to `evaluate`. Returns ``{"with": {j: record}, "without": {j: record}}``.
    """
    return {
        name: {
            j: evaluate(
                model,
                tokenizer,
                benchmark,
                k=k,
                adapt=Adaptation(steps=j, optimizer=optimizer),
                **how,
            )
            for j in steps
        }
        for name, k in (("with", SHOTS), ("without", 0))
    }


def choose_rate(
    model,
    tokenizer,
    tasks: Sequence[Task],
    *,
    rates: Sequence[float] = ADAPTATION_RATES,
    steps: int = 4,
    make: Callable[[float], Optimizer] = Adam,
    n_tasks: int = 12,
    seed: int = 0,
    **how,
) -> float:
    """The rate of ``rates`` at which ``steps`` steps help meta-training tasks most; target tasks are never looked at.

    ``n_tasks`` of ``tasks``, at equal distances in the list, the first by ``seed``, are treated as targets: 16 of their records are the demonstrations, the
    next `HELD_OUT` the queries. ``how`` goes to `evaluate`.
    """
    labelled = [
        task for task in tasks if task.kind != "free-form" and len(task.train) > SHOTS
    ]
    if not labelled or n_tasks < 1:
        raise ValueError(
            f"tasks: expected tasks with options and more than {SHOTS} records, found none"
        )
    every = max(len(labelled) // n_tasks, 1)
    chosen = labelled[seed % every :: every][:n_tasks]
    held = tuple(
        replace(
            t,
            demonstrations={0: t.train[:SHOTS]},
            test=t.train[SHOTS : SHOTS + HELD_OUT],
        )
        for t in chosen
    )

    def score(rate: float) -> float:
        adapt = Adaptation(steps=steps, optimizer=make(rate))
        with warnings.catch_warnings(
            action="ignore", category=UserWarning
        ):  # a rate that breaks the model is simply not chosen
            try:
                found = evaluate(
                    model, tokenizer, Benchmark((), held), seeds=[0], adapt=adapt, **how
                )
            except DataError:
                raise
            except ValueError:
                return -math.inf
        return -math.inf if found["failed"] else found["mean"]

    scores = {rate: score(rate) for rate in rates}
    best = max(scores, key=scores.get)
    if scores[best] == -math.inf:
        raise ValueError(
            f"rates: expected one that leaves scores finite, found none among {rates}; lower them"
        )
    return best
