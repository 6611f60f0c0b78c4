"""Plain notebooks for Jupyter and Colab, made from the executed chapters.

python book/plain.py FOLDER_OF_CHAPTERS OUTPUT [--repository OWNER/NAME]
                     [--commit SHA]

The chapters are written for the book, in MyST. Other programs show its
formulas, numbers, references and solutions as source. Here formulas become $$,
numbers and references become text, solutions are folded, and parameters are a
form. With a repository and a commit the first cell installs the package from
there, and references to pages that are no notebooks lead to the published
book.
"""

import argparse
import re
from pathlib import Path

import nbformat
from nbformat.v4 import new_markdown_cell

from contents import FENCE, LABELLED, Book, options_of
from forms import form
from stamp import check_commit, site

HIDDEN = {"hide-input", "hide-cell", "remove-cell", "setup"}
# [words or none](chapter.ipynb) and the like
PAGE = r"(?<!\!)\[([^\]]*)\]\(([\w./-]+\.(?:ipynb|md))(#[\w-]+)?\)"
INSTALL = """# Installs the package from the commit that made this notebook.
import subprocess
import sys
from importlib.util import find_spec

if find_spec("maml_en_llm") is None:
    source = "git+https://github.com/{repository}@{commit}"
    pip = [sys.executable, "-m", "pip", "install", "-q", source]
    subprocess.run(pip, check=True)"""


