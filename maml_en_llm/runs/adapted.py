"""Adaptation at a rate that is chosen per model, on held tasks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from ..errors import check_integer, check_number, shown
from ..evaluation import Adaptation
from ..evaluation.adaptation import MOST_ADAPTATION_STEPS
from ..evaluation.adaptation_curves import ADAPTATION_RATES
from ..evaluation.arguments import adapted_to
from ..evaluation.held import held_loss
from ..optimizers import make_optimizer
from ..prompts import Format
from ..tasks import Task

JUDGES = 12  # held tasks that a rate is chosen on
JUDGED_BY = 32  # of their test examples


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """``steps`` steps on a target's demonstrations, at the best of ``rates``.

    The rate is chosen for each model by itself: that of the lowest held NLL after
    ``judged_at`` steps on `JUDGES` held tasks, asked with as many demonstrations as the
    targets and in their format. No target is looked at. With 0 steps nothing is chosen.
    """

    steps: int
    rates: tuple[float, ...] = ADAPTATION_RATES
    judged_at: int = 4
    optimizer: str = "adam"

    def __post_init__(self):
        check_integer("steps", self.steps, most=MOST_ADAPTATION_STEPS)
        check_integer("judged_at", self.judged_at, 1, MOST_ADAPTATION_STEPS)
        if isinstance(self.rates, str) or not isinstance(self.rates, Iterable):
            raise ValueError(f"rates: expected a list, found {shown(self.rates)}")
        object.__setattr__(self, "rates", tuple(self.rates))
        for rate in self.rates:
            make_optimizer(self.optimizer, check_number("rates", rate, above=True))
        if not self.rates:
            raise ValueError("rates: expected one rate or more, found none")

    def made(self, rate: float):
        """The optimizer at a rate."""
        return make_optimizer(self.optimizer, rate)

    def losses(
        self, model, tokenizer, held: Sequence[Task], k: int, fmt: Format
    ) -> dict[float, float]:
        """Held NLL by rate; infinite for a rate that breaks the model."""
        every = max(len(held) // JUDGES, 1)
        judges = list(held)[::every][:JUDGES]
        return {
            rate: self._loss(model, tokenizer, judges, k, fmt, rate)
            for rate in self.rates
        }

    def _loss(self, model, tokenizer, judges, k: int, fmt: Format, rate) -> float:
        adapt = Adaptation(steps=self.judged_at, optimizer=self.made(rate))
        losses = []
        for task in judges:
            shots = adapted_to(task, next(iter(task.demonstrations)), k)
            adapted = adapt(model, tokenizer, shots, fmt, alone=k == 0)
            form = vars(fmt) | dict(demonstrations=k, max_records=JUDGED_BY)
            losses.append(held_loss(adapted, tokenizer, [task], **form))
        return fmean(losses)
