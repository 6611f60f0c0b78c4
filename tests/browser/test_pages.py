"""Every built page, in a browser with the network cut."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from browser.conftest import HTML, NARROW, WIDE, needs
from helpers import script

ROOT = Path(__file__).parents[2]
CONTENTS = (ROOT / "_toc.yml").read_text(encoding="utf-8")
PAGES = re.findall(r"(?m)^\s*(?:root|- file): *(\S+)", CONTENTS)
FOLDED = {
    name: sum(x.read_text("utf-8").count(":class: dropdown") for x in files)
    for name in PAGES
    if (files := [*ROOT.glob(f"{name}.md"), *ROOT.glob(f"{name}.ipynb")])
}

pytestmark = pytest.mark.browser
every_page = pytest.mark.parametrize("name", PAGES)

UNSET_FORMULAS = """() => [...document.querySelectorAll(".bd-article .math")]
    .filter((box) => !box.querySelector("mjx-container"))
    .map((box) => box.textContent.slice(0, 60))"""
BROKEN_IMAGES = """() => [...document.querySelectorAll(".bd-article img")]
    .filter((image) => !image.naturalWidth || !image.alt)
    .map((image) => image.src + " " + image.alt)"""
# boxes whose content is wider than they are
CUT = """(selector) => [...document.querySelectorAll(selector)]
    .filter((box) => box.clientWidth && box.scrollWidth > box.clientWidth + 1)
    .map((box) => `${box.scrollWidth} in ${box.clientWidth}: `
        + box.textContent.trim().slice(0, 70))"""


# on a busy machine a colour may still be on its way when it is looked at
AT_ONCE = (
    "*, ::before, ::after { transition: none !important; animation: none !important }"
)


@every_page
def test_a_page(visit, name):
    """All that a reader meets on it, in one visit: loading a page takes longest.

    Whole, no wider than its column or a telephone, solutions that open by keyboard,
    a print view, accessible.

    axe-core comes last: it asks for style sheets at addresses of its own.
    """
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    seen = visit(WIDE)
    page = seen.open(name)
    # no error, nothing missing, no request left the site
    assert seen.faults == []
    # formulas are set, images are there and say what they show
    assert page.evaluate(UNSET_FORMULAS) == []
    assert page.evaluate(BROKEN_IMAGES) == []
    assert "\\(" not in page.locator(".bd-article").inner_text()
    assert page.title().count("MAML-en-LLM, reproduced") == 1
    assert page.locator('meta[name="description"]').count() == 1
    # code and formulas fit
    assert page.evaluate(CUT, ".bd-article pre") == []
    assert page.evaluate(CUT, '.bd-article mjx-container[display="true"]') == []
    page.set_viewport_size({"width": NARROW, "height": 900})
    assert page.evaluate("() => document.documentElement.scrollWidth") <= NARROW
    page.set_viewport_size({"width": WIDE, "height": 900})
    assert page.locator("details.solution").count() == FOLDED[name]
    open_by_keyboard(page)
    print_with_solutions(page)
    assert seen.faults == []
    page.add_style_tag(content=AT_ONCE)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_selector(f"html[data-theme={scheme}]")
        found = axe.Axe().run(page, options={"resultTypes": ["violations"]})
        assert grave(found.response["violations"]) == []


def open_by_keyboard(page) -> None:
    """Each solution is closed, and Enter opens and closes it."""
    for solution in page.locator("details.solution").all():
        solution.locator("summary").focus()
        states = [solution.evaluate("(box) => box.open")]
        for _ in range(2):
            page.keyboard.press("Enter")
            states.append(solution.evaluate("(box) => box.open"))
        assert states == [False, True, False]


def print_with_solutions(page) -> None:
    """On paper, closed solutions are open."""
    page.emulate_media(media="print")
    for solution in page.locator("details.solution").all():
        assert solution.locator("p, pre").first.is_visible()
    assert page.pdf(format="A4")[:4] == b"%PDF"
    page.emulate_media(media="screen")


def test_most_chapters_have_solutions():
    assert sum(count > 0 for count in FOLDED.values()) >= 8


def grave(violations) -> list[str]:
    """What axe-core calls critical or serious, the first elements of each kind."""
    return [
        f"{rule['impact']} {rule['id']}: {node['html'][:120]}"
        for rule in violations
        if rule["impact"] in ("critical", "serious")
        for node in rule["nodes"][:3]
    ]


# --- links ---


class Links(HTMLParser):
    """Addresses and names of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.targets, self.names = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.names.add(found.get("id"))
        if tag == "a" and found.get("href"):
            self.targets.append(found["href"])


def test_links_inside_the_book_lead_somewhere():
    needs((HTML / "index.html").is_file(), f"the pages of `make book` in {HTML}")
    files = [HTML / f"{name}.html" for name in PAGES]
    pages = {file: Links(file.read_text(encoding="utf-8")) for file in files}
    dead, checked = [], 0
    for file, page in pages.items():
        for link in page.targets:
            if re.match(r"[a-z]+:", link):
                continue
            path, anchor = urldefrag(unquote(link))
            target = (file.parent / path).resolve() if path else file
            checked += 1
            known = pages.get(target)
            missing = anchor and known is not None and anchor not in known.names
            if not target.is_file() or missing:
                dead.append(f"{file.name}: {link}")
    assert checked > 100 and dead == []


def test_no_page_names_a_repository_that_is_not_its_own():
    """Pages built outside the publishing workflow have no launch button."""
    needs((HTML / "index.html").is_file(), f"the pages of `make book` in {HTML}")
    for name in PAGES:
        text = (HTML / f"{name}.html").read_text(encoding="utf-8")
        assert "colab.research.google.com" not in text
        assert "github.com/maml" not in text


def test_plain_notebooks_have_the_numbers_of_the_pages(monkeypatch):
    """Every figure and labelled equation, in chapters and appendices."""
    needs((HTML / "index.html").is_file(), f"the pages of `make book` in {HTML}")
    shown = {}
    for name in PAGES:
        text = (HTML / f"{name}.html").read_text(encoding="utf-8")
        for figure in re.findall(r"(?s)<figure.*?</figure>", text):
            named = re.match(r'<figure[^>]* id="([^"]+)"', figure)
            number = re.search(r'caption-number">Fig\. ([\d.]+)', figure)
            if named and number:
                shown[named[1]] = number[1]
        equations = r'eqno">\(([\d.]+)\)<a[^>]* href="#equation-([^"]+)"'
        shown |= {label: number for number, label in re.findall(equations, text)}
    monkeypatch.syspath_prepend(ROOT / "book")
    labels = script("book", "contents").Book(ROOT / "book").labels
    assert len(shown) > 40 and shown == labels


# --- what a reader does ---


def test_search_finds(visit):
    seen = visit()
    page = seen.open("search")
    page.goto(f"{seen.site}/search.html?q=meta-gradient")
    page.wait_for_selector("#search-results li")
    assert "Meta-gradients" in page.locator("#search-results").inner_text()
