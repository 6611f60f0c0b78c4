"""What book/book_pages.py and its parts write into the pages, without building them."""

import json
import re
from pathlib import Path

import nbformat
import pytest
import yaml
from docutils import nodes
from helpers import script

ROOT = Path(__file__).parents[1]
TIMES = {"duration": 39.6, "end_time": "2026-11-26T17:25:43.475393+00:00"}
RAN = {"device": "one Z80 and 3 CPU cores", "versions": "Python 2.7, torch 0.1"}


@pytest.fixture(autouse=True)
def path(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "book")


def row(claim: str, verdict: str, **more) -> dict:
    found = dict(claim=claim, verdict=verdict, unit="points")
    return found | dict(ours=1.24, low=-0.5, high=3.0) | more


def test_the_figure_of_the_claims_is_said_in_words():
    said = script("book", "book_parts").at_a_glance
    rows = [row("C1", "reproduced"), row("C2", "not reproduced", unit="cells")]
    rows.append(row("C3", "not testable here", low=None))
    assert said(rows) == (
        "One of three claims of the paper are reproduced here: "
        "C1 +1.2 points (-0.5 to +3.0); not reproduced: C2; not testable here: C3."
    )
    assert said(rows[1:]).startswith(
        "No of two claims of the paper are reproduced here;"
    )


def alts_of(chapter: str) -> tuple[dict[str, str], dict[str, str]]:
    """Texts of a chapter's figures by name, and the numbers it holds for its prose."""
    alts, glued = {}, {}
    for cell in nbformat.read(ROOT / f"book/{chapter}.ipynb", 4).cells:
        about = cell.metadata.get("mystnb", {})
        if "figure" in about:
            alts[about["figure"]["name"]] = about["image"]["alt"]
        for output in cell.get("outputs", ()):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            glued[name] = str(output.get("data", {}))
    return alts, glued


def test_the_scorecards_figures_say_what_was_found(monkeypatch):
    """Their texts are written by hand, and the record may change."""
    monkeypatch.chdir(ROOT)
    parts = script("book", "book_parts")
    alts, glued = alts_of("10-scorecard")
    assert alts["fig-claims"] == parts.at_a_glance(parts.claims())
    verdicts = [row["verdict"] for row in parts.claims()]
    good, all_of_them = verdicts.count("reproduced"), len(verdicts)
    assert good + verdicts.count("not reproduced") == all_of_them
    shares = (good, all_of_them, all_of_them - good)
    words = "{} of the paper's {} claims are reproduced and {} {} not".format(
        *(parts.NUMBERS[count].lower() for count in shares),
        "is" if shares[-1] == 1 else "are",
    )
    assert words in (ROOT / "book/index.md").read_text(encoding="utf-8")
    # "The three gains whose size its abstract states are all reproduced in sign"
    assert verdicts[:3] == ["reproduced"] * 3
    found = re.search(
        r"with (\d) seeds the half-width is ([\d.]+) points, (wider|narrower) "
        r"than the effect of (\d) points",
        glued["sc_power"],
    )
    assert found, glued["sc_power"]
    seeds, half, than, effect = found.groups()
    text = alts["fig-seeds-needed"]
    assert {"5": "five"}[seeds] in text and f"to {half} points" in text
    assert f"{than} than the paper's effect of {effect} points" in text


@pytest.fixture
def stored(tmp_path):
    """A function: metadata to a notebook's file."""

    def store(name: str = "a", **metadata) -> Path:
        file = tmp_path / f"{name}.ipynb"
        file.write_text(json.dumps({"metadata": metadata}))
        return file

    return store


def test_a_page_says_when_and_with_what_its_code_ran(stored, tmp_path):
    """Of the machine that ran it, which need not be the one that builds the page."""
    runs = script("book", "book_runs")
    line = runs.last_run(stored(papermill=TIMES, ran_with=RAN))
    assert "26 November 2026, in 40 s" in line
    assert "Z80" in line and "torch 0.1" in line
    # stored by `make store`: no times; stored before devices were noted: none either
    assert "Z80" in runs.last_run(stored(ran_with=RAN))
    assert "device: not recorded; versions" in runs.last_run(stored(papermill=TIMES))
    assert runs.last_run(stored()) == ""
    assert runs.last_run(tmp_path / "page-without-code.ipynb") == ""


def test_the_table_of_runs_has_a_device_and_versions_per_page(stored):
    runs = script("book", "book_runs")
    files = [stored("a", papermill=TIMES, ran_with=RAN), stored("b")]
    head, line, *rows = runs.table(files).splitlines()
    assert [x.strip() for x in head.strip("|").split("|")][2:] == [
        "seconds",
        "device",
        "versions",
    ]
    assert rows == [
        f"| {{doc}}`a` | 26 November 2026 | 40 | {RAN['device']} | {RAN['versions']} |",
        "| {doc}`b` |" + " not recorded |" * 4,
    ]
    assert {x.count("|") for x in (head, line, *rows)} == {6}


def test_a_run_notes_its_machine():
    runs = script("book", "book_runs")
    notebook = nbformat.v4.new_notebook()
    runs.note(notebook)
    kept = notebook.metadata[runs.KEY]
    assert "CPU core" in kept["device"]
    for name in ("Python 3.", "torch ", "transformers ", "maml_en_llm "):
        assert name in kept["versions"]


# --- descriptions ---


def page(*parts: nodes.Node) -> nodes.document:
    from docutils.frontend import get_default_settings
    from docutils.utils import new_document

    made = new_document("page", get_default_settings())
    made += parts
    return made


