"""Adaptation at test time: a few gradient steps on a target task's own demonstrations, before its queries are scored."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

from ..meta.calculus import loss_and_grad
from ..models.loss import PromptLoss, parameters, write_back
from ..optimizers.base import Optimizer
from ..prompts import Format, PromptEncoder, collate
from ..tasks.examples import Example


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """``steps`` steps of ``optimizer`` from fresh moments,

        θ ← U(∇L(θ), s, θ),   L = the mean loss of each demonstration given all the others before it

    or, ``alone``, of each without any: in the form in which queries will be asked, with demonstrations or without.
    """

    steps: int
    optimizer: Optimizer

    def __post_init__(self):
        if self.steps < 0:
            raise ValueError(f"steps: expected at least 0, found {self.steps}")

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
        """An adapted copy of ``model``, which itself stays as it is."""
        adapted = deepcopy(model)
        if not self.steps:
            return adapted
        batch = leave_one_out(
            PromptEncoder(tokenizer, fmt),
            demonstrations,
            alone=alone,
            instruction=instruction,
        ).to(model.device)
        loss, params = PromptLoss(adapted), parameters(adapted)
        loss.check("first_order")
        state = self.optimizer.init(params)
        for _ in range(self.steps):
            params, state = self.optimizer.update(
                loss_and_grad(loss, params, batch)[1], state, params
            )
        write_back(adapted, params)
        return adapted


def leave_one_out(
    encoder: PromptEncoder,
    demonstrations: Sequence[Example],
    *,
    alone: bool = False,
    instruction: str = "",
):
    """A batch of one prompt a demonstration: it is the query; all the others come before it in their order, or none."""
    if not demonstrations:
        raise ValueError(
            "demonstrations: expected at least one to adapt to, found none"
        )
    others = [
        () if alone else [*demonstrations[:i], *demonstrations[i + 1 :]]
        for i in range(len(demonstrations))
    ]
    return collate(
        [
            encoder.training_prompt(shown, query, instruction)
            for shown, query in zip(others, demonstrations)
        ]
    )
