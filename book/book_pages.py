"""Sphinx extension of the book's pages.

Everything a page needs comes with it: MathJax is copied from the Python
package `sphinx-mathjax-offline`, and scripts that would ask another server for
something are left out. Faults of the theme that a screen reader meets are
mended in the page's body.
"""

import importlib.util
import re
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.fileutil import copy_asset

from book_citations import CitedIn
from book_parts import BuiltWith, Scorecard, draw, found
from book_runs import last_run
from book_tables import mark_numbers

MATHJAX = "tex-chtml.js"
# of the package's files: the fonts, and what TeX commands load when used
PARTS = ("output/chtml/fonts", "input/tex/extensions")
# thebe loads a library from another server; solutions need no toggle
UNUSED = ("thebe", "toggle")
ICON_SCRIPT = re.compile(r"<script[^>]*/fontawesome\.js[^>]*></script>")
# a formula and the marks that belong to it: no line breaks between them
MARKED = re.compile(
    r'([(“]?<span class="math notranslate nohighlight">[^<]*</span>'
    r"[.,;:?!)”]+)"
)
LONGEST = 200  # characters of a page's description
FRONT = "Meta-training for in-context learning"
# what search engines show of a page that has no paragraph of its own
DESCRIBED = {
    "search": "Search the book on MAML-en-LLM: its pages, words and code.",
    "genindex": "Words of the book on MAML-en-LLM, and the pages with them.",
    "book/comparison": "What was compared, and fixed before any run was made.",
    "book/notation": "Symbols, words, open points of the source, constants.",
    "book/references": "The papers that the book on MAML-en-LLM cites.",
}
# paragraphs in them are no description
PARTS_OF_LISTS = (nodes.table, nodes.citation, nodes.list_item)


def setup(app: Sphinx) -> dict:
    """Connect everything; called by Sphinx."""
    # set by book/stamp.py: where the plain notebooks are that Colab opens, and
    # the commit that is published
    app.add_config_value("notebooks_branch", "", "html")
    app.add_config_value("built_from", "", "html")
    app.add_directive("scorecard", Scorecard)
    app.add_directive("built-with", BuiltWith)
    app.add_role("found", found)
    app.add_post_transform(Solutions)
    app.add_post_transform(CitedIn)
    app.connect("config-inited", set_paths)
    app.connect("builder-inited", draw)
    app.connect("html-page-context", mend_page, priority=900)
    app.connect("build-finished", copy_mathjax)
    app.connect("build-finished", drop_icon_script)
    return {
        "version": "1",
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }


# --- MathJax ---


def mathjax_folder() -> Path:
    """MathJax's files in the installed package."""
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None or not spec.submodule_search_locations:
        raise ExtensionError(
            "expected the package sphinx-mathjax-offline, found none; "
            "pip install -r requirements.txt"
        )
    return Path(spec.submodule_search_locations[0]) / "static" / "mathjax"


def set_paths(_app: Sphinx, config) -> None:
    """Formulas are set by the copy of MathJax that lies beside the pages."""
    config.mathjax_path = f"mathjax/{MATHJAX}"


def copy_mathjax(app: Sphinx, failure: Exception | None) -> None:
    """Copy the part of MathJax that the pages use, 2 MB."""
    if failure is not None or app.builder.format != "html":
        return
    source = mathjax_folder()
    target = Path(app.outdir) / "_static" / "mathjax"
    copy_asset(str(source / MATHJAX), str(target))
    for part in PARTS:
        copy_asset(str(source / part), str(target / part))


def drop_icon_script(app: Sphinx, failure: Exception | None) -> None:
    """Take the theme's 1.5 MB of drawn icons out of the pages.

    Its style sheet draws the same icons from a font. The script stands in a
    macro of the theme, which a template of ours cannot replace.
    """
    if failure is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir)
    for page in folder.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        page.write_text(ICON_SCRIPT.sub("", text), encoding="utf-8")
    for file in (folder / "_static" / "scripts").glob("fontawesome.js*"):
        file.unlink()


# --- pages ---


class Solutions(SphinxPostTransform):
    """An admonition of class `dropdown` becomes <details>: no script."""

    default_priority = 800
    formats = ("html",)

    def run(self, **_) -> None:
        for box in list(self.document.findall(nodes.admonition)):
            if "dropdown" not in box["classes"]:
                continue
            title, *content = box.children
            name = title.astext()
            opening = f'<details class="solution"><summary>{name}</summary>'
            before = nodes.raw("", opening, format="html")
            after = nodes.raw("", "</details>", format="html")
            place = box.parent.index(box)
            box.parent[place : place + 1] = [before, *content, after]


