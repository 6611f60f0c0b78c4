"""Which tasks MiniCrossFit has, and which of them make a setting."""

import hashlib
from dataclasses import dataclass

from .lexicon import UNSEEN

# of a labelled meta-training task, with other words that matter and other labels: too
# many to learn by heart
VARIANTS = 8


# family: domains of its meta-training tasks | domains of its low-resource tasks, which
# are targets
_CLASSIFICATION = {
    "sentiment": "animals food music travel clothes | school space",
    "topic": "animals sport weather home sea | market medicine",
    "colour": "food music clothes garden | travel space",
    "size": "animals sport home market | sea medicine",
    "state": "weather clothes garden school | food space",
    "action": "animals music travel market | sport medicine",
    "order": "food sport home sea | animals space",
    "agreement": "music garden | clothes",
    "counting": "weather school market | home",
}

_NLI = {"nli": "animals travel school | food market medicine"}

_PARAPHRASE = {"paraphrase": "music sport garden | weather home space"}

_QUESTIONS = {
    "holder": "animals food garden sea | clothes space",
    "place": "music home sport | school medicine",
    "shade": "weather clothes travel | garden space",
    "which": "food school market | animals medicine",
    "pick": "animals travel home sea | music medicine",
}

_FREE_FORM = {
    "copy": "animals food |",
    "extract_noun": "music sport |",
    "extract_name": "weather travel |",
    "extract_colour": "clothes home |",
    "last": "garden school |",
    "swap": "market sea |",
    "opposite": "animals garden |",
    "first": "food sport |",
}

_MORE_TARGETS = {
    "sentiment": "sport",
    "topic": "garden",
    "colour": "sea",
    "size": "clothes",
    "state": "market",
    "action": "school",
    "order": "weather",
}


# targets of their own settings only: two layers do not solve them, and one of a kind
# says so
_BESIDE = [
    "nli-market",
    "nli-medicine",
    "paraphrase-home",
    "paraphrase-space",
    "place-school",
    "place-medicine",
    "shade-garden",
    "shade-space",
]


_DOMAINS = _CLASSIFICATION | _NLI | _PARAPHRASE | _QUESTIONS | _FREE_FORM


@dataclass(frozen=True)
class Plan:
    """One task of the benchmark before its records are made.

    ``target`` says that it is low-resource.
    """

    family: str
    domain: str
    target: bool
    variant: int = 0

    @property
    def name(self) -> str:
        """As in ``topic-sea``, ``topic-sea-2``."""
        name = f"{self.family}-{self.domain}"
        return f"{name}-{self.variant + 1}" if self.variant else name

    @property
    def seed(self) -> int:
        """Of the task's own choices; adding a task changes no other."""
        name = f"{self.family}-{self.domain}"
        drawn = hashlib.sha256(name.encode()).digest()[:6]
        return int.from_bytes(drawn, "big") + self.variant * 10**6


def plans() -> list[Plan]:
    """All tasks, in a fixed order."""
    found = []
    for family, domains in _DOMAINS.items():
        train, target = (part.split() for part in domains.split("|"))
        variants = VARIANTS if family in _CLASSIFICATION | _NLI | _PARAPHRASE else 1
        found += [
            Plan(family, domain, False, variant)
            for domain in train
            for variant in range(variants)
        ]
        found += [Plan(family, domain, True) for domain in target]
    return found + [
        Plan(family, domain, True) for family, domain in _MORE_TARGETS.items()
    ]


def task_lists() -> dict[str, dict[str, list[str]]]:
    """The seven settings.

    Meta-training tasks, targets, and those targets whose domain is never trained on.
    """
    tasks = plans()
    low = [t for t in tasks if t.target]
    high = [t for t in tasks if not t.target]
    base = [t for t in tasks if not t.variant]

    def of(family_table, among):
        return [t for t in among if t.family in family_table]

    labelled = _CLASSIFICATION | _NLI | _PARAPHRASE
    lists = {
        "hr_to_lr": (high, [t for t in low if t.name not in _BESIDE]),
        "class_to_class": (of(labelled, high), of(labelled, low)),
        "non_class_to_class": (of(_QUESTIONS | _FREE_FORM, high), of(labelled, low)),
        "qa_to_qa": (of(_QUESTIONS, high), of(_QUESTIONS, low)),
        "non_qa_to_qa": (of(labelled | _FREE_FORM, high), of(_QUESTIONS, low)),
        "non_nli_to_nli": ([t for t in high if t.family not in _NLI], of(_NLI, base)),
        "non_paraphrase_to_paraphrase": (
            [t for t in high if t.family not in _PARAPHRASE],
            of(_PARAPHRASE, base),
        ),
    }
    return {
        name: dict(
            train=[t.name for t in train],
            test=[t.name for t in test],
            unseen_domain_test=[t.name for t in test if t.domain in UNSEEN],
        )
        for name, (train, test) in lists.items()
    }
