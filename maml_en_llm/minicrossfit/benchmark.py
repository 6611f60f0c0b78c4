"""MiniCrossFit: a benchmark of small English-like tasks in MetaICL's file format, generated from a seed.

Its tasks are made so that only the demonstrations say what is asked: which word of the sentence matters, and what label
stands for what, is drawn anew for every task. Its settings are those of MetaICL (protocol section 1.5), with targets whose
domain no meta-training task has.

    load_benchmark("minicrossfit", "hr_to_lr")        "minicrossfit:easy" and "minicrossfit:hard" turn the knobs
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import check_choice
from ..protocol import SEEDS
from . import families
from .draw import Draw
from .families import DIFFICULTIES, Difficulty, Recipe
from .lexicon import DOMAINS, LABELS, UNSEEN

NAME = "minicrossfit"


SHOTS, TRAIN, TEST = 16, 160, 112  # records a seed, a meta-training file, a test file


VARIANTS = 8  # of a labelled meta-training task, with other words that matter and other labels: too many to learn by heart


# of this generator, as it was when it was imported: the cache is keyed by it
_CODE = hashlib.sha256(
    b"".join(
        (Path(__file__).parent / f"{module}.py").read_bytes()
        for module in ("lexicon", "draw", "families", "benchmark")
    )
).hexdigest()[:12]


# family: domains of its meta-training tasks | domains of its low-resource tasks, which are targets
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


# targets of their own settings only: two layers do not solve them, and one of a kind says so
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


_TABLE = _CLASSIFICATION | _NLI | _PARAPHRASE | _QUESTIONS | _FREE_FORM


@dataclass(frozen=True)
class Plan:
    """One task of the benchmark before its records are made; ``target`` says that it is low-resource."""

    family: str
    domain: str
    target: bool
    variant: int = 0

    @property
    def name(self) -> str:
        """As in ``topic-sea``, ``topic-sea-2``."""
        return f"{self.family}-{self.domain}" + (
            f"-{self.variant + 1}" if self.variant else ""
        )

    @property
    def seed(self) -> int:
        """Of the task's own choices; adding a task changes no other."""
        return (
            int.from_bytes(
                hashlib.sha256(f"{self.family}-{self.domain}".encode()).digest()[:6],
                "big",
            )
            + self.variant * 10**6
        )


def plans() -> list[Plan]:
    """All tasks, in a fixed order."""
    found = []
    for family, domains in _TABLE.items():
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


def settings() -> dict[str, dict[str, list[str]]]:
    """The seven settings: meta-training tasks, targets, and those targets whose domain is never trained on."""
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


def write_benchmark(out: str | Path, difficulty: str | Difficulty = "normal") -> str:
    """Write all task files and ``settings.json`` into the new folder ``out``; returns the digest of `folder_digest`.

    Raises:
        FileExistsError: there is something at ``out``. It appears only when it is complete.
        ValueError: an unknown difficulty.
    """
    out = Path(out)
    if out.exists():
        raise FileExistsError(f"out: {out} is there already; name a new folder")
    if isinstance(difficulty, str):
        check_choice("difficulty", difficulty, DIFFICULTIES)
        difficulty = DIFFICULTIES[difficulty]
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent) as folder:
        partial, about = Path(folder) / out.name, {}
        partial.mkdir()
        labels = _label_words(difficulty)
        for plan in plans():
            about[plan.name] = _write_task(partial, plan, labels[plan.seed], difficulty)
        content = json.dumps({"settings": settings(), "tasks": about}, indent=1) + "\n"
        (partial / "settings.json").write_bytes(content.encode())
        digest = folder_digest(partial)
        partial.rename(out)
    return digest


def folder_digest(folder: str | Path) -> str:
    """SHA-256 over the names and bytes of all files of a folder."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*.json*")):
        content = path.read_bytes()
        digest.update(
            f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode() + content
        )
    return digest.hexdigest()


def cached(source: str = NAME) -> Path:
    """The folder of ``"minicrossfit"`` or ``"minicrossfit:<difficulty>"``, written to the user's cache at first use."""
    _, _, difficulty = source.partition(":")
    check_choice("difficulty", difficulty or "normal", DIFFICULTIES)
    root = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maml_en_llm"
    )
    folder = root / f"{NAME}-{difficulty or 'normal'}-{_CODE}"
    if not folder.exists():
        try:
            write_benchmark(folder, difficulty or "normal")
        except OSError:
            if not folder.exists():  # else another process was faster
                raise
    return folder


def _label_words(difficulty: Difficulty) -> dict[int, list[str]]:
    """Label words for every task, by seed: a target's are its own as long as there are enough, training tasks share the rest."""
    pool, draw, found, words = [], Draw(0), {}, LABELS
    most = max(difficulty.labels, 3)  # natural language inference has three
    for plan in sorted(plans(), key=lambda plan: not plan.target):
        if not plan.target and words is LABELS:
            taken = {word for labels in found.values() for word in labels}
            words = [word for word in LABELS if word not in taken]
            words = words if len(words) >= most else list(LABELS)
        if plan.seed not in found:
            pool = pool if len(pool) >= most else draw.shuffled(words)
            found[plan.seed] = [pool.pop() for _ in range(most)]
    return found


def _write_task(
    folder: Path, plan: Plan, labels: list[str], difficulty: Difficulty
) -> dict:
    """One task's files; returns its entry of ``settings.json``."""
    recipe = getattr(families, plan.family)(
        Draw(plan.seed), DOMAINS[plan.domain], difficulty
    )
    labels = labels[: recipe.classes] if recipe.kind == "classification" else []
    draw, seen = Draw(plan.seed + 1 + plan.variant), set()
    parts = {f"16_{SEEDS[0]}_test": TEST} | {
        f"16_{seed}_train": SHOTS for seed in SEEDS
    }
    parts |= {} if plan.target else {f"16384_{SEEDS[0]}_train": TRAIN}
    (folder / plan.name).mkdir()
    for part, n in parts.items():
        noise = 0.0 if part.endswith("test") else difficulty.noise
        records = _records(draw, plan.name, recipe, labels, n, noise, seen)
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (folder / plan.name / f"{plan.name}_{part}.jsonl").write_bytes(lines.encode())
    return dict(
        kind=recipe.kind,
        family=plan.family,
        domain=plan.domain,
        instruction=recipe.instruction.format(labels=" , ".join(labels)),
    )


def _records(
    draw: Draw, name: str, recipe: Recipe, labels, n: int, noise: float, seen: set[str]
) -> list[dict]:
    """n records with inputs not in ``seen``, as many of each class as divides evenly."""
    records = []
    for i in draw.shuffled([i % recipe.classes for i in range(n)]):
        for _ in range(1000):
            text, answer, options = recipe.make(draw, i)
            if text not in seen:
                break
        else:
            raise ValueError(
                f"{name}: expected {n} different texts, found only {len(records)}; lower the difficulty's demands"
            )
        seen.add(text)
        if labels:
            if draw.chance(noise):
                i = draw.one([j for j in range(recipe.classes) if j != i])
            answer, options = labels[i], labels
        records.append(
            {"task": name, "input": text, "output": answer, "options": list(options)}
        )
    return records
