"""Which tasks MiniCrossFit has, and which of them make a setting."""

import hashlib
from dataclasses import dataclass

from .lexicon import UNSEEN

# of a meta-training task, with other words that matter, other labels, another question:
# too many to learn by heart
VARIANTS = 8
FREE_FORM_VARIANTS = 3  # in which nothing differs but the examples


# family: domains of its meta-training tasks | domains of its low-resource tasks, which
# are targets
_CLASSIFICATION = {
    "sentiment": "animals food music travel clothes | school sport space",
    "topic": "animals sport weather home sea | market garden medicine",
    "colour": "food music clothes garden | travel sea space",
    "size": "animals sport home market | sea clothes medicine",
    "state": "weather clothes garden school | food market space",
    "action": "animals music travel market | sport school medicine",
    "order": "food sport home sea | animals weather space",
    "agreement": "music garden home | clothes medicine",
    "contrast": "food sport travel | school space",
    "counting": "weather school market | home medicine",
}

_NLI = {"nli": "animals travel school | food market medicine"}

_PARAPHRASE = {"paraphrase": "music sport garden | weather home space"}

_QUESTIONS = {
    "holder": "animals food sea | clothes space",
    "place": "music home sport | school medicine",
    "shade": "weather clothes travel | garden space",
    "which": "food school market home | animals music travel weather space medicine",
    "feature": "animals sport sea | garden space",
    "trio": "food garden travel | home market medicine",
    "pick": "animals travel home sea | music food medicine",
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

# targets of their own settings only, so that no family is too large a part of HR→LR
_BESIDE = [
    "nli-market",
    "paraphrase-home",
    "holder-clothes",
    "place-school",
    "shade-garden",
    "which-animals",
    "which-music",
    "which-travel",
    "which-space",
]


_DOMAINS = _CLASSIFICATION | _NLI | _PARAPHRASE | _QUESTIONS | _FREE_FORM


@dataclass(frozen=True)
class Plan:
    """One task of the benchmark before its examples are made.

    ``target`` says that it is low-resource.
    """

    family: str
    domain: str
    target: bool
    variant: int = 0
    turn: int = 0  # which of the family's questions this task asks

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
        variants = FREE_FORM_VARIANTS if family in _FREE_FORM else VARIANTS
        found += [
            Plan(family, domain, False, variant, turn=number + variant)
            for number, domain in enumerate(train)
            for variant in range(variants)
        ]
        found += [
            Plan(family, domain, True, turn=turn) for turn, domain in enumerate(target)
        ]
    return found


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
