"""The rows of a table: methods by name, and rules that no model gave."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..evaluation import majority, oracle, random_guess
from ..tasks import Benchmark


@dataclass(frozen=True)
class Method:
    """A row: what differs in its training, and in its evaluation.

    ``train`` are fields of `TrainConfig`, or None for the base model as it is;
    ``evaluate`` are arguments of `evaluate`; ``modes`` those it is defined for. With
    ``n_of`` it has as many tasks per outer step as that row has at the same budget.
    """

    train: Mapping | None = None
    evaluate: Mapping = field(default_factory=dict)
    modes: tuple[str, ...] = ("direct", "channel")
    n_of: str | None = None


# A run's hash covers what its name stands for here, so that a row of a log does not
# outlive a change of this table.
METHODS: dict[str, Method] = {
    "zero-shot": Method(evaluate=dict(k=0)),
    "PMI zero-shot": Method(evaluate=dict(k=0, pmi=True), modes=("direct",)),
    "in-context": Method(),
    "PMI in-context": Method(evaluate=dict(pmi=True), modes=("direct",)),
    "multi-task zero-shot": Method(dict(method="multi-task"), dict(k=0)),
    "MetaICL": Method(dict(method="metaicl")),
    "MetaICT": Method(dict(method="metaict"), dict(instructions=True)),
    "FOMAML": Method(dict(method="fomaml")),
    "Reptile": Method(dict(method="reptile")),
    "MAML-en-LLM": Method(dict(method="maml-en-llm")),
}

CONTROL = "MAML-en-LLM, α = 0"
# What shows whether a row does what its name says. With an inner rate of 0 the second
# order is the first, which is cheaper; everything else is MAML-en-LLM's.
CONTROLS: dict[str, Method] = {
    CONTROL: Method(dict(method="fomaml", inner_lr=0.0), n_of="MAML-en-LLM"),
}


def row_of(name: str) -> Method | None:
    """The row of that name; None for a rule."""
    return METHODS.get(name) or CONTROLS.get(name)


def _guess(bench: Benchmark, how: dict) -> dict:
    return random_guess(bench, max_records=how["max_records"])  # draws, not seeds


RULES: Mapping[str, Callable[[Benchmark, dict], dict]] = {
    "random guess": _guess,
    "majority": lambda bench, how: majority(bench, **how),
    "oracle": lambda bench, how: oracle(bench, **how),
}
