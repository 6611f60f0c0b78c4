"""Adaptation curves: scores of targets after j gradient steps on demonstrations."""

import math
import warnings
from collections.abc import Callable, Iterable, Sequence

from ..errors import check_callable, check_integer, check_rate, shown
from ..optimizers import Adam
from ..optimizers.base import Optimizer
from ..protocol import SHOTS
from ..tasks import Benchmark, Task
from ..tasks.task import checked_tasks
from .adaptation import Adaptation, adaptations
from .benchmark import evaluate
from .held import as_targets
from .scoring import ScoresNotFinite

ADAPTATION_STEPS = (0, 1, 2, 4, 8, 16)
ADAPTATION_RATES = (3e-4, 1e-3, 3e-3)


def adaptation_curve(
    model,
    tokenizer,
    benchmark: Benchmark,
    *,
    optimizer: Optimizer,
    steps: Iterable[int] = ADAPTATION_STEPS,
    **how,
) -> dict[str, dict[int, dict]]:
    """Records of `evaluate` by number of steps, with and without demonstrations.

    ``how`` goes to `evaluate`. Returns ``{"with": {j: record}, "without": {j:
    record}}``: with the demonstrations still in the prompt, and without them.
    """
    tried = adaptations(steps, optimizer)
    found: dict[str, dict[int, dict]] = {}
    for name, k in (("with", SHOTS), ("without", 0)):
        found[name] = {
            adapt.steps: evaluate(model, tokenizer, benchmark, k=k, adapt=adapt, **how)
            for adapt in tried
        }
    return found


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
    """The rate at which ``steps`` steps help meta-training tasks most.

    Target tasks are never looked at: ``n_tasks`` of ``tasks``, at equal distances in
    the list, the first by ``seed``, are treated as targets (`as_targets`). ``how`` goes
    to `evaluate`. A rate that breaks the model is not chosen.

    Raises:
        ValueError: no rate, one that is no finite number above 0, no task to judge by,
            or none at which all scores stay finite.
    """
    rates = _check_rates(rates)
    steps = check_integer("steps", steps, 1)
    check_callable("make", make, "a function of a rate")
    check_integer("n_tasks", n_tasks, 1)
    check_integer("seed", seed)
    held = Benchmark((), _judges(tasks, n_tasks, seed))
    failed: dict[str, str] = {}

    def score(rate: float) -> float:
        adapt = Adaptation(steps=steps, optimizer=make(rate))
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            try:
                found = evaluate(model, tokenizer, held, seeds=[0], adapt=adapt, **how)
            except ScoresNotFinite:
                return -math.inf
        failed.update(found["failed"])
        return -math.inf if found["failed"] else found["mean"]

    scores = {rate: score(rate) for rate in rates}
    best = max(scores, key=scores.__getitem__)
    if scores[best] == -math.inf:
        why = [f" (task {shown(name)}: {m[:160]})" for name, m in failed.items()]
        raise ValueError(
            f"rates: expected one that leaves scores finite, found none among "
            f"{shown(rates)}; lower them{why[0] if why else ''}"
        )
    return best


def _judges(tasks: Sequence[Task], n_tasks: int, seed: int) -> tuple[Task, ...]:
    labelled = [
        task
        for task in checked_tasks("tasks", tasks)
        if task.kind != "free-form" and len(task.train) > SHOTS
    ]
    if not labelled:
        raise ValueError(
            f"tasks: expected tasks with options and more than {SHOTS} examples, "
            "found none"
        )
    every = max(len(labelled) // n_tasks, 1)
    return as_targets(labelled[seed % every :: every][:n_tasks])


def _check_rates(rates) -> tuple[float, ...]:
    if isinstance(rates, str) or not isinstance(rates, Iterable):
        raise ValueError(f"rates: expected numbers, found {shown(rates)}")
    found = tuple(check_rate("rates", rate, above=True) for rate in rates)
    if not found:
        raise ValueError("rates: expected one rate or more, found none")
    return found