def paragraph(text: str) -> nodes.paragraph:
    return nodes.paragraph("", text)


LONG = "Some words that are long enough to be the description of a page. "


def test_a_page_is_described_by_its_first_paragraph_of_prose():
    pages = script("book", "book_pages")
    table = nodes.table("", nodes.entry("", paragraph(f"A cell. {LONG}")))
    cited = nodes.citation("", paragraph(f"Somebody. {LONG}"))
    listed = nodes.bullet_list("", nodes.list_item("", paragraph(f"One. {LONG}")))
    prose = paragraph(f"Claim. {LONG} [SYS+24]")
    found = pages.description("book/x", page(table, cited, listed, prose))
    assert found == LONG.strip()
    for only in (table, cited, listed):
        assert pages.description("book/x", page(only.deepcopy())) == pages.FRONT
    long = pages.description("book/x", page(paragraph(LONG * 9)))
    assert long.endswith(" …") and len(long) <= pages.LONGEST + 2


@pytest.mark.parametrize("name", ["search", "genindex", "book/references"])
def test_pages_without_prose_have_a_text_of_their_own(name):
    pages = script("book", "book_pages")
    found = pages.description(name, None)
    assert found != pages.FRONT and len(found) > 40


# --- what is mended ---


def formula(tex: str) -> str:
    return rf'<span class="math notranslate nohighlight">\({tex}\)</span>'


@pytest.mark.parametrize(
    "before, after", [("", "."), ("", ","), ("(", ")."), ("“", "”")]
)
def test_the_marks_of_a_formula_stay_on_its_line(before, after):
    pages = script("book", "book_pages")
    whole = f"{before}{formula('k')}{after}"
    found = pages.mend_body(f"<p>so {whole} Then</p>")
    assert found == f'<p>so <span class="unbroken">{whole}</span> Then</p>'


def test_a_formula_without_marks_is_left_alone():
    pages = script("book", "book_pages")
    body = f"<p>where {formula('k')} steps</p>"
    assert pages.mend_body(body) == body


def table(*rows: tuple, head: tuple) -> str:
    def line(tag: str, row: tuple) -> str:
        return "".join(f"<{tag}>{x}</{tag}>" for x in row)

    names = f"<thead><tr>{line('th', head)}</tr></thead>"
    body = "".join(
        f"<tr><th>{first}</th>{line('td', row)}</tr>" for first, *row in rows
    )
    return f'<table border="1" class="dataframe">{names}<tbody>{body}</tbody></table>'


def test_columns_of_numbers_are_marked():
    numbers = [("a", "9.5", "−3", "yes", "–"), ("b", "6.8e-08", "12 %", "no", "1,024")]
    head = ("", "points", "change", "decided", "steps")
    found = script("book", "book_tables").mark_numbers(table(*numbers, head=head))
    marked = re.findall(r'<t[hd] class="number">([^<]*)', found)
    cells = ["9.5", "−3", "–", "6.8e-08", "12 %", "1,024"]
    assert marked == ["points", "change", "steps", *cells]
    assert found.replace(' class="number"', "") == table(*numbers, head=head)


def test_tables_that_are_not_plain_are_left_alone():
    marked = script("book", "book_tables").mark_numbers
    own = table(("a", "1"), head=("", "x")).replace("dataframe", "own")
    wide = table(("a", "1"), head=("", "x")).replace("<td>", '<td colspan="2">')
    ragged = table(("a", "1"), ("b", "1", "2"), head=("", "x"))
    assert [marked(t) for t in (own, wide, ragged)] == [own, wide, ragged]


class Builder:
    format = "html"


class App:
    builder = Builder()

    def __init__(self, outdir):
        self.outdir = outdir


@pytest.mark.parametrize("failure", [None, ValueError("the build failed")])
def test_pages_do_without_the_script_of_icons(tmp_path, failure):
    pages = script("book", "book_pages")
    scripts = tmp_path / "_static" / "scripts"
    scripts.mkdir(parents=True)
    for name in ("fontawesome.js", "fontawesome.js.map", "bootstrap.js"):
        (scripts / name).touch()
    icons = '<script defer src="../_static/scripts/fontawesome.js?digest=1"></script>'
    other = '<script defer src="../_static/scripts/bootstrap.js?digest=1"></script>'
    page = tmp_path / "book" / "one.html"
    page.parent.mkdir()
    page.write_text(f"<head>{icons}\n{other}</head>", "utf-8")
    pages.drop_icon_script(App(tmp_path), failure)
    kept = {file.name for file in scripts.iterdir()}
    assert (icons in page.read_text("utf-8")) == (failure is not None)
    assert other in page.read_text("utf-8")
    assert ("fontawesome.js" in kept) == (failure is not None)
    assert "bootstrap.js" in kept


def test_pages_are_tried_in_a_browser_before_they_are_published():
    """The stamped ones, with the name of their own repository."""
    workflow = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(workflow)["jobs"]
    steps = [step.get("run", step.get("uses")) for step in jobs["site"]["steps"]]
    order = ("book/stamp.py", "make book", "make pages", "upload-pages-artifact")
    at = [next(n for n, step in enumerate(steps) if word in step) for word in order]
    assert at == sorted(at)
    env = jobs["site"]["steps"][at[2]]["env"]
    assert env == {
        "REQUIRE_BROWSER": "1",
        "BOOK_REPOSITORY": "${{ github.repository }}",
    }
    assert "site" in jobs["pages"]["needs"]
