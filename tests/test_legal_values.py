"""Chapters with other parameters: every legal value works, to the last cell.

The sets below hold boundary and other legal values, each set of one notebook. One is
run, another every day; all of them, as every week, where the environment has
``LEGAL_VALUES=all``. What is refused, `test_parameters.py` looks at.
"""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from helpers import assigned, code_cells, python, source

ROOT = Path(__file__).parents[1]
LARGEST = 2**63 - 1  # of a seed
# values that are made, or found, when a set is run
DATA, MODEL, BPE = "real files", "a small GPT-2", "its tokenizer"
KEEP, NONE, FEW, ONE = "a new folder", "no records", "few records", "one experiment's"

SETS = {
    "01-in-context-learning": [
        dict(demonstrations=1, draws=1, records=1, setting="class_to_class"),
        dict(demonstrations=0, draws=1, records=2, separator="space"),
        dict(
            demonstrations=8, draws=1, records=1, max_length=32, max_example_length=16
        ),
        dict(benchmark="minicrossfit:hard", model="tiny-base", draws=1, records=1)
        | dict(demonstrations=2, setting="non_nli_to_nli", preset="mini"),
        dict(benchmark=DATA, model=MODEL, tokenizer=BPE, draws=1, records=1)
        | dict(setting="class_to_class"),
    ],
    "02-meta-gradients": [
        dict(inner_steps=1, inner_lr=0.5, draws=1, seed=7),
        dict(inner_steps=64, inner_lr=0.5, draws=2, seed=2**63),
        dict(inner_steps=2, inner_lr=1e-300, draws=1, seed=123),
        dict(preset="paper", inner_steps=2, draws=1),
    ],
    "03-meta-training": [
        dict(steps=1, seeds=1, inner_steps=2, inner_lr=0, adaptation=1, mode="channel"),
        dict(steps=2, seeds=2, inner_lr=0.5, lr=1e-8, moments="fresh")
        | dict(setting="class_to_class"),
        dict(steps=3, seeds=1, lr=0.1, moments="shared-frozen", adaptation=0),
        dict(benchmark="minicrossfit:easy", model="mini-base", steps=1, seeds=1),
        dict(keep=KEEP, setting="non_paraphrase_to_paraphrase", steps=2, seeds=1),
        dict(preset="colab", benchmark="minicrossfit:hard", model="tiny-base")
        | dict(steps=1),
        dict(benchmark=DATA, model=MODEL, tokenizer=BPE, steps=1, seeds=1)
        | dict(setting="class_to_class"),
    ],
    "04-baselines": [
        dict(steps=1, mode="channel", setting="non_qa_to_qa"),
        dict(steps=2, setting="non_nli_to_nli", records=FEW),
        dict(steps=1, setting="class_to_class", mode="channel", records=ONE),
        dict(preset="cpu", steps=1, records=NONE),
    ],
    "05-adaptation": [
        dict(rates=[1e-6], mode="channel", setting="class_to_class"),
        dict(rates=[1, 1e-4], setting="non_nli_to_nli", records=FEW),
        dict(preset="cpu", rates=[1], records=ONE)
        | dict(setting="non_paraphrase_to_paraphrase"),
    ],
    "06-limited-data": [
        dict(steps=1, task_share=1e-9, record_share=1, mode="channel"),
        dict(steps=2, setting="qa_to_qa", records=FEW),
        dict(steps=1, task_share=1, record_share=0.06, records=NONE)
        | dict(setting="non_paraphrase_to_paraphrase"),
        dict(preset="cpu", steps=1, records=ONE),
    ],
    "07-optimizers": [
        dict(seed=LARGEST, warm_steps=1, draws=2, inner_lr=1e-8, sgd_lr=0.001),
        dict(seed=3, warm_steps=2, draws=3, inner_lr=1, sgd_lr=10, records=FEW),
        dict(preset="cpu", warm_steps=1, draws=2, records=NONE),
    ],
    "08-tasks": [
        dict(seed=5, warm_steps=1, pool=16, walks=2),
        dict(seed=LARGEST, warm_steps=2, pool=17, walks=3, records=FEW),
        dict(preset="cpu", warm_steps=1, pool=16, walks=2, records=ONE),
    ],
    "09-real-model": [
        dict(length=9, tasks=1, prompts=1),
        dict(length=10**6, tasks=10**5, prompts=1000, preset="paper"),
    ],
    "10-scorecard": [
        dict(again=0),
        dict(again=0, records=NONE),
        dict(again=1, records=FEW),
        dict(again=3, records=ONE),
    ],
    "appendix-new-seeds": [dict(records=NONE), dict(records=FEW), dict(records=ONE)],
    "appendix-fast-sweep": [dict(seed=2**63, preset="paper")],
    "appendix-robustness": [dict(records=NONE), dict(records=FEW), dict(records=ONE)],
}
# a notebook's sets lie far apart: days one after the other try different notebooks
ORDER = [
    (stem, given)
    for _, stem, given in sorted(
        ((place + 0.5) / len(sets), stem, given)
        for stem, sets in SETS.items()
        for place, given in enumerate(sets)
    )
]
ALL = os.environ.get("LEGAL_VALUES", "") == "all"


def chosen(place: int) -> tuple[str, dict]:
    """The set of a place, or today's."""
    day = datetime.now(UTC).date().toordinal()
    return ORDER[place if ALL else day % len(ORDER)]


def folder_of_records(kind: str, folder: Path) -> Path:
    """No records, some of each kind of run, or all of one experiment and no others."""
    folder.mkdir()
    results = ROOT / "results"
    if kind == ONE:
        shutil.copy(results / "E1.jsonl", folder)
    if kind == FEW:
        for path in [*results.glob("E?.jsonl"), results / "cells.jsonl"]:
            rows = path.read_text(encoding="utf-8").splitlines(keepends=True)[:7]
            (folder / path.name).write_text("".join(rows), encoding="utf-8")
    return folder


@pytest.mark.long
@pytest.mark.parametrize("place", range(len(ORDER) if ALL else 1))
def test_a_chapter_works_with_legal_values(place, request, tmp_path):
    stem, given = chosen(place)
    made = {
        DATA: lambda: request.getfixturevalue("metaicl_data"),
        MODEL: lambda: request.getfixturevalue("small_gpt2"),
        BPE: lambda: request.getfixturevalue("bpe") and os.environ["GPT2_BPE"],
        KEEP: lambda: tmp_path / "kept",
    }
    for kind in (NONE, FEW, ONE):
        made[kind] = lambda kind=kind: folder_of_records(kind, tmp_path / "records")
    words = []
    for name, value in given.items():
        words += ["-p", name, made[value]() if value in [*made] else value]
    output = tmp_path / "out.ipynb"
    done = python("book/execute.py", f"book/{stem}.ipynb", output, *words)
    assert done.returncode == 0, f"{stem} with {given}:\n{done.stderr[-3000:]}"
    assert output.is_file()


def test_every_parameter_has_another_legal_value():
    """A new notebook, and a new parameter, gets a set."""
    for path in (ROOT / "book").glob("*.ipynb"):
        tagged = [
            cell
            for cell in code_cells(path)
            if "parameters" in cell["metadata"].get("tags", ())
        ]
        names = {name for cell in tagged for name in assigned(source(cell))}
        given = {name for changes in SETS.get(path.stem, ()) for name in changes}
        assert given == names, path.stem
