"""The book's pages and cells, without running them."""

import ast
import importlib
import json
import re
from pathlib import Path

import pytest
from helpers import assigned, code_cells, source

from maml_en_llm import runs

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
HIDDEN = {"hide-input", "hide-cell", "remove-cell", "parameters"}
CONTENTS = re.findall(r"(?m)^ *- file: (\S+)", (ROOT / "_toc.yml").read_text("utf-8"))
NOTEBOOKS = [file for page in CONTENTS if (file := ROOT / f"{page}.ipynb").is_file()]
CHAPTERS = [path for path in NOTEBOOKS if path.stem[0].isdigit()]
MOST_WORDS, MOST_CELLS = 2500, 30
TERM = r"\{term\}`([^`]+)`"
# what is not counted as words of prose
FENCE = r"(?ms)^(`{3,}|:{3,})\{%s.*?^\1[`:]*[ \t]*$"
NOT_PROSE = [
    FENCE % r"admonition\} Solution",
    FENCE % r"math\}",
    r"(?s)\$\$.*?\$\$",
    r"(?m)^\|.*$",
]


def without_magics(text: str) -> str:
    return re.sub(r"(?m)^(\s*)%.*$", r"\1pass", text)


@pytest.mark.parametrize("chapter", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_fit_a_page(chapter):
    """79 columns; 15 lines of code where a reader sees them."""
    for number, cell in enumerate(code_cells(chapter)):
        lines = source(cell).split("\n")
        assert max(map(len, lines)) <= 79, f"cell {number}: {lines[0]}"
        shown = not HIDDEN & set(cell["metadata"].get("tags", ()))
        code = [line for line in lines if line.strip()]
        assert not shown or len(code) <= 15, f"cell {number}: {lines[0]}"


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_links_its_words_to_the_glossary(chapter):
    cells = json.loads(chapter.read_text(encoding="utf-8"))["cells"]
    prose = "".join(source(x) for x in cells if x["cell_type"] == "markdown")
    linked = {x.rpartition("<")[2].rstrip(">") for x in re.findall(TERM, prose)}
    assert len(linked) >= 2


def words_of_prose(markdown: str) -> int:
    for pattern in NOT_PROSE:
        markdown = re.sub(pattern, "", markdown)
    return len(markdown.split())


@pytest.mark.parametrize("chapter", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_chapter_is_read_in_one_sitting(chapter):
    """At most 2,500 words of prose and 30 code cells, in each notebook of the contents.

    Words of prose are what white space parts in the markdown cells, without formula
    blocks (``{math}`` and $$), tables and the admonitions of solutions. Code cells are
    those that are not tagged ``remove-cell``: the book shows them or can unfold them.
    """
    cells = json.loads(chapter.read_text(encoding="utf-8"))["cells"]
    texts = [source(cell) for cell in cells if cell["cell_type"] == "markdown"]
    kept = [
        cell
        for cell in code_cells(chapter)
        if "remove-cell" not in cell["metadata"].get("tags", ())
    ]
    words = words_of_prose("\n\n".join(texts))
    assert words <= MOST_WORDS
    assert len(kept) <= MOST_CELLS


# a heading of an exercise, such as "**1. (a number)**"
EXERCISE = re.compile(r"(?m)^\*\*(\d+)\. \(([a-z ]+)\)\*\*")
KINDS = ({"a number", "numbers"}, {"code"}, {"what breaks if"})


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_has_exercises_of_three_kinds(chapter):
    """A number, code, and what breaks if; they are numbered from 1."""
    cells = json.loads(chapter.read_text(encoding="utf-8"))["cells"]
    texts = [source(cell) for cell in cells if cell["cell_type"] == "markdown"]
    text = "\n\n".join(texts).partition("\n## Exercises\n")[2]
    numbers, kinds = zip(*EXERCISE.findall(text), strict=True)
    assert [int(number) for number in numbers] == [*range(1, len(numbers) + 1)]
    for kind in KINDS:
        assert kind & set(kinds), f"expected an exercise ({min(kind)}), found {kinds}"


def test_what_counts_as_a_word_of_prose():
    text = (
        "Two words.\n\n| a | table |\n| --- | --- |\n\n"
        "```{math}\n:label: e\nx = 1\n```\n$$ y = 2 $$ (eq)\n\n"
        ":::{admonition} Solution of 1\n:class: dropdown\nIt is 1.\n:::\n"
        "````{admonition} Solution\n```python\nx\n```\n````\nEnd."
    )
    assert words_of_prose(text) == 4  # "Two", "words.", "(eq)" and "End."


@pytest.mark.parametrize("chapter", NOTEBOOKS, ids=lambda path: path.stem)
def test_zero_is_a_value_and_not_the_default(chapter):
    """Parameters are never taken by ``parameter or default``."""
    cells = code_cells(chapter)
    tagged = [c for c in cells if "parameters" in c["metadata"].get("tags", ())]
    names = assigned(source(tagged[0]))
    for cell in cells:
        for node in ast.walk(ast.parse(without_magics(source(cell)))):
            if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
                first = node.values[0]
                plain = isinstance(first, ast.Name) and first.id in names
                assert not plain, f"{ast.unparse(node)}"


def test_sections_of_the_protocol_that_the_code_cites_exist():
    page = (BOOK / "protocol.md").read_text(encoding="utf-8")
    headings = re.findall(r"(?m)^#+ (\d+(?:\.\d+)?)\b", page)
    there = {*headings, *re.findall(r"(?m)^\*\*(\d+\.\d+)\*\*", page)}
    folders = ("maml_en_llm", "benchmarks", "tests")
    cited = set()
    for path in (p for folder in folders for p in (ROOT / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for found in re.findall(r"protocol (?:section )?(\d[\d., and]*\d|\d)", text):
            cited |= set(re.findall(r"\d+(?:\.\d+)?", found))
    assert {"0.7", "2.3", "4.2", "8.2"} <= cited, "the search finds nothing"
    assert not cited - there


def test_tuned_constants_of_the_table_exist():
    """Rows such as "`ROWS`, `BLOCK` on a CPU (models.attention)"."""
    page = (BOOK / "notation.md").read_text(encoding="utf-8")
    table = page[page.index("## Tuned constants") :]
    rows = re.findall(r"(?m)^\| ((?:`[A-Z_]+`(?:, )?)+)[^|(]*\(([a-z_.]+)\)", table)
    assert len(rows) > 8
    for names, module in rows:
        found = importlib.import_module(f"maml_en_llm.{module}")
        for name in re.findall(r"[A-Z_]+", names):
            assert hasattr(found, name), f"maml_en_llm.{module}.{name}"


def test_pages_of_the_contents_exist():
    pages = re.findall(r"(?m)^ *- file: (\S+)", (ROOT / "_toc.yml").read_text())
    for page in pages:
        assert list(ROOT.glob(f"{page}.*")), page


def test_the_front_page_says_what_the_scorecard_says(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK))
    words = importlib.import_module("book_parts").found_words
    row = dict(unit="points", ours=1.24, low=-0.5, high=3.0, verdict="not reproduced")
    assert words(row) == "+1.2 points (-0.5 to +3.0): not reproduced"
    assert words(row | dict(low=None)) == "not reproduced"
    assert words(row | dict(unit="cells")) == "not reproduced"
    assert words(None).startswith("not yet")


def test_the_table_of_rows_says_what_the_records_of_e1_have():
    """n, prompts and gradients per outer step, and the two rates."""
    budgets = {
        "MetaICL, equal prompts": "prompts",
        "MetaICL, equal gradients": "gradients",
    }
    own = {"control (α = 0)": runs.CONTROL}
    lines = (BOOK / "comparison.md").read_text("utf-8").split("| row | n |")[1]
    told = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in lines.split("```")[0].splitlines()[2:]
        if line.startswith("|")
    ]
    assert len(told) == 6
    rows = runs.published_rows("E1")
    here = [r for r in rows if (r["setting"], r["mode"]) == ("hr_to_lr", "direct")]
    for row, *numbers in told:
        method = own.get(row, row.split(",")[0])
        kind = runs.RowKind(method=method, budget=budgets.get(row, "steps"))
        (first, *_) = filter(kind.holds, here)
        batches = 1 if method == "MetaICL" else 2  # of support and of query
        found = [
            first["n"],
            first["n"] * batches * first["run"]["config"]["prompts"],
            first["budget"]["gradients"] // first["steps"],
            first["lr"],
        ]
        if batches == 2:
            found.append(first["inner_lr"])
        assert [float(number) for number in numbers[: len(found)]] == found, row
