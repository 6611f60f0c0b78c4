"""make, with a stand-in for Python: what it runs, when again, and in which folders."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Notes its words and the data folder, fails where they begin as $FAILS says, and makes
# the file that book/execute.py would.
PYTHON = """#!/bin/sh
echo "$*" >> "$CALLS"
echo "data: $METAICL_DATA" >> "$CALLS"
[ "$1" = book/execute.py ] && touch "$3"
case "$*" in "$FAILS"*) exit 1 ;; esac
exit 0
"""


@pytest.fixture
def clone(tmp_path):
    """A folder as a person may name it, with all that make looks at."""
    folder = tmp_path / "My Drive" / "Zoë's clone"
    for name in ("book", "maml_en_llm/a room", "results", ".venv/bin"):
        (folder / name).mkdir(parents=True)
    for name in ("Makefile", "requirements.txt", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    (folder / "_toc.yml").write_text("chapters:\n  - file: book/01-one\n")
    for name in ("book/01-one.ipynb", "book/notes of mine.ipynb", "book/execute.py"):
        (folder / name).write_text("{}")
    (folder / "maml_en_llm/a room/a file.py").write_text("x = 1")
    (folder / ".venv/bin/python").write_text(PYTHON)
    (folder / ".venv/bin/python").chmod(0o755)
    (folder / ".venv/.installed").touch()
    return folder


def make(clone: Path, *words: str, fails: str = "nothing", **variables: str):
    """(exit status, calls of Python without the lines on data, those lines)."""
    calls = clone / "calls"
    calls.unlink(missing_ok=True)
    # what an outer `make test` exports is not what is tried here
    outer = ("MAKE", "MFLAGS", "PRESET", "TIMEOUT", "JOBS", "PYTHON")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(outer)}
    done = subprocess.run(
        ["make", *words],
        cwd=clone,
        capture_output=True,
        text=True,
        env=kept | {"CALLS": str(calls), "FAILS": fails} | variables,
    )
    lines = calls.read_text().splitlines() if calls.exists() else []
    data = {line for line in lines if line.startswith("data: ")}
    return done, [line for line in lines if line not in data], data


@pytest.mark.parametrize(
    "fails", ["nothing", "-m pytest -q -n 2 --dist l", "-m pytest"]
)
def test_chapters_are_compared_whatever_the_tests_say(clone, fails):
    done, calls, _ = make(clone, "test", fails=fails)
    assert sorted(calls) == [
        "-m pytest -q -n 2 --dist loadfile --nbval book",
        "-m pytest -q -n 2 --dist worksteal -m not browser",
    ]  # at once, in either order
    assert (done.returncode != 0) == (fails != "nothing")


def test_a_chapter_runs_again_when_what_it_depends_on_changes(clone):
    first = ["book/execute.py book/01-one.ipynb _build/stage/book/01-one.ipynb"]
    first = [f"{first[0]} --timeout 900"]
    done, calls, _ = make(clone, "chapters")
    assert (done.returncode, calls) == (0, first), done.stderr
    assert make(clone, "chapters")[1] == []
    (clone / "maml_en_llm/a room/a file.py").write_text("x = 2")
    assert make(clone, "chapters")[1] == first
    (clone / "results/new.json").write_text("{}")
    assert make(clone, "chapters")[1] == first
    for folder in ({"METAICL_DATA": "other"}, {"GPT2_BPE": "a"}, {"SMOLLM2": "b"}):
        assert make(clone, "chapters", **folder)[1] == first
        assert make(clone, "chapters", **folder)[1] == []


@pytest.mark.parametrize("data", ["it's my däta", 'a $dollar and "quotes"', "a;b"])
def test_data_folders_reach_the_chapters_as_they_are(clone, data):
    done, _, seen = make(clone, "chapters", METAICL_DATA=data)
    assert (done.returncode, seen) == (0, {f"data: {data}"})


def test_a_preset_reaches_the_chapter(clone):
    _, calls, _ = make(clone, "chapters", "PRESET=cpu")
    assert calls[0].endswith("--timeout 21600 -p preset cpu")
