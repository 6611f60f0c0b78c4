"""How long runs will take: from what runs of their kind have taken.

Units are seconds of one core for a model of 0.7 million parameters; what a machine
needs for a unit is learned from the records it has made.
"""

from collections.abc import Sequence
from statistics import median

from ..evaluation import Adaptation
from ..methods.budget import gradients_per_task
from ..protocol import SHOTS
from .adapted import JUDGES, Chosen
from .rows import RULES
from .run import Run

PROMPT = 0.010  # a forward and a backward pass of one prompt
SECOND = 1.4  # times as long is one of a pass that is differentiated twice
QUESTION = 0.0012  # one query with all its options
TARGETS, EXAMPLES = 44, 112  # of a setting, where it is not looked at
HELD_QUERIES = 32 * 20  # queries of a held set, per task of a family
START = 0.3  # loading a model
RECENT = 5  # groups of a row that its pace is learned from


def units_of_training(run: Run) -> float:
    """Units of the training alone; 0 for a row that does not train."""
    config = run.training
    if config is None:
        return 0.0
    method = config.make_method()
    passes = gradients_per_task(method, method.inner_steps)
    twice = SECOND if config.second_order else 1.0
    prompts = config.steps * config.tasks_per_step * passes * config.prompts
    return prompts * PROMPT * twice


def units_of_asking(run: Run) -> float:
    """Units of the evaluation alone."""
    if run.name in RULES:
        return START
    held = run.held * HELD_QUERIES * QUESTION
    if not run.targets:
        return START + held
    count = min(run.max_records or EXAMPLES, EXAMPLES)
    asked = TARGETS * len(run.seeds)
    found = START + held + asked * count * QUESTION
    adapt = run.evaluation.get("adapt")
    if isinstance(adapt, (Adaptation, Chosen)):
        found += asked * adapt.steps * SHOTS * PROMPT
    if isinstance(adapt, Chosen) and adapt.steps:
        steps = JUDGES * len(adapt.rates) * adapt.judged_at
        found += steps * SHOTS * PROMPT
    return found


def units_of_group(group: Sequence[Run]) -> float:
    """Units of runs that share a training.

    Steps on demonstrations are gone through once.
    """
    plain = 0.0
    adapted = {}
    for run in group:
        asking = units_of_asking(run)
        if isinstance(run.evaluation.get("adapt"), Chosen):
            key = (str(run.evaluation["k"]), run.seeds)
            adapted[key] = max(adapted.get(key, 0.0), asking)
        else:
            plain += asking
    return units_of_training(group[0]) + plain + sum(adapted.values())


class Pace:
    """Seconds per unit on this machine, learned as groups of runs end.

    Until a row's own pace is known, that of all others stands for it.
    """

    def __init__(self):
        self._seen: dict[str, list[float]] = {}

    def seconds(self, group: Sequence[Run]) -> float:
        """What a group of runs will take."""
        return units_of_group(group) * self._ratio(group[0].name)

    def note(self, name: str, seconds: float, units: float) -> None:
        """A group of this row took so long."""
        if units > 0:
            self._seen.setdefault(name, []).append(seconds / units)

    def _ratio(self, name: str) -> float:
        own = self._seen.get(name)
        if own:
            return median(own[-RECENT:])
        every = [x for ratios in self._seen.values() for x in ratios[-RECENT:]]
        return median(every) if every else 1.0