def main() -> None:
    """Convert every chapter of the table of contents."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chapters", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--repository", help="OWNER/NAME, as GitHub has it")
    parser.add_argument("--commit")
    args = parser.parse_args()
    if (args.repository is None) != (args.commit is None):
        parser.error("expected --repository and --commit, or neither")
    address = site(args.repository) if args.repository else ""
    book = Book(args.chapters, address)
    args.output.mkdir(parents=True, exist_ok=True)
    for name, notebook in book.notebooks.items():
        made = plain(notebook, book)
        if args.repository:
            install(made, args.repository, args.commit)
        nbformat.write(made, args.output / f"{name}.ipynb")


def plain(notebook, book: Book):
    """The notebook with every cell readable outside the book."""
    made = nbformat.from_dict(notebook)
    made.metadata.pop("papermill", None)  # it holds the source once more
    values = glued(notebook)
    cells = []
    for cell in made.cells:
        cell.metadata.pop("papermill", None)
        if cell.cell_type == "markdown":
            cell.source = text(cell.source, book, values)
            cells.append(cell)
            continue
        figure = cell.metadata.pop("mystnb", {}).get("figure", {})
        if "parameters" in cell.metadata.get("tags", ()):
            cell.source = form(cell.source)
        if HIDDEN & set(cell.metadata.get("tags", ())):
            cell.metadata["jupyter"] = {"source_hidden": True}
            cell.metadata["cellView"] = "form"
        cell.outputs = [out for out in cell.outputs if not only_glue(out)]
        cells.append(cell)
        if figure:
            label = book.labels.get(figure.get("name"), "")
            caption = text(figure["caption"], book, values)
            below = new_markdown_cell(f"*Fig. {label}.* {caption}")
            below["id"] = f"{cell['id']}-caption"[-64:]
            cells.append(below)
    made.cells = cells
    return made


def only_glue(output) -> bool:
    """Whether an output holds a number for the text and nothing to be seen."""
    kinds = output.get("data", {})
    return bool(kinds) and all("papermill.record" in kind for kind in kinds)


def glued(notebook) -> dict[str, str]:
    """Numbers that the code holds ready for the text, by name."""
    values = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            for kind, value in output.get("data", {}).items():
                if name and kind.endswith("text/plain"):
                    values[name] = value.strip("'\"")
    return values


def text(source: str, book: Book, values: dict[str, str]) -> str:
    """MyST as Markdown that any notebook program shows."""
    source = FENCE.sub(lambda found: block(found, book, values), source)
    source = LABELLED.sub(
        lambda found: numbered(found["body"], found["label"], book), source
    )

    def number(found) -> str:
        name, _, form = found[1].partition(":")
        if name not in values:
            raise SystemExit(f"expected a glued number {name!r}, found none")
        return format(float(values[name]), form) if form else values[name]

    def label(kind: str):
        def named(found) -> str:
            target = found[1].rpartition("<")[2].rstrip(">")
            reference = book.labels.get(target)
            if reference is None:
                raise SystemExit(f"expected a label, found {target!r}")
            return kind.format(reference)

        return named

    def cited(found) -> str:
        names = []
        for key in found[1].split(","):
            who, address = book.papers[key.strip()]
            names.append(f"[{who}]({address})" if address else who)
        return f"({'; '.join(names)})"

    def section(found) -> str:
        shown, _, target = found[1].rpartition("<")
        target = target.rstrip(">").strip()
        if target not in book.places:
            raise SystemExit(f"expected a section's label, found {target!r}")
        page, title = book.places[target]
        return book.link(page, shown.strip() or title, f"#{target}")

    def page(found) -> str:
        shown, _, target = found[1].rpartition("<")
        return book.link(Path(target.rstrip(">")).stem, shown.strip())

    def term(found) -> str:
        shown, _, target = found[1].rpartition("<")
        return shown.strip() or target

    def linked(found) -> str:
        return book.link(Path(found[2]).stem, found[1], found[3] or "")

    rules = [
        (r"\{glue:text\}`([^`]+)`", number),
        (r"\{eq\}`([^`]+)`", label("({})")),
        (r"\{numref\}`([^`]+)`", label("Fig. {}")),
        (r"\{cite(?::\w+)?\}`([^`]+)`", cited),
        (r"\{ref\}`([^`]+)`", section),
        (r"\{doc\}`([^`]+)`", page),
        (r"\{term\}`([^`]+)`", term),
        (PAGE, linked),
        (r"(?m)^\(([\w-]+)\)=\n", lambda _: ""),
    ]
    for pattern, rule in rules:
        source = re.sub(pattern, rule, source)
    return source


def block(found, book: Book, values: dict[str, str]) -> str:
    """One directive."""
    options, body = options_of(found["body"])
    title, kind = found["title"].strip(), found["kind"]
    if kind == "math":
        return numbered(body, options.get("label"), book) + "\n"
    if kind == "raw":
        return moving(book) if "data-bowls" in body else ""
    body = text(body, book, values).strip("\n")
    if "dropdown" in options.get("class", "").split():
        return (
            f"<details>\n<summary>{title}</summary>\n\n{body}\n\n</details>\n"
        )
    heading = f"**{title or kind.capitalize()}**"
    lines = [heading, "", *body.split("\n")]
    return "\n".join(f"> {line}".rstrip() for line in lines) + "\n"


def moving(book: Book) -> str:
    """What stands in place of the figure that the book's pages move."""
    place = f"[book]({book.address})" if book.address else "built book"
    return (
        f"*The {place} has a figure here whose start, inner rate and number "
        "of inner steps a reader moves; a notebook cannot show it.*\n"
    )


def numbered(formula: str, label: str | None, book: Book) -> str:
    """A formula on lines of its own, with its number."""
    tag = book.labels.get(label)
    end = rf" \tag{{{tag}}}" if tag else ""
    return f"$$\n{formula.strip()}{end}\n$$"


def install(notebook, repository: str, commit: str) -> None:
    """Let the setup cell install the package from ``commit``."""
    site(repository)
    check_commit(commit)
    for cell in notebook.cells:
        if "setup" in cell.metadata.get("tags", ()):
            cell.source = INSTALL.format(repository=repository, commit=commit)
            cell.outputs = []
            return
    raise SystemExit("expected a cell tagged setup, found none")


if __name__ == "__main__":
    main()
