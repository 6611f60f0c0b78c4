"""MiniCrossFit: a benchmark of small English-like tasks, generated from a seed.

Its files are in MetaICL's format. Its tasks are made so that only the demonstrations
say what is asked: which word of the sentence matters, and what label stands for what,
is drawn anew for every task. Its settings are those of MetaICL (protocol 1.5), with
targets whose domain no meta-training task has.

    load_benchmark("minicrossfit", "hr_to_lr")

"minicrossfit:easy" and "minicrossfit:hard" turn the knobs.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import check_choice, shown
from ..protocol import SEEDS, SHOTS
from ..provenance import unfinished
from .draw import Draw
from .families import LABELLED
from .lexicon import DOMAINS, LABELS
from .plan import Plan, plans, task_lists
from .questions import FREE_FORM, QUESTIONS
from .recipes import DIFFICULTIES, Difficulty, Recipe

TRAIN, TEST = 160, 112  # examples of a meta-training file, of a test file
FAMILIES = LABELLED | QUESTIONS | FREE_FORM


def write_benchmark(out: str | Path, difficulty: str | Difficulty = "normal") -> str:
    """Write all task files and ``settings.json`` into the new folder ``out``.

    Returns the digest of `folder_digest`. The folder appears only when it is complete;
    of two writers of one folder the second is refused.

    Raises:
        FileExistsError: there is something at ``out``.
        ValueError: an unknown difficulty, or a place that cannot be written to.
    """
    out = Path(out)
    if isinstance(difficulty, str):
        check_choice("difficulty", difficulty, DIFFICULTIES)
        difficulty = DIFFICULTIES[difficulty]
    if not isinstance(difficulty, Difficulty):
        raise ValueError(
            f"difficulty: expected a name or a Difficulty, found {shown(difficulty)}"
        )
    try:
        _check_absent(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        with new_folder(out) as folder:
            fill(folder, difficulty)
            return folder_digest(folder)
    except FileExistsError as error:  # there before, or another writer was faster
        raise FileExistsError(
            f"out: {out} is there already; name a new folder"
        ) from error
    except OSError as error:
        raise ValueError(
            f"out: expected a new folder that can be written, found {shown(str(out))} "
            f"({error.strerror or error}); name another one"
        ) from error


def _check_absent(path: Path) -> None:
    try:
        path.lstat()  # fails, too, for a name that is too long
    except FileNotFoundError:
        return
    raise FileExistsError(str(path))


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which appears at ``path`` once it is complete.

    `FileExistsError` if there is something by then. Nothing is flushed to the disk: who
    uses the files again compares their digest.
    """
    partial = unfinished(path)
    try:
        partial.mkdir()
        yield partial
        _rename_to_new(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _rename_to_new(folder: Path, path: Path) -> None:
    try:
        folder.rename(path)
    except OSError as error:
        if os.path.lexists(path):
            raise FileExistsError(str(path)) from error
        raise


def fill(folder: Path, difficulty: Difficulty) -> None:
    """Write the benchmark into an empty folder."""
    about = {}
    labels = _label_words(difficulty)
    for plan in plans():
        own = labels.get(plan.seed, [])
        about[plan.name] = _write_task(folder, plan, own, difficulty)
    content = json.dumps({"settings": task_lists(), "tasks": about}, indent=1) + "\n"
    (folder / "settings.json").write_bytes(content.encode())


def folder_digest(folder: str | Path) -> str:
    """SHA-256 over the names and bytes of all files of a folder."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*.json*")):
        content = path.read_bytes()
        digest.update(
            f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode() + content
        )
    return digest.hexdigest()


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of the benchmark, by its name in the folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in sorted(folder.rglob("*.json*"))
    }


def _label_words(difficulty: Difficulty) -> dict[int, list[str]]:
    """Label words for every task, by seed.

    A target's are its own as long as there are enough; training tasks share the rest.
    """
    draw = Draw(0)
    words: list[str] = LABELS
    taken_away = False  # those of the targets
    pool: list[str] = []
    found: dict[int, list[str]] = {}
    most = max(difficulty.labels, 3)  # natural language inference has three
    labelled = [plan for plan in plans() if plan.family in LABELLED]
    for plan in sorted(labelled, key=lambda plan: not plan.target):
        if not plan.target and not taken_away:
            taken_away = True
            taken = {word for labels in found.values() for word in labels}
            words = [word for word in LABELS if word not in taken]
            words = words if len(words) >= most else LABELS
        if plan.seed not in found:
            pool = pool if len(pool) >= most else draw.shuffled(words)
            found[plan.seed] = [pool.pop() for _ in range(most)]
    return found


def _write_task(
    folder: Path, plan: Plan, labels: list[str], difficulty: Difficulty
) -> dict:
    """One task's files; returns its entry of ``settings.json``."""
    make_recipe = FAMILIES[plan.family]
    recipe = make_recipe(Draw(plan.seed), DOMAINS[plan.domain], difficulty, plan.turn)
    labels = labels[: recipe.classes]
    draw = Draw(plan.seed + 1 + plan.variant)
    seen: set[str] = set()
    parts = {f"16_{SEEDS[0]}_test": TEST} | {
        f"16_{seed}_train": SHOTS for seed in SEEDS
    }
    parts |= {} if plan.target else {f"16384_{SEEDS[0]}_train": TRAIN}
    (folder / plan.name).mkdir()
    for part, n in parts.items():
        noise = 0.0 if part.endswith("test") else difficulty.noise
        examples = _made(draw, plan.name, recipe, labels, n, noise, seen)
        lines = "".join(json.dumps(example) + "\n" for example in examples)
        (folder / plan.name / f"{plan.name}_{part}.jsonl").write_bytes(lines.encode())
    return dict(
        kind=recipe.kind,
        family=plan.family,
        domain=plan.domain,
        instruction=recipe.instruction.format(labels=" , ".join(sorted(labels))),
    )


def _made(
    draw: Draw, name: str, recipe: Recipe, labels, n: int, noise: float, seen: set[str]
) -> list[dict]:
    """n examples with inputs not in ``seen``.

    There are as many of each class as divides evenly.
    """
    found: list[dict] = []
    for i in draw.shuffled([i % recipe.classes for i in range(n)]):
        for _ in range(1000):
            text, answer, options = recipe.make(draw, i)
            if text not in seen:
                break
        else:
            raise ValueError(
                f"{name}: expected {n} different texts, found only {len(found)}; "
                "lower the difficulty's demands"
            )
        seen.add(text)
        if labels:
            if draw.chance(noise):
                i = draw.one([j for j in range(recipe.classes) if j != i])
            answer, options = labels[i], sorted(labels)
        found.append(
            {"task": name, "input": text, "output": answer, "options": list(options)}
        )
    return found
