"""book/execute.py: what it refuses before a chapter runs, and the folders it names."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from helpers import script

BOOK = Path(__file__).parents[1] / "book"


@pytest.fixture
def execute(monkeypatch):
    monkeypatch.syspath_prepend(BOOK)
    return script("book", "execute")


@pytest.fixture
def run(execute, tmp_path, monkeypatch):
    """Call it in a folder with a notebook; ``run.given`` is what papermill got."""
    cell = nbformat.v4.new_code_cell("model = None\nn = 1")
    cell.metadata.tags = ["parameters"]
    notebook = nbformat.v4.new_notebook(cells=[cell])
    notebook.metadata.kernelspec = {"name": "python3", "language": "python"}
    nbformat.write(notebook, tmp_path / "a.ipynb")
    (tmp_path / "folder").mkdir()
    (tmp_path / "damaged.ipynb").write_text("{")
    (tmp_path / "other.ipynb").write_text("[]")
    monkeypatch.chdir(tmp_path)

    def papermill(notebook, _, parameters, **how):
        call.given = parameters, how
        return notebook

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["execute.py", *words])
        execute.main()

    call.given = None
    monkeypatch.setattr(execute.papermill, "execute_notebook", papermill)
    return call


@pytest.mark.parametrize(
    "words, message",
    [
        (["none.ipynb", "b.ipynb"], "none.ipynb: expected a notebook.*No such file"),
        (["damaged.ipynb", "b.ipynb"], "damaged.ipynb: expected a notebook"),
        (["other.ipynb", "b.ipynb"], "other.ipynb: expected a notebook"),
        (["folder", "b.ipynb"], "folder: expected a notebook.*directory"),
        (["a.ipynb", "folder"], "output: expected a file, found a folder"),
        (["a.ipynb", "a.ipynb/b.ipynb"], "output: expected a path that can be written"),
        (["a.ipynb", "b.ipynb", "--timeout", "0"], "--timeout: .*at least 1.*found 0"),
        (["a.ipynb", "b.ipynb", "--timeout", "-1"], "--timeout: .*found -1"),
        (["a.ipynb", "b.ipynb", "--timeout", "9999999999"], "--timeout: .*at most"),
        (["a.ipynb", "b.ipynb", "-p", "n", "1", "-p", "n", "2"], "-p: .*n more than"),
        (["a.ipynb", "b.ipynb", "-p", "m", "1"], "a.ipynb: .*found 'm'; it has model"),
    ],
)
def test_what_cannot_be_run_is_refused_before_it_runs(run, tmp_path, words, message):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit, match=message) as refused:
        run(*words)
    assert run.given is None and len(str(refused.value)) < 400
    assert sorted(tmp_path.rglob("*")) == before


def test_the_output_is_whole_and_alone(run, tmp_path):
    run("a.ipynb", "new/folder/b.ipynb")
    output = tmp_path / "new/folder/b.ipynb"
    assert [*output.parent.iterdir()] == [output]
    expected = nbformat.read("a.ipynb", 4)
    expected.metadata.ran_with = nbformat.read(output, 4).metadata.ran_with
    assert nbformat.read(output, 4) == expected
    nbformat.write(expected, "c.ipynb")
    assert output.read_bytes() == (tmp_path / "c.ipynb").read_bytes()


def test_a_notebook_keeps_its_machine_and_a_stored_one_no_times(run, execute):
    notebook = nbformat.read("a.ipynb", 4)
    notebook.metadata.papermill = {"duration": 1.0}
    nbformat.write(notebook, "a.ipynb")
    for words, kept in (([], True), (["--store"], False)):
        run("a.ipynb", "b.ipynb", *words)
        found = nbformat.read("b.ipynb", 4).metadata
        assert set(found.ran_with) == {"device", "versions"}
        assert found.ran_with.device == execute.book_runs.machine()
        assert ("papermill" in found) == kept


def test_local_folders_are_named_from_the_root(run, execute, tmp_path, monkeypatch):
    for name in execute.FOLDERS:
        monkeypatch.setenv(name, "folder")
    run("a.ipynb", "b.ipynb", "-p", "model", "folder", "-p", "n", "3")
    assert run.given[0] == {"model": str(tmp_path / "folder"), "n": 3}
    assert {os.environ[name] for name in execute.FOLDERS} == {str(tmp_path / "folder")}
    for value in ("gpt2", "hf://datasets/a/b/data", ""):
        monkeypatch.setenv("METAICL_DATA", value)
        run("a.ipynb", "b.ipynb", "-p", "model", value)
        assert run.given[0] == {"model": value}
        assert os.environ["METAICL_DATA"] == value
