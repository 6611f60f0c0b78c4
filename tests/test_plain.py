"""Plain notebooks: nothing of the book's own markup is left in them."""

import ast
import json
import re
import sys
from http.client import BadStatusLine, InvalidURL
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml
from helpers import script

from maml_en_llm.methods.inner import MOMENTS
from maml_en_llm.prompts import MODES
from maml_en_llm.protocol import SEPARATORS
from maml_en_llm.runs import PRESETS

ROOT = Path(__file__).parents[1]
MARKUP = re.compile(
    r"`{3,}\{|^\W*:{3,}|\{[a-z]+(?::[a-z]+)?\}`|(?<!\!)\[\]\(|^\([\w-]+\)=$", re.M
)
REPOSITORY = "Someone/a-fork"
SITE = "https://someone.github.io/a-fork/"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def plain():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "book")
        yield script("book", "plain")


@pytest.fixture(scope="module")
def book(plain):
    return plain.Book(ROOT / "book")


@pytest.fixture(scope="module")
def published(plain):
    return plain.Book(ROOT / "book", SITE)


def sources(notebook, kind: str) -> str:
    return "\n".join(c.source for c in notebook.cells if c.cell_type == kind)


def code_of(notebook) -> list[str]:
    """The code of each cell; of parameters, what Python reads: a form is comments."""
    cells = [c for c in notebook.cells if c.cell_type == "code"]
    return [
        ast.dump(ast.parse(c.source))
        if "parameters" in c.metadata.get("tags", ())
        else c.source
        for c in cells
    ]


def parameters_of(notebook) -> str:
    tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", ())]
    assert len(tagged) == 1
    return tagged[0].source


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
        assert code_of(made) == code_of(notebook)


def test_parameters_are_a_form(plain, book):
    """Every parameter has a field, with what it means above it."""
    line = re.compile(r"(\w+) = (.+)  # @param (\[.+\]|\{type:\"\w+\"\})")
    for name, notebook in book.notebooks.items():
        own = parameters_of(notebook)
        made = parameters_of(plain.plain(notebook, book)).splitlines()
        assert made[0] == "# @title Parameters"
        fields = [line.fullmatch(x) for x in made if not x.startswith("#")]
        assert all(fields), (name, made)
        assert [x[1] for x in fields] == re.findall(r"(?m)^(\w+) = ", own)
        about = [x for x in made if re.match(r"# @markdown \*\*\w+\*\*: \w", x)]
        assert len(about) == len(fields), (name, made)
        for _, value, kind in (x.groups() for x in fields):
            if kind.startswith("["):
                assert ast.literal_eval(value) in ast.literal_eval(kind)


def test_a_field_offers_what_the_package_takes(plain):
    forms = sys.modules["forms"]
    moments = [kind for kind in MOMENTS if kind != "second"]  # of experiment E4 alone
    assert {name: list(values) for name, values in forms.CHOICES.items()} == {
        "preset": list(PRESETS),
        "mode": list(MODES),
        "moments": moments,
        "separator": list(SEPARATORS),
    }
    kinds = {"3": "integer", "4e-4": "number", '"x"': "string", "None": "raw"}
    for value, kind in kinds.items():
        assert forms.field("other", value) == f'{{type:"{kind}"}}'
    with pytest.raises(SystemExit, match="expected lines of name = value"):
        forms.form("size = resolve(preset)")


def test_numbers_formulas_references_and_solutions(plain, book):
    values = {"gain": "0.12345", "machine": "two cores"}
    book.labels |= {"eq-a": "2.1", "fig-a": "2.3"}

    def text(source):
        return plain.text(source, book, values)

    assert text("{glue:text}`gain:.2f` on {glue:text}`machine`") == "0.12 on two cores"
    assert text("{eq}`eq-a`, {numref}`fig-a`") == "(2.1), Fig. 2.3"
    assert text("```{math}\n:label: eq-a\nx = 1\n```") == "$$\nx = 1 \\tag{2.1}\n$$\n"
    assert text("{term}`task` and {term}`tasks <task>`") == "task and tasks"
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
    moved = text('```{raw} html\n<div data-bowls="full"></div>\n```\n')
    assert "a notebook cannot show it" in moved
    link = text("[](02-meta-gradients.ipynb)")
    assert link == "[Meta-gradients from first principles](02-meta-gradients.ipynb)"
    with pytest.raises(SystemExit, match="glued number 'other'"):
        text("{glue:text}`other`")


