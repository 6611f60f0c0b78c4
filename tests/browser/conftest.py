"""The built pages in a browser whose network ends at this machine."""

import functools
import http.server
import importlib
import os
import shutil
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HTML = Path(os.environ.get("BOOK_HTML", ROOT / "_build" / "html"))
# OWNER/NAME stamped into the pages that are published; other pages name none
REPOSITORY = os.environ.get("BOOK_REPOSITORY", "")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDE, NARROW = 1280, 390  # px, a laptop and a telephone


def needs(there, what: str):
    """Skip where a part is missing, or fail under REQUIRE_BROWSER=1."""
    if there:
        return there
    if os.environ.get("REQUIRE_BROWSER", "0") not in ("", "0"):
        pytest.fail(f"expected {what}; REQUIRE_BROWSER is set", pytrace=False)
    return pytest.skip(f"needs {what}")


def package(name: str):
    """A module of another package, or what `needs` does without it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return needs(None, f"the package {name} (pip install -r requirements.txt)")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A server that prints nothing."""

    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def site():
    """The address of the built pages."""
    needs((HTML / "index.html").is_file(), f"the pages of `make book` in {HTML}")
    handler = functools.partial(Quiet, directory=str(HTML))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def browser():
    """The system's Chromium."""
    playwright = package("playwright.sync_api")
    found = [path for name in BROWSERS if (path := shutil.which(name))]
    path = needs(found, "a Chromium on the PATH (apt-get install chromium)")[0]
    with playwright.sync_playwright() as running:
        program = running.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield program
        program.close()


class Visit:
    """One page, and all that went wrong while it was open."""

    def __init__(self, context, site: str):
        self.site, self.faults = site, []
        self.page = context.new_page()
        self.page.set_default_timeout(60_000)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("response", self._response)
        self.page.on("requestfailed", self._failed)
        self.page.route("**/*", self._inside_only)

    def _console(self, message):
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.type}: {message.text}")

    def _response(self, response):
        if response.status >= 400:
            self.faults.append(f"{response.status} {response.url}")

    def _failed(self, request):
        # a page that is left cuts short what still loads, such as its icon
        if request.failure != "net::ERR_ABORTED":
            self.faults.append(f"failed {request.url}: {request.failure}")

    def _inside_only(self, route):
        inside = route.request.url.startswith((self.site, "data:", "blob:"))
        if inside:
            route.continue_()
        else:
            self.faults.append(f"left the site: {route.request.url}")
            route.abort()

    def open(self, name: str):
        """Go to a page of the book, and wait until its formulas are set."""
        self.page.goto(f"{self.site}/{name}.html", wait_until="load")
        self.page.evaluate("() => window.MathJax?.startup?.promise")
        return self.page


# on a busy machine a colour may still be on its way when it is looked at
AT_ONCE = (
    "*, ::before, ::after { transition: none !important; animation: none !important }"
)


# the theme lets the keyboard reach boxes that scroll, 0.3 s after the last change
REACHED = """() => [...document.querySelectorAll(
        ".cell_output > .output, .pst-scrollable-table-container")]
    .every((box) => box.scrollWidth <= box.clientWidth || box.tabIndex == 0)"""


def grave(page) -> list[str]:
    """What axe-core calls critical or serious, in light and dark mode.

    The first elements of each kind. axe-core asks for style sheets at addresses of its
    own: what a `Visit` notes after it is no fault of the page.
    """
    axe = package("axe_playwright_python.sync_playwright")
    page.add_style_tag(content=AT_ONCE)
    page.wait_for_function(REACHED)
    bad = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_selector(f"html[data-theme={scheme}]")
        found = axe.Axe().run(page, options={"resultTypes": ["violations"]})
        bad += [
            f"{scheme}, {rule['impact']} {rule['id']}: {node['html'][:120]}"
            for rule in found.response["violations"]
            if rule["impact"] in ("critical", "serious")
            for node in rule["nodes"][:3]
        ]
    return bad


@pytest.fixture
def visit(browser, site):
    """A function: width and colour scheme to a `Visit`."""
    contexts = []

    def start(width: int = WIDE, scheme: str = "light") -> Visit:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme
        )
        contexts.append(context)
        return Visit(context, site)

    yield start
    for context in contexts:
        context.close()
