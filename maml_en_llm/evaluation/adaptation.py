"""Adaptation at test time: a few gradient steps on a target's own demonstrations."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass

from ..errors import check_integer, check_once, check_truth, shown
from ..meta.calculus import loss_and_grad
from ..models import PromptLoss, parameters, positions_of, write_back
from ..optimizers.base import Optimizer
from ..prompts import Batch, Format, PromptEncoder, collate
from ..tasks import Example
from .arguments import check_adaptable, checked_examples
from .scoring import ScoresNotFinite

MOST_ADAPTATION_STEPS = 10**5


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """A few gradient steps on a target's demonstrations, before its queries are scored.

        θ ← U(∇L(θ), s, θ),   ``steps`` times from fresh moments

    L is the mean loss of each demonstration after all others or, when called with
    ``alone``, after none: as the queries will be asked. Only parameters that require a
    gradient move.

    Raises `ValueError` for steps that are no whole number from 0 to
    `MOST_ADAPTATION_STEPS`, or another thing for the optimizer.
    """

    steps: int
    optimizer: Optimizer

    def __post_init__(self):
        steps = check_integer("steps", self.steps, most=MOST_ADAPTATION_STEPS)
        object.__setattr__(self, "steps", steps)
        wanted = ("init", "update")
        is_class = isinstance(self.optimizer, type)
        if is_class or not all(hasattr(self.optimizer, name) for name in wanted):
            raise ValueError(
                f"optimizer: expected an optimizer such as Adam(1e-3), found "
                f"{shown(self.optimizer)}"
            )

    def __call__(
        self,
        model,
        tokenizer,
        demonstrations: Sequence[Example],
        fmt: Format,
        *,
        alone: bool = False,
        instruction: str = "",
    ):
        """An adapted copy of ``model``, which itself stays as it is.

        Raises `ValueError` for what is no model or cannot be copied, where there is
        nothing to adapt to, a prompt is longer than the model has positions for, its
        dropout is random, or no step moves it.
        """
        check_adaptable(model, self.steps)
        check_truth("alone", alone)
        adapted = deepcopy(model)
        if not self.steps:
            return adapted
        encoder = PromptEncoder(tokenizer, fmt)
        batch = leave_one_out(
            encoder, demonstrations, alone=alone, instruction=instruction
        )
        for _ in steps_on(adapted, batch, self.optimizer, self.steps):
            pass
        return adapted


def adaptations(steps: Iterable[int], optimizer: Optimizer) -> list[Adaptation]:
    """One for each number of steps; `ValueError` for none, or one that stands twice."""
    if not isinstance(steps, Iterable) or isinstance(steps, (str, bytes)):
        raise ValueError(
            f"steps: expected numbers of steps, such as (0, 1, 4), found {shown(steps)}"
        )
    found = [Adaptation(steps=j, optimizer=optimizer) for j in steps]
    if not found:
        raise ValueError("steps: expected one number of steps or more, found none")
    check_once("steps", [adapt.steps for adapt in found])
    return found


def steps_on(model, batch: Batch, optimizer: Optimizer, steps: int) -> Iterator[int]:
    """Move ``model`` by ``steps`` steps on a batch; yields 1, 2, … after each.

    Raises `ValueError` for prompts longer than the model has positions for.
    """
    _check_length(batch, model)
    batch = batch.to(model.device)
    loss, params = PromptLoss(model), parameters(model)
    loss.check("first_order")
    state = optimizer.init(params)
    for step in range(steps):
        _, grads = loss_and_grad(loss, params, batch)
        params, state = optimizer.update(grads, state, params)
        write_back(model, params)
        yield step + 1


@contextmanager
def after_steps(steps: int, optimizer: Optimizer) -> Iterator[None]:
    """Scores of an adapted model: where they are no numbers, its rate is blamed."""
    try:
        yield
    except ScoresNotFinite as error:
        if not steps:
            raise
        found = str(error).partition(";")[0]
        raise ScoresNotFinite(
            f"{found} after adaptation ({steps} × {shown(optimizer)}); lower the rate, "
            "or the model's weights may be damaged"
        ) from error


def leave_one_out(
    encoder: PromptEncoder,
    demonstrations: Sequence[Example],
    *,
    alone: bool = False,
    instruction: str = "",
) -> Batch:
    """One prompt per demonstration: it is the query, after all others in their order.

    With ``alone`` no other one comes before it.
    """
    demonstrations = checked_examples("demonstrations", demonstrations)
    if not demonstrations:
        raise ValueError(
            "demonstrations: expected at least one to adapt to, found none"
        )
    prompts = []
    for i, query in enumerate(demonstrations):
        others = [] if alone else [*demonstrations[:i], *demonstrations[i + 1 :]]
        prompts.append(encoder.training_prompt(others, query, instruction))
    return collate(prompts)


def _check_length(batch: Batch, model) -> None:
    longest, room = batch.input_ids.shape[1], positions_of(model)
    if room is not None and longest > room:
        raise ValueError(
            f"max_length: expected prompts of at most {room} tokens, the model's "
            f"limit, found {longest} in the prompts to adapt to; lower max_length"
        )