def test_fences_of_colons_are_directives_as_well(plain, book):
    def text(source):
        return plain.text(source, book, {"n": "3"})

    folded = text(
        ":::{admonition} Solution\n:class: dropdown\n```python\nx\n```\n"
        "It is {glue:text}`n`.\n:::\nAfter."
    )
    assert folded == (
        "<details>\n<summary>Solution</summary>\n\n"
        "```python\nx\n```\nIt is 3.\n\n</details>\nAfter."
    )
    nested = text(
        "::::{admonition} Outer\n:::{admonition} Inner\n:class: dropdown\nx\n:::\n"
        "```{math}\ny\n```\n::::\n"
    )
    assert MARKUP.search(nested) is None
    assert "> <summary>Inner</summary>" in nested and "> $$\n> y\n> $$" in nested
    assert MARKUP.search(":::\n") and MARKUP.search("> :::{note}\n")


def test_the_first_chapters_solutions_are_folded(plain, book):
    name = "01-in-context-learning"
    made = sources(plain.plain(book.notebooks[name], book), "markdown")
    assert made.count("<details>\n<summary>Solution") >= 3


def test_links_lead_to_notebooks_or_to_the_published_book(plain, book, published):
    """On the branch of the notebooks there is no other page."""
    source = "[](comparison.md), {ref}`open points <open-points>`, {ref}`protocol`"
    title, protocol = book.titles["comparison"], book.titles["protocol"]
    assert plain.text(source, book, {}) == f"{title}, open points, {protocol}"
    assert plain.text(source, published, {}) == (
        f"[{title}]({SITE}book/comparison.html), "
        f"[open points]({SITE}book/notation.html#open-points), "
        f"[{protocol}]({SITE}book/protocol.html#protocol)"
    )
    for pages in (book, published):
        for name, notebook in pages.notebooks.items():
            made = sources(plain.plain(notebook, pages), "markdown")
            for target in re.findall(r"\]\(([^)#\s]+)", made):
                inside = target.removesuffix(".ipynb") in pages.notebooks
                assert inside or target.startswith("https://"), f"{name}: {target}"
    for bad in ("[](nothing.md)", "{doc}`nothing`", "{ref}`nothing`"):
        with pytest.raises(SystemExit, match="found 'nothing'"):
            plain.text(bad, book, {})


def test_an_algorithm_can_be_referred_to(plain, book):
    assert book.places["alg-outer"][0] == "03-meta-training"
    assert "[Algorithm 2.1](02-meta-gradients.ipynb#alg-sweep)" in plain.text(
        "{ref}`Algorithm 2.1 <alg-sweep>`", book, {}
    )


def test_figures_have_the_numbers_of_the_built_pages(book):
    """Chapters have numbers, appendices letters; all else shares one count.

    tests/browser compares them with the pages one by one.
    """
    # two on the front page, of which book_pages draws the second
    assert book.labels["fig-loops"] == "1" and book.labels["fig-scorecard"] == "2"
    appendices = ("appendix-new-seeds", "appendix-robustness", "appendix-fast-sweep")
    for letter, name in zip("ABC", appendices, strict=True):
        captions = [
            cell.metadata["mystnb"]["figure"]["name"]
            for cell in book.notebooks[name].cells
            if "figure" in cell.metadata.get("mystnb", {})
        ]
        numbers = [book.labels[name] for name in captions]
        assert numbers == [f"{letter}.{n}" for n in range(1, len(captions) + 1)]
        assert numbers
    assert book.labels["fig-bowls"] == book.labels["eq-inner"] == "2.1"


def test_launch_buttons_open_notebooks_that_are_published(plain, tmp_path, monkeypatch):
    """The theme's address, as `book_pages` changes it, is a file `plain.py` writes."""
    launch = pytest.importorskip("sphinx_book_theme.header_buttons.launch")
    workflow = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    assert "book/plain.py _build/stage/book _build/notebooks/book" in workflow
    assert "path: _build/notebooks\n" in workflow  # the root of the branch
    words = ["plain.py", str(ROOT / "book"), str(tmp_path / "book")]
    words += ["--repository", REPOSITORY, "--commit", COMMIT]
    monkeypatch.setattr(sys, "argv", words)
    plain.main()
    written = {f"book/{file.name}" for file in (tmp_path / "book").iterdir()}

    monkeypatch.syspath_prepend(ROOT / "book")
    pages = script("book", "book_pages")
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    stamped = script("book", "stamp").stamped(config, REPOSITORY, "a/branch", COMMIT)
    set_by_stamp = SimpleNamespace(**stamped["sphinx"]["config"])
    opened = set()
    for name in re.findall(
        r"(?m)^ *- file: (\S+)", (ROOT / "_toc.yml").read_text(encoding="utf-8")
    ):
        if not (ROOT / f"{name}.ipynb").is_file():
            continue
        buttons = theme_buttons(launch, name, stamped)
        assert f"/blob/a/branch/{name}.ipynb" in buttons[0]["buttons"][0]["url"]
        pages.open_plain(buttons, set_by_stamp)
        address = buttons[0]["buttons"][0]["url"]
        start = f"https://colab.research.google.com/github/{REPOSITORY}/blob/notebooks/"
        assert address.startswith(start)
        opened.add(address.removeprefix(start))
    assert opened == written and len(opened) >= 5


