"""The code in the solutions of exercises is run with its chapter, and compared."""

from pathlib import Path

import nbformat
import pytest
from helpers import script

BOOK = Path(__file__).parents[1] / "book"
FENCED = """\
````{admonition} Solution
:class: dropdown
```python
print(one + 1)
```
```
2
```
It is two.
````
"""


@pytest.fixture(scope="module")
def solutions():
    return script("book", "solutions")


def chapter(*texts: str) -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_markdown_cell(text) for text in texts]
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("one = 1"), *cells]
    )


def run(notebook, *printed: str):
    """As if the appended cells had printed this."""
    for cell, text in zip(notebook.cells[-len(printed) :], printed, strict=True):
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
    return notebook


def test_code_is_appended_and_taken_off_again(solutions):
    plain = chapter(FENCED, "no code", FENCED)
    longer = solutions.with_cells(plain)
    assert [cell.source for cell in longer.cells[-2:]] == ["print(one + 1)"] * 2
    assert len(plain.cells) == 4  # as it was
    nbformat.validate(longer)
    checked = solutions.checked(run(longer, "2\n", "2\n"))
    assert [cell.source for cell in checked.cells] == [c.source for c in plain.cells]


def test_another_result_than_the_text_shows_is_an_error(solutions):
    longer = solutions.with_cells(chapter(FENCED))
    with pytest.raises(SystemExit, match=r"print\(one \+ 1\).*'2\\n', found '3\\n'"):
        solutions.checked(run(longer, "3\n"))


def test_code_that_shows_no_result_is_only_run(solutions):
    silent = FENCED.replace("```\n2\n```\n", "")
    longer = solutions.with_cells(chapter(silent))
    assert len(solutions.checked(run(longer, "anything\n")).cells) == 2


def test_the_chapters_fences_are_found(solutions):
    """None is missed because it is written otherwise."""
    for path in BOOK.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        text = [c.source for c in notebook.cells if c.cell_type == "markdown"]
        fences = sum(part.count("```python\n") for part in text)
        found = len(solutions.with_cells(notebook).cells) - len(notebook.cells)
        assert found == fences, path.name
