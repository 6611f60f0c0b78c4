"""Plain notebooks: nothing of the book's own markup is left in them."""

import json
import re
from pathlib import Path

import nbformat
import pytest
import yaml
from helpers import script

ROOT = Path(__file__).parents[1]
MARKUP = re.compile(
    r"`{3,}\{|\{[a-z]+(?::[a-z]+)?\}`|(?<!\!)\[\]\(|^\([\w-]+\)=$", re.M
)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def plain():
    return script("book", "plain")


@pytest.fixture(scope="module")
def book(plain):
    return plain.Book(ROOT / "book")


def sources(notebook, kind: str) -> str:
    return "\n".join(c.source for c in notebook.cells if c.cell_type == kind)


def test_every_chapter_is_readable_outside_the_book(plain, book):
    assert len(book.notebooks) >= 5
    for name, notebook in book.notebooks.items():
        made = plain.plain(notebook, book)
        nbformat.validate(made)
        text = sources(made, "markdown")
        left = MARKUP.search(text)
        assert left is None, f"{name}: {text[left.start() - 60 : left.end() + 60]}"
        assert "None" not in re.findall(r"Fig\. (\S+)", text)
        ids = [cell["id"] for cell in made.cells]
        assert len(ids) == len(set(ids))
        # the code is the chapter's own, and its pictures are there
        assert sources(made, "code") == sources(notebook, "code")


def test_numbers_formulas_references_and_solutions(plain, book):
    values = {"gain": "0.12345", "machine": "two cores"}
    book.labels |= {"eq-a": "2.1", "fig-a": "2.3"}

    def text(source):
        return plain.text(source, book, values)

    assert text("{glue:text}`gain:.2f` on {glue:text}`machine`") == "0.12 on two cores"
    assert text("{eq}`eq-a`, {numref}`fig-a`") == "(2.1), Fig. 2.3"
    assert text("```{math}\n:label: eq-a\nx = 1\n```") == "$$\nx = 1 \\tag{2.1}\n$$\n"
    cited = text("{cite:p}`finn2017model`")
    assert re.fullmatch(r"\(\[Finn et al\., 2017\]\(https://arxiv\.org/\S+\)\)", cited)
    folded = text(
        "````{admonition} Solution\n:class: dropdown\n```python\nx\n```\n````"
    )
    assert folded == (
        "<details>\n<summary>Solution</summary>\n\n```python\nx\n```\n\n</details>\n"
    )
    assert text("```{admonition} Note\n:class: tip\nYes.\n```").startswith("> **Note**")
    assert text("```{raw} html\n<div></div>\n```\n") == ""
    link = text("[](02-meta-gradients.ipynb)")
    assert link == "[Meta-gradients from first principles](02-meta-gradients.ipynb)"
    with pytest.raises(SystemExit, match="glued number 'other'"):
        text("{glue:text}`other`")


def test_the_setup_cell_installs_from_the_publishing_commit(plain, book):
    for notebook in book.notebooks.values():
        made = plain.plain(notebook, book)
        plain.install(made, "someone/a-fork", COMMIT)
        code = sources(made, "code")
        assert f"git+https://github.com/someone/a-fork@{COMMIT}" in code
        assert "check=True" in code  # a failed installation stops the notebook
    for bad in ("fork", "a/b/c", 'a/b"'):
        with pytest.raises(SystemExit, match="OWNER/NAME"):
            plain.install(made, bad, COMMIT)


def test_no_source_names_a_repository():
    """Addresses are stamped where the book is published."""
    files = [*(ROOT / "book").glob("*.*"), *ROOT.glob("*.*"), ROOT / "CITATION.cff"]
    for file in files:
        if file.suffix in (".ipynb", ".md", ".yml", ".toml", ".cff"):
            text = file.read_text(encoding="utf-8")
            assert not re.search(r"github\.(com|io)/\w", text), file


def test_a_fork_points_to_itself():
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert "repository" not in config and "launch_buttons" not in config
    made = script("book", "stamp").stamped(config, "Someone/a-fork", "main")
    assert made["repository"]["url"] == "https://github.com/Someone/a-fork"
    assert made["html"]["baseurl"] == "https://someone.github.io/a-fork/"
    assert "colab" in made["launch_buttons"]["colab_url"]
    assert made["sphinx"]["config"]["html_static_path"], "the rest is kept"
    with pytest.raises(SystemExit, match="OWNER/NAME"):
        script("book", "stamp").stamped(config, "nothing", "main")


def test_records_travel_with_the_package():
    """What a chapter reads is found by its name; a wrong name gives the nearest."""
    from maml_en_llm.runs import record_file

    record = record_file("mini-base")
    assert json.loads(record.read_text(encoding="utf-8"))
    with pytest.raises(ValueError, match="record: .* found 'mini-bas'; nearest: mini"):
        record_file("mini-bas")
