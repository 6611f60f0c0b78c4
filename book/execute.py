"""Run one chapter with papermill, and the code of its solutions.

python book/execute.py NOTEBOOK OUTPUT [-p name value ...] [--store]
"""

import argparse
import ast
import os
import signal
from difflib import get_close_matches
from pathlib import Path

import nbformat
import papermill
from maml_en_llm.errors import check_integer, check_once
from maml_en_llm.provenance import check_file, write_whole

import book_runs
import solutions

# what may name a local folder; addresses and names of models are left alone
FOLDERS = ("METAICL_DATA", "GPT2_BPE", "SMOLLM2")
PARAMETERS = ("model", "tokenizer", "benchmark", "records", "keep")
LONGEST = 2**31 - 1  # seconds


def main():
    """Execute NOTEBOOK in its folder; OUTPUT appears whole, or not at all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument(
        "-p",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        dest="parameters",
    )
    parser.add_argument(
        "--store",
        action="store_true",
        help="keep nothing that differs from run to run",
    )
    parser.add_argument(
        "--timeout",
        type=int,
        default=900,
        help="seconds for the whole notebook",
    )
    args = parser.parse_args()
    parameters = {name: literal(value) for name, value in args.parameters}
    notebook, known = read(args.notebook)
    check(args.notebook, known, parameters)
    try:
        check_once("-p", [name for name, _ in args.parameters])
        check_integer("--timeout", args.timeout, 1, LONGEST)
        check_file(args.output)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    make_absolute(os.environ, FOLDERS)
    make_absolute(parameters, PARAMETERS)
    limit(args.timeout)
    if not parameters:  # the text of solutions is of the defaults, too
        notebook = solutions.with_cells(notebook)
    notebook = papermill.execute_notebook(
        notebook,
        None,
        parameters,
        cwd=args.notebook.parent,
        progress_bar=False,
        execution_timeout=args.timeout,
    )
    signal.alarm(0)
    notebook = solutions.checked(notebook)
    book_runs.note(notebook)
    copy_tags(notebook)
    if args.store:
        strip(notebook)
    write_whole(args.output, nbformat.writes(notebook) + "\n")


def literal(text: str):
    """Number, truth value, None or list as Python writes it, or else text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def read(path: Path):
    """The notebook, and the names that its ``parameters`` cell sets.

    `SystemExit` names the file for what is no notebook.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
        known = list(papermill.inspect_notebook(path))
    except Exception as error:  # whatever stops one of them
        reason = getattr(error, "strerror", None) or str(error)
        raise SystemExit(
            f"{path}: expected a notebook, found {type(error).__name__} "
            f"({reason[:200]}); name an .ipynb file"
        ) from None
    return notebook, known


def make_absolute(values, names) -> None:
    """Chapters run in their folder, where relative paths point elsewhere."""
    for name in names:
        value = values.get(name)
        if isinstance(value, str) and value and os.path.exists(value):
            values[name] = os.path.realpath(value)


def check(notebook: Path, known: list, parameters: dict):
    """Refuse names that the notebook's ``parameters`` cell does not set.

    papermill takes them and changes nothing.
    """
    for name in parameters:
        if name not in known:
            near = get_close_matches(name, known, n=3, cutoff=0.5)
            hint = f"it has {', '.join(known) or 'none'}"
            if near:
                hint = f"did you mean {' or '.join(near)}?"
            raise SystemExit(
                f"{notebook}: expected a parameter of the notebook, "
                f"found {name!r}; {hint}"
            )


def limit(seconds: int):
    """Raise TimeoutError after ``seconds``.

    If papermill then waits for a dead kernel, the process ends 30 s later.
    """

    def stop(*_):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(30)
        raise TimeoutError(
            f"expected the notebook to end within {seconds} s; "
            "allow more with --timeout"
        )

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)


def copy_tags(notebook):
    """Give the cell of injected parameters the tags of the parameters cell.

    papermill drops them; with them it is shown alike.
    """
    tags = {
        kind: cell.metadata.tags
        for cell in notebook.cells
        for kind in cell.metadata.get("tags", [])
    }
    if "injected-parameters" in tags:
        tags["injected-parameters"] += [
            t for t in tags["parameters"] if t != "parameters"
        ]


def strip(notebook):
    """Drop times and paths: a new run differs only in what it computes.

    What `book_runs.note` wrote stays: the outputs are of that machine.
    """
    for item in (notebook, *notebook.cells):
        item.metadata.pop("papermill", None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if not cell.metadata.get("tags"):
            cell.metadata.pop("tags", None)
        for output in cell.get("outputs", []):
            # nbval compares stderr, and it is where versions and machines show
            if output.get("name") == "stderr":
                raise SystemExit(
                    "expected no output on stderr in a stored notebook, "
                    f"found {output.text!r}"
                )


if __name__ == "__main__":
    main()
