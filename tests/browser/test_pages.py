"""Every built page, in a browser with the network cut."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from browser.conftest import HTML, NARROW, REPOSITORY, WIDE, grave, needs
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
DISPLAYED = '.bd-article mjx-container[display="true"]'
# boxes whose content is wider than they are
CUT = """(selector) => [...document.querySelectorAll(selector)]
    .filter((box) => box.clientWidth && box.scrollWidth > box.clientWidth + 1)
    .map((box) => `${box.scrollWidth} in ${box.clientWidth}: `
        + box.textContent.trim().slice(0, 70))"""
# the ends of formulas within the text that lie outside the box that shows them
CUT_IN_TEXT = """() => [...document.querySelectorAll(".bd-article span.math")]
    .map((box) => [box, box.querySelector("mjx-math")])
    .filter(([box, inner]) => inner && inner.getBoundingClientRect().right
        > box.getBoundingClientRect().right + 1)
    .map(([box]) => box.textContent.trim().slice(0, 70))"""
# what scrolls sideways besides code, and the columns of its table
SCROLLS = """() => [...document.querySelectorAll(".bd-article *")]
    .filter((box) => box.clientWidth && box.scrollWidth > box.clientWidth + 1
        && ["auto", "scroll"].includes(getComputedStyle(box).overflowX)
        && !box.closest(".highlight"))
    .map((box) => [box.querySelector("tr")?.cells.length ?? 0,
        box.textContent.trim().slice(0, 70)])"""
FORMULA_SIZES = """() => [...document.querySelectorAll(".bd-article mjx-container")]
    .map((box) => parseFloat(getComputedStyle(box).fontSize)
        / parseFloat(getComputedStyle(box.parentElement).fontSize))"""
# what is printed and ends to the right of the paper
OFF_PAPER = """(width) => [...document.querySelectorAll(["table", "pre",
        "mjx-container", "img"].map((x) => ".bd-article " + x).join(","))]
    .map((box) => [box, box.getBoundingClientRect()])
    .filter(([, place]) => place.width)
    .map(([box, place]) => [box, Math.max(place.right, place.left + box.scrollWidth)])
    .filter(([, right]) => right > width + 1)
    .map(([box, right]) => `${box.tagName} to ${right}: `
        + box.textContent.trim().slice(0, 70))"""
PAPER = 718  # px between the margins of an A4 page, 1 cm each
MANY_COLUMNS = 8  # a table of so many may scroll on a telephone
# solutions, in words and in code
FOLDS = "details.solution, .tag_hide-cell details.hide"


@every_page
def test_a_page(visit, name):
    """All that a reader meets on it, in one visit: loading a page takes longest.

    Whole, no wider than its column or a telephone, solutions that open by keyboard,
    a print view, accessible.
    """
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
    assert page.evaluate(CUT, DISPLAYED) == []
    read_on_a_telephone(page)
    assert page.locator("details.solution").count() == FOLDED[name]
    open_by_keyboard(page)
    print_with_solutions(page)
    assert seen.faults == []
    assert grave(page) == []


def read_on_a_telephone(page) -> None:
    """Nothing but code and tables of many columns scrolls; formulas stay legible."""
    page.set_viewport_size({"width": NARROW, "height": 900})
    assert page.evaluate("() => document.documentElement.scrollWidth") <= NARROW
    assert page.evaluate(CUT, DISPLAYED) == []
    assert page.evaluate(CUT_IN_TEXT) == []
    few = [said for n, said in page.evaluate(SCROLLS) if n < MANY_COLUMNS]
    assert few == []
    assert min(page.evaluate(FORMULA_SIZES), default=1) >= 0.9
    page.set_viewport_size({"width": WIDE, "height": 900})


def open_by_keyboard(page) -> None:
    """Each solution is closed, and Enter opens and closes it."""
    for solution in page.locator(FOLDS).all():
        solution.locator("summary").focus()
        states = [solution.evaluate("(box) => box.open")]
        for _ in range(2):
            page.keyboard.press("Enter")
            states.append(solution.evaluate("(box) => box.open"))
        assert states == [False, True, False]


def print_with_solutions(page) -> None:
    """On paper, closed solutions are open, and nothing is cut off."""
    page.emulate_media(media="print")
    page.set_viewport_size({"width": PAPER, "height": 900})
    for solution in page.locator(FOLDS).all():
        assert solution.locator("p, pre").last.is_visible()
    assert page.evaluate(OFF_PAPER, PAPER) == []
    assert page.pdf(format="A4")[:4] == b"%PDF"
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": WIDE, "height": 900})


def test_chapters_have_solutions_in_code():
    """Cells of code that the tests above open, print and count."""
    needs((HTML / "index.html").is_file(), f"the pages of `make book` in {HTML}")
    texts = [(HTML / f"{name}.html").read_text(encoding="utf-8") for name in PAGES]
    assert sum(text.count('<div class="cell tag_hide-cell') for text in texts) >= 5


def test_most_chapters_have_solutions():
    assert sum(count > 0 for count in FOLDED.values()) >= 8


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
    address = re.compile(
        r"(?:github\.com|colab\.research\.google\.com/github)/([\w./-]+)"
    )
    for name in PAGES:
        text = (HTML / f"{name}.html").read_text(encoding="utf-8")
        article = re.search(r"(?s)<article.*</article>", text)[0]
        found = set(address.findall(text.replace(article, "")))
        if REPOSITORY:
            assert found
        else:
            assert "colab.research.google.com" not in text
            assert "github.com/maml" not in text
        assert {x for x in found if not f"{x}/".startswith(f"{REPOSITORY}/")} == set()


def test_plain_notebooks_have_the_numbers_of_the_pages(monkeypatch):
    """Every figure and labelled equation, in chapters and appendices."""
    needs((HTML / "index.html").is_file(), f"the pages of `make book` in {HTML}")
    shown = {}
    for name in PAGES:
        text = (HTML / f"{name}.html").read_text(encoding="utf-8")
        for figure in re.findall(r"(?s)<figure.*?</figure>", text):
            named = re.match(r'<figure[^>]* id="([^"]+)"', figure)
            number = re.search(r'caption-number">Fig\. ([A-Z\d.]+)', figure)
            if named and number:
                shown[named[1]] = number[1]
        equations = r'eqno">\(([A-Z\d.]+)\)<a[^>]* href="#equation-([^"]+)"'
        shown |= {label: number for number, label in re.findall(equations, text)}
    monkeypatch.syspath_prepend(ROOT / "book")
    labels = script("book", "contents").Book(ROOT / "book").labels
    assert len(shown) > 40 and shown == labels
