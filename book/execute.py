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

import solutions

FOLDERS = (
    "METAICL_DATA",
    "GPT2_BPE",
)  # of local data; hub addresses are left alone


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
    check(args.notebook, parameters)
    make_absolute(os.environ)
    limit(args.timeout)
    notebook = nbformat.read(args.notebook, as_version=4)
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
    copy_tags(notebook)
    if args.store:
        strip(notebook)
    unfinished = args.output.with_name(f".{args.output.name}.unfinished")
    nbformat.write(notebook, unfinished)
    os.replace(unfinished, args.output)


def literal(text: str):
    """Number, truth value, None or list as Python writes it, or else text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def make_absolute(variables) -> None:
    """Chapters run in their folder, where relative paths point elsewhere."""
    for name in FOLDERS:
        if variables.get(name) and Path(variables[name]).exists():
            variables[name] = str(Path(variables[name]).resolve())


def check(notebook: Path, parameters: dict):
    """Refuse names that the notebook's ``parameters`` cell does not set.

    papermill takes them and changes nothing.
    """
    known = list(papermill.inspect_notebook(notebook))
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
    """Drop times and paths: a new run differs only in what it computes."""
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
