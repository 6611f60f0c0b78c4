"""What the book's references point at: titles, numbers and papers.

Numbers are those of the built pages. Figures and equations count from 1 in
each numbered chapter and in each appendix, which has a letter. All other pages
share one count, from the front page on.
"""

import re
from collections import Counter
from pathlib import Path
from string import ascii_uppercase

import nbformat
import yaml

ROOT = Path(__file__).parents[1]
# a directive between backticks or colons; the closing line may be longer
FENCE = re.compile(
    r"^(?P<marks>`{3,}|:{3,})\{(?P<kind>[\w-]+)\}(?P<title>[^\n]*)\n"
    r"(?P<body>.*?)^(?P=marks)[`:]*[ \t]*$\n?",
    re.MULTILINE | re.DOTALL,
)
LABELLED = re.compile(
    r"\$\$(?P<body>(?:(?!\$\$).)*)\$\$[ \t]*\((?P<label>[\w-]+)\)", re.DOTALL
)
OPTION = re.compile(r"\A(?::([\w-]+):[ \t]*([^\n]*)\n)")
HEADING = re.compile(r"(?m)^(?:\((?P<label>[\w-]+)\)=\n+)?#+ (?P<title>.+)$")


class Book:
    """Chapters by name, and what can be referred to.

    ``address`` is where the pages are published, or "": then a reference to a
    page that is no notebook is its title.
    """

    def __init__(self, folder: Path, address: str = ""):
        contents = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
        self.address = address
        self.notebooks, self.labels = {}, {}
        self.titles = {}  # of pages, by name
        self.places = {}  # label of a section: its page and title
        outside = Counter()
        self._add(folder, contents["root"], "", outside)
        for part in contents["parts"]:
            letters = part.get("style") == "alphaupper"
            for number, entry in enumerate(part["chapters"], 1):
                prefix, count = "", outside
                if part.get("numbered"):  # each numbered part begins anew
                    of_page = (
                        ascii_uppercase[number - 1] if letters else number
                    )
                    prefix, count = f"{of_page}.", Counter()
                self._add(folder, entry["file"], prefix, count)
        self.papers = papers(ROOT / "book" / "references.bib")

    def _add(self, folder: Path, file: str, prefix: str, count: Counter):
        """Titles and numbers of one page; ``count`` goes on."""
        name = Path(file).name
        path = folder / f"{name}.ipynb"
        if path.is_file():
            self.notebooks[name] = nbformat.read(path, 4)
            cells = self.notebooks[name].cells
            texts = [x.source for x in cells if x.cell_type == "markdown"]
            found = [one for cell in cells for one in enumerated(cell)]
        else:
            texts = [(ROOT / "book" / f"{name}.md").read_text("utf-8")]
            found = in_text(texts[0])
        for heading in HEADING.finditer("\n\n".join(texts)):
            self.titles.setdefault(name, heading["title"])
            if heading["label"]:
                self.places[heading["label"]] = name, heading["title"]
        for box in FENCE.finditer("\n\n".join(texts)):
            label = options_of(box["body"])[0].get("name")
            if box["kind"] == "admonition" and label:  # an algorithm
                self.places[label] = name, box["title"].strip()
        for kind, label in found:
            count[kind] += 1
            if label:
                self.labels[label] = f"{prefix}{count[kind]}"

    def link(self, name: str, shown: str = "", anchor: str = "") -> str:
        """A link to a notebook or a published page, or else its title."""
        if name not in self.titles:
            raise SystemExit(f"expected a page of the book, found {name!r}")
        shown = shown or self.titles[name]
        if name in self.notebooks:
            return f"[{shown}]({name}.ipynb{anchor})"
        if self.address:
            return f"[{shown}]({self.address}book/{name}.html{anchor})"
        return shown


def enumerated(cell) -> list[tuple[str, str | None]]:
    """Kind and label of all that has a number in a cell, in order."""
    if cell.cell_type == "markdown":
        return in_text(cell.source)
    figure = cell.metadata.get("mystnb", {}).get("figure")
    return [("figure", figure.get("name"))] if figure else []


def in_text(source: str) -> list[tuple[str, str | None]]:
    """Kind and label of figures and labelled equations, in order."""
    found = {
        x.start(): ("equation", x["label"]) for x in LABELLED.finditer(source)
    }
    for start, kind, options in directives(source):
        if kind == "math" and "label" in options:
            found[start] = "equation", options["label"]
        if kind in ("figure", "scorecard"):
            found[start] = "figure", options.get("name")
    return [found[start] for start in sorted(found)]


def directives(source: str, start: int = 0):
    """Start, kind and options of each directive, of nested ones as well."""
    for part in FENCE.finditer(source):
        options, _ = options_of(part["body"])
        yield start + part.start(), part["kind"], options
        yield from directives(part["body"], start + part.start("body"))


def options_of(body: str) -> tuple[dict[str, str], str]:
    """The `:name: value` lines on top of a directive, and the rest."""
    options = {}
    while found := OPTION.match(body):
        options[found[1]] = found[2].strip()
        body = body[found.end() :]
    return options, body


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
