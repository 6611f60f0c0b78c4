"""The code of solutions, run at the end of its chapter.

A solution shows its code, and below it what the code prints. `with_cells`
appends that code to the notebook, `checked` takes it off again and compares.
"""

import re

import nbformat
from nbformat import NotebookNode

CODE = re.compile(r"^```python\n(.*?)^```\n(?:```\n(.*?)^```$)?", re.S | re.M)
TAG = "solution"


def with_cells(notebook: NotebookNode) -> NotebookNode:
    """A copy with one cell more per solution that is code."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            continue
        for code, printed in CODE.findall(cell.source):
            more = nbformat.v4.new_code_cell(code.rstrip("\n"))
            more.metadata.update(tags=[TAG], printed=printed)
            found.append(more)
    return NotebookNode(notebook | {"cells": [*notebook.cells, *found]})


def checked(notebook: NotebookNode) -> NotebookNode:
    """The notebook without those cells.

    Raises `SystemExit` where one printed something else than its solution
    shows; a solution that shows nothing is only run.
    """
    kept = []
    for cell in notebook.cells:
        if TAG not in cell.metadata.get("tags", []):
            kept.append(cell)
            continue
        streams = [o for o in cell.outputs if o.get("name") == "stdout"]
        printed = "".join(stream.text for stream in streams)
        expected = cell.metadata["printed"]
        if expected and printed.split() != expected.split():
            raise SystemExit(
                f"solution {cell.source[:60]!r}: expected it to print "
                f"{expected!r}, found {printed!r}; correct the text below it"
            )
    notebook.cells = kept
    return notebook