def mend_page(
    app: Sphinx, pagename: str, _template, context: dict, doctree
) -> None:
    """Mend scripts, description and body of one page."""
    body = context.get("body", "")
    if "data-bowls" in body:
        app.add_js_file("bowls.js", loading_method="defer")
    if pagename == "search":
        app.add_js_file("search.js", loading_method="defer")
    has_math = 'class="math' in body
    kept = []
    for script in context.get("script_files", ()):
        text = f"{script.filename} {script.attributes.get('body', '')}".lower()
        needless = not has_math and "mathjax" in text
        if not needless and script not in kept and not _unused(text):
            kept.append(script)
    context["script_files"] = kept
    context["css_files"] = [
        style
        for style in context.get("css_files", ())
        if not _unused(str(style.filename))
    ]
    context["default_mode"] = context.get("default_mode") or "auto"
    if pagename == app.config.root_doc:
        context["title"] = (
            FRONT  # or the book's name stands in its title twice
        )
    context["body"] = mend_body(body)
    line = last_run(Path(app.srcdir) / f"{pagename}.ipynb")
    if line:
        context["body"] += f'\n<p class="built-with">{escape(line)}</p>\n'
    if app.config.notebooks_branch:
        open_plain(context.get("header_buttons", []), app.config)
    context["metatags"] = context.get("metatags", "") + metatags(
        app, pagename, context, doctree
    )


def open_plain(buttons: list, config) -> None:
    """Point the buttons to what was published with this page.

    Colab opens the plain notebook, on its own branch, not the source. The
    repository's button opens the commit.
    """
    for button in buttons:
        open_plain(button.get("buttons", []), config)
        address = button.get("url", "")
        if "colab.research.google.com" in address:
            branch = f"/blob/{config.notebooks_branch}/book/"
            # a branch's name may have slashes
            button["url"] = re.sub(r"/blob/.+/book/", branch, address)
        if button.get("label") == "source-repository-button":
            button["url"] = f"{address}/tree/{config.built_from}"


def _unused(text: str) -> bool:
    return any(word in text.lower() for word in UNUSED)


def mend_body(body: str) -> str:
    """Roles, names and empty headers that a screen reader stumbles over.

    A full stop after a formula stays on its line.
    """
    body = re.sub(
        r'(<div) role="list"( class="citation-list">)', r"\1\2", body
    )
    body = re.sub(r"<th>\s*</th>", "<td></td>", body)
    body = MARKED.sub(r'<span class="unbroken">\1</span>', body)
    body = mark_numbers(body)
    # a folded cell's name is the text that is seen
    body = body.replace(' aria-label="Toggle hidden content"', "")
    return body.replace(' role="doc-biblioentry"', "")


def metatags(app: Sphinx, pagename: str, context: dict, doctree) -> str:
    """What a search engine and a link's preview show of a page."""
    title = re.sub("<[^>]+>", "", context.get("title", ""))
    described = description(pagename, doctree)
    tags = {
        "og:type": "article",
        "og:title": title,
        "og:description": described,
    }
    address = app.config.html_baseurl  # set where the book is published
    if address:
        address = address.rstrip("/")
        tags["og:url"] = f"{address}/{pagename}.html"
        tags["og:image"] = f"{address}/_static/card.png"
        tags["og:image:alt"] = (
            "Two tasks, their inner steps and the meta-gradient"
        )
    lines = [
        f'<meta property="{name}" content="{_quoted(value)}">'
        for name, value in tags.items()
    ]
    lines.append(f'<meta name="description" content="{_quoted(described)}">')
    return "\n" + "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return (
        text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    )


def description(pagename: str, doctree) -> str:
    """The first paragraph of a page, cut at a word."""
    if pagename in DESCRIBED or doctree is None:
        return DESCRIBED.get(pagename, FRONT)
    for paragraph in doctree.findall(nodes.paragraph):
        text = " ".join(paragraph.astext().split()).removeprefix("Claim. ")
        text = re.sub(r" \[[\w+, ]+\d\d[a-z]?\]", "", text)  # citations
        if len(text) > 40 and not _within(paragraph, PARTS_OF_LISTS):
            short = text[:LONGEST].rsplit(" ", 1)[0]
            return text if len(text) <= LONGEST else f"{short} …"
    return FRONT


def _within(node, kinds) -> bool:
    """Whether one of the nodes around is of the kinds."""
    while node.parent is not None:
        node = node.parent
        if isinstance(node, kinds):
            return True
    return False