def theme_buttons(launch, name: str, config: dict) -> list[dict]:
    """What the theme makes of the configuration for one page."""
    options = {
        "launch_buttons": config["launch_buttons"],
        "repository_branch": config["repository"]["branch"],
    }
    app = SimpleNamespace(
        env=SimpleNamespace(
            doc2path=lambda page: f"{page}.ipynb", metadata={name: {"kernelspec": {}}}
        ),
        config={"html_theme_options": options},
    )
    owner, repository = REPOSITORY.split("/")
    context = {
        "header_buttons": [],
        "pagename": name,
        "sourcename": f"{name}.ipynb",
        "github_url": "https://github.com",
        "github_user": owner,
        "github_repo": repository,
    }
    launch.add_launch_buttons(app, name, "", context, None)
    return context["header_buttons"]


def test_the_repositorys_button_opens_the_commit(plain):
    pages = script("book", "book_pages")
    url, commit = f"https://github.com/{REPOSITORY}", COMMIT
    button = {"label": "source-repository-button", "url": url}
    edit = {"label": "source-edit-button", "url": f"{url}/edit/main/book/index.md"}
    config = SimpleNamespace(notebooks_branch="notebooks", built_from=commit)
    pages.open_plain([{"buttons": [button, edit]}], config)
    assert button["url"] == f"{url}/tree/{commit}"
    assert edit["url"] == f"{url}/edit/main/book/index.md"  # needs a branch


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
    made = script("book", "stamp").stamped(config, REPOSITORY, "main", COMMIT)
    assert made["repository"]["url"] == "https://github.com/Someone/a-fork"
    assert made["repository"]["branch"] == "main"
    assert made["html"]["baseurl"] == SITE
    assert made["sphinx"]["config"]["built_from"] == COMMIT
    assert "colab" in made["launch_buttons"]["colab_url"]
    assert made["sphinx"]["config"]["html_static_path"], "the rest is kept"
    own = "https://alice.github.io/"
    assert script("book", "stamp").site("Alice/alice.github.io") == own
    with pytest.raises(SystemExit, match="OWNER/NAME"):
        script("book", "stamp").stamped(config, "nothing", "main", COMMIT)
    with pytest.raises(SystemExit, match="expected a hash, found 'main'"):
        script("book", "stamp").stamped(config, REPOSITORY, "main", "main")


def test_a_figure_without_a_name_is_counted_and_has_no_label(tmp_path, monkeypatch):
    contents = script("book", "contents")
    monkeypatch.setattr(contents, "ROOT", tmp_path)
    (tmp_path / "book").mkdir()
    (tmp_path / "_toc.yml").write_text("root: book/index\nparts: []\n")
    (tmp_path / "book" / "references.bib").write_text("")
    figures = "```{figure} a.png\n```\n\n```{figure} b.png\n:name: fig-b\n```\n"
    (tmp_path / "book" / "index.md").write_text(f"# A page\n\n{figures}")
    assert contents.Book(tmp_path / "book").labels == {"fig-b": "2"}


@pytest.mark.parametrize("error", [BadStatusLine("?"), InvalidURL("a b"), OSError("x")])
def test_an_address_that_cannot_be_asked_is_a_fault(monkeypatch, error):
    checker = script("book", "check_html")

    def refuse(*given, **how):
        raise error

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    assert checker.fault_of("https://example.org") == str(error)


def test_records_travel_with_the_package():
    """What a chapter reads is found by its name; a wrong name gives the nearest."""
    from maml_en_llm.runs import record_file

    record = record_file("mini-base")
    assert json.loads(record.read_text(encoding="utf-8"))
    with pytest.raises(ValueError, match="record: .* found 'mini-bas'; nearest: mini"):
        record_file("mini-bas")


def test_a_record_is_found_before_the_log_it_was_made_from(monkeypatch, tmp_path):
    from maml_en_llm.runs import record_file, record_files

    assert record_file("tuning").name == "tuning.json"
    assert record_file("E1").name == "E1.jsonl"
    monkeypatch.setattr(record_files, "_FOLDERS", (tmp_path, tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="expected E1.json or E1.jsonl in"):
        record_file("E1")
