"""What a reader does: search, dark mode; and pages that no source is written for."""

import pytest
from browser.conftest import grave, needs, package

pytestmark = pytest.mark.browser


def test_search_finds(visit):
    seen = visit()
    page = seen.page
    page.goto(f"{seen.site}/search.html?q=meta-gradient")
    page.wait_for_selector("#search-results li")
    assert "Meta-gradients" in page.locator("#search-results").inner_text()
    assert seen.faults == []


@pytest.mark.parametrize(
    "tex, read",
    [
        (r"\(L_i(\theta_k)\)", "L_i(θ_k)"),
        (
            r"\[\begin{split}\tfrac12 \lVert g \rVert^2 &\le 1\\\end{split}\]",
            "1/2 ‖ g ‖^2 ≤ 1",
        ),
        (r"\(\{1, 2\} \%\)", "{1, 2} %"),
    ],
)
def test_search_shows_formulas_without_their_commands(visit, tex, read):
    seen = visit()
    page = seen.open("search")
    told = page.evaluate(
        """(tex) => Search.htmlToText(
            `<div role="main">the loss <span class="math">${tex}</span>.</div>`)""",
        tex.replace("&", "&amp;"),
    )
    assert told == f"the loss {read}."


def test_icons_are_drawn_without_a_script(visit):
    """By the theme's font: each has a sign of that font before it."""
    page = visit().open("book/index")
    drawn = page.evaluate("""() => [...document.querySelectorAll("i.fa-solid")]
        .map((icon) => getComputedStyle(icon, "::before"))
        .map((sign) => [sign.fontFamily, sign.content])""")
    assert len(drawn) > 5
    for family, content in drawn:
        assert "Awesome" in family and content not in ("none", "normal", '""')
    loaded = page.evaluate("""async () => {
        await document.fonts.ready;
        return [...document.fonts].filter((font) => font.status === "loaded")
            .map((font) => `${font.family} ${font.weight}`) }""")
    assert any("Awesome" in font and "900" in font for font in loaded)


def test_each_reference_says_where_it_is_cited(visit):
    page = visit().open("book/references")
    works = page.locator(".citation")
    assert works.count() > 20
    assert page.locator(".citation .cited-in a").count() >= works.count()
    assert works.filter(has_not=page.locator(".cited-in")).count() == 0


@pytest.mark.parametrize("name", ["search", "genindex"])
def test_a_page_that_is_generated(visit, name):
    seen = visit()
    page = seen.open(name)
    words = page.locator('meta[name="description"]').get_attribute("content")
    assert len(words) > 40
    assert seen.faults == []
    assert grave(page) == []


def test_the_theme_button_makes_the_page_dark(visit):
    """Pressed by keyboard, until the page is dark; the choice is kept."""
    seen = visit()
    page = seen.open("book/index")
    button = page.locator(".theme-switch-button:visible").first

    def lightness() -> float:
        """Of what the page is painted with, 0 for black to 255."""
        colour = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        parts = [float(x) for x in colour[colour.index("(") + 1 : -1].split(",")]
        return sum(parts[:3]) / 3

    assert lightness() > 200
    modes = []
    for _ in range(3):  # auto, light and dark take turns
        button.focus()
        page.keyboard.press("Enter")
        modes.append(page.locator("html").get_attribute("data-mode"))
        if modes[-1] == "dark":
            break
    assert modes[-1] == "dark"
    page.wait_for_function("() => document.documentElement.dataset.theme == 'dark'")
    assert lightness() < 60
    assert page.reload() and lightness() < 60
    assert seen.faults == []


PICTURE = "() => { new Image().src = '_static/favicon.svg?once' }"


def test_a_request_that_leaving_a_page_cuts_short_is_no_fault(visit):
    seen, held = visit(), []
    page = seen.open("search")
    page.route("**/*?once", lambda route: held.append(route))
    page.evaluate(PICTURE)
    while not held:
        page.wait_for_timeout(10)
    seen.open("genindex")
    assert seen.faults == []


def test_a_request_that_fails_is_a_fault(visit):
    seen = visit()
    page = seen.open("search")
    page.route("**/*?once", lambda route: route.abort("connectionreset"))
    with page.expect_event("requestfailed"):
        page.evaluate(PICTURE)
    assert any("favicon.svg" in fault for fault in seen.faults)


@pytest.mark.parametrize("required", ["", "1"])
def test_a_missing_part_is_skipped_only_where_it_is_not_required(monkeypatch, required):
    monkeypatch.setenv("REQUIRE_BROWSER", required)
    result = pytest.fail.Exception if required else pytest.skip.Exception
    with pytest.raises(result, match="no_such_package"):
        package("no_such_package.sync_api")
    with pytest.raises(result, match="a browser"):
        needs([], "a browser")
    assert package("json").dumps
