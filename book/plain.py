"""Plain notebooks for Jupyter and Colab, made from the executed chapters.

python book/plain.py FOLDER_OF_CHAPTERS OUTPUT [--repository OWNER/NAME]
                     [--commit SHA]

The chapters are written for the book, in MyST. Other programs show its
formulas, numbers, references and solutions as source. Here formulas become $$,
numbers and references become text, and solutions are folded. With a repository
and a commit the first cell installs the package from there.
"""

import argparse
import re
from pathlib import Path

import nbformat
import yaml
from nbformat.v4 import new_markdown_cell

ROOT = Path(__file__).parents[1]
FENCE = re.compile(
    r"^(?P<ticks>`{3,})\{(?P<kind>[\w-]+)\}(?P<title>[^\n]*)\n"
    r"(?P<body>.*?)^(?P=ticks)[ \t]*$\n?",
    re.MULTILINE | re.DOTALL,
)
LABELLED = re.compile(
    r"\$\$(?P<body>(?:(?!\$\$).)*)\$\$[ \t]*\((?P<label>[\w-]+)\)", re.DOTALL
)
OPTION = re.compile(r"\A(?::([\w-]+):[ \t]*([^\n]*)\n)")
HIDDEN = {"hide-input", "hide-cell", "remove-cell", "setup"}
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
    book = Book(args.chapters)
    args.output.mkdir(parents=True, exist_ok=True)
    for name, notebook in book.notebooks.items():
        made = plain(notebook, book)
        if args.repository:
            install(made, args.repository, args.commit)
        nbformat.write(made, args.output / f"{name}.ipynb")


class Book:
    """What references point at: numbers, titles and papers."""

    def __init__(self, folder: Path):
        contents = (ROOT / "_toc.yml").read_text(encoding="utf-8")
        self.notebooks, self.labels, self.titles = {}, {}, {}
        number = 0
        for part in yaml.safe_load(contents)["parts"]:
            for entry in part["chapters"]:
                name = Path(entry["file"]).name
                number += bool(part.get("numbered"))
                prefix = f"{number}." if part.get("numbered") else ""
                self._add(folder, name, prefix)
        self.papers = papers(ROOT / "book" / "references.bib")

    def _add(self, folder: Path, name: str, prefix: str) -> None:
        path = folder / f"{name}.ipynb"
        if not path.is_file():
            page = (ROOT / "book" / f"{name}.md").read_text(encoding="utf-8")
            self.titles[name] = re.search(r"(?m)^# (.+)$", page)[1]
            return
        notebook = nbformat.read(path, 4)
        self.notebooks[name] = notebook
        self.titles[name] = re.search(
            r"(?m)^# (.+)$", notebook.cells[0].source
        )[1]
        equations = figures = 0
        for cell in notebook.cells:
            caption = cell.metadata.get("mystnb", {}).get("figure", {})
            if "name" in caption:
                figures += 1
                self.labels[caption["name"]] = f"{prefix}{figures}"
            for label in equation_labels(cell.source):
                equations += 1
                self.labels[label] = f"{prefix}{equations}"


def equation_labels(source: str) -> list[str]:
    """Labels of the numbered equations, in order."""
    found = {x.start(): x["label"] for x in LABELLED.finditer(source)}
    for part in FENCE.finditer(source):
        options, _ = options_of(part["body"])
        if part["kind"] == "math" and "label" in options:
            found[part.start()] = options["label"]
    return [label for _, label in sorted(found.items())]


def papers(file: Path) -> dict[str, tuple[str, str]]:
    """Key to ("Finn et al., 2017", address or "")."""
    found = {}
    text = file.read_text(encoding="utf-8")
    for key, entry in re.findall(
        r"@\w+\{(\S+),\n(.*?)^\}", text, re.MULTILINE | re.DOTALL
    ):
        fields = dict(
            re.findall(r"(?m)^\s*(\w+)\s*=\s*[{\"](.+)[}\"],?$", entry)
        )
        names = re.sub(r"[{}\\\"']", "", fields.get("author", key))
        authors = [one.split(",")[0] for one in names.split(" and ")]
        who = authors[0] + (" et al." if len(authors) > 2 else "")
        if len(authors) == 2:
            who = " and ".join(authors)
        address = fields.get("url", "")
        if "eprint" in fields:
            address = f"https://arxiv.org/abs/{fields['eprint']}"
        elif "doi" in fields:
            address = f"https://doi.org/{fields['doi']}"
        found[key] = f"{who}, {fields.get('year', '')}".rstrip(", "), address
    return found


def options_of(body: str) -> tuple[dict[str, str], str]:
    """The `:name: value` lines on top of a directive, and the rest."""
    options = {}
    while found := OPTION.match(body):
        options[found[1]] = found[2].strip()
        body = body[found.end() :]
    return options, body


def plain(notebook, book: Book):
    """The notebook with every cell readable outside the book."""
    made = nbformat.from_dict(notebook)
    values = glued(notebook)
    cells = []
    for cell in made.cells:
        if cell.cell_type == "markdown":
            cell.source = text(cell.source, book, values)
            cells.append(cell)
            continue
        figure = cell.metadata.pop("mystnb", {}).get("figure", {})
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

    def page(found) -> str:
        shown, _, target = found[1].rpartition("<")
        target = target.rstrip(">").removesuffix(".ipynb").removesuffix(".md")
        return shown.strip() or book.titles.get(target, target)

    def linked(found) -> str:
        title = book.titles.get(Path(found[1]).stem, found[1])
        return f"[{title}]({found[1]})"

    rules = [
        (r"\{glue:text\}`([^`]+)`", number),
        (r"\{eq\}`([^`]+)`", label("({})")),
        (r"\{numref\}`([^`]+)`", label("Fig. {}")),
        (r"\{cite(?::\w+)?\}`([^`]+)`", cited),
        (r"\{(?:doc|ref|term)\}`([^`]+)`", page),
        (r"(?<!\!)\[\]\(([^)]+)\)", linked),
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
        return ""
    body = text(body, book, values).strip("\n")
    if options.get("class") == "dropdown":
        return (
            f"<details>\n<summary>{title}</summary>\n\n{body}\n\n</details>\n"
        )
    heading = f"**{title or kind.capitalize()}**"
    lines = [heading, "", *body.split("\n")]
    return "\n".join(f"> {line}".rstrip() for line in lines) + "\n"


def numbered(formula: str, label: str | None, book: Book) -> str:
    """A formula on lines of its own, with its number."""
    tag = book.labels.get(label)
    end = rf" \tag{{{tag}}}" if tag else ""
    return f"$$\n{formula.strip()}{end}\n$$"


def install(notebook, repository: str, commit: str) -> None:
    """Let the setup cell install the package from ``commit``."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise SystemExit(f"repository: expected OWNER/NAME, got {repository}")
    if not re.fullmatch(r"[0-9a-f]{7,40}", commit):
        raise SystemExit(f"commit: expected a hash, found {commit!r}")
    for cell in notebook.cells:
        if "setup" in cell.metadata.get("tags", ()):
            cell.source = INSTALL.format(repository=repository, commit=commit)
            cell.outputs = []
            return
    raise SystemExit("expected a cell tagged setup, found none")


if __name__ == "__main__":
    main()
