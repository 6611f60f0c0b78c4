"""Sphinx extension of the book's pages.

Everything a page needs comes with it: MathJax is copied from the Python
package `sphinx-mathjax-offline`, the front page's pictures are drawn here, and
scripts that would ask another server for something are left out. Faults of the
theme that a screen reader meets are mended in the page's body.
"""

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
from datetime import datetime
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective
from sphinx.util.fileutil import copy_asset

MATHJAX = "tex-chtml.js"
# of the package's files: the fonts, and what TeX commands load when used
PARTS = ("output/chtml/fonts", "input/tex/extensions")
# thebe loads a library from another server; solutions need no toggle
UNUSED = ("thebe", "toggle")
LONGEST = 200  # characters of a page's description
FRONT = "Meta-training for in-context learning"
CARD = (1200, 630)  # pixels of the picture that a link to the book shows


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
    app.connect("config-inited", set_paths)
    app.connect("builder-inited", draw)
    app.connect("html-page-context", mend_page, priority=900)
    app.connect("build-finished", copy_mathjax)
    return {
        "version": "1",
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }


# --- MathJax ---


def mathjax_folder() -> Path:
    """MathJax's files in the installed package."""
    found = importlib.util.find_spec("sphinx-mathjax-offline")
    if found is None or not found.submodule_search_locations:
        raise ExtensionError(
            "expected the package sphinx-mathjax-offline, found none; "
            "pip install -r requirements.txt"
        )
    return Path(found.submodule_search_locations[0]) / "static" / "mathjax"


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


# --- pictures ---


def bowls() -> tuple:
    """`plots.two_bowls`'s arguments, with the numbers of bowls.js."""
    import torch
    from maml_en_llm import SGD, meta_gradient

    shapes = torch.tensor(
        [[[3.0, 1.0], [1.0, 1.0]], [[0.8, -0.6], [-0.6, 2.5]]]
    )
    centres = torch.tensor([[-1.0, 0.6], [1.2, -0.4]])
    theta, inner, k = {"theta": torch.tensor([2.0, 1.5])}, SGD(0.1), 3

    def bowl(params, task):
        offset = params["theta"] - centres[task]
        return 0.5 * offset @ shapes[task] @ offset

    paths, queries, pulled = [], [], []
    for task in (0, 1):
        found = [
            meta_gradient(bowl, theta, [task] * t, task, inner)
            for t in range(k)
        ]
        last = meta_gradient(bowl, theta, [task] * k, task, inner)
        ends = [x.adapted["theta"] for x in (*found, last)]
        paths.append(torch.stack(ends))
        queries.append(shapes[task] @ (ends[-1] - centres[task]))
        pulled.append(last.grads["theta"])
    return shapes, centres, paths, queries, pulled


def draw(app: Sphinx) -> None:
    """The static picture of the two bowls, and the card that a link shows."""
    if app.builder.format != "html":
        return
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from maml_en_llm import plots

    folder = Path(app.outdir) / "_static"
    folder.mkdir(parents=True, exist_ok=True)
    plots.use_style()
    numbers = bowls()
    figure, axes = plt.subplots(figsize=(6.5, 4.6))
    plots.two_bowls(axes, *numbers)
    figure.savefig(folder / "bowls.svg", metadata={"Date": None})
    plt.close(figure)
    figure = plt.figure(figsize=(CARD[0] / 100, CARD[1] / 100), dpi=100)
    figure.set_layout_engine("none")
    figure.text(0.06, 0.62, "MAML-en-LLM,\nreproduced", size=44, weight="bold")
    question = (
        "Does learning to adapt\nmake a language model\n"
        "a better in-context learner?"
    )
    figure.text(0.06, 0.28, question, size=22, linespacing=1.5)
    axes = figure.add_axes((0.55, 0.12, 0.42, 0.8))
    plots.two_bowls(axes, *numbers, words=False)
    figure.savefig(folder / "card.png", dpi=100)
    plt.close(figure)


# --- directives ---


class Scorecard(SphinxDirective):
    """The claims at a glance; nothing without results/scorecard.json."""

    def run(self) -> list[nodes.Node]:
        rows = claims()
        if not rows:
            return []
        import matplotlib.pyplot as plt
        from maml_en_llm import plots

        plots.use_style()
        figure, axes = plt.subplots(figsize=(8, 4.5))
        plots.claims_at_a_glance(axes, rows)
        folder = Path(self.env.app.outdir) / "_static"
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / "scorecard.svg", metadata={"Date": None})
        plt.close(figure)
        alt = "Per claim of the paper: the stated gain, ours, its interval."
        picture = f'<img src="../_static/scorecard.svg" alt="{alt}">'
        return [
            nodes.raw(
                "", f'<figure class="idea">{picture}</figure>', format="html"
            )
        ]


def claims() -> list[dict]:
    """The scorecard's rows; none where there is no scorecard."""
    record = Path("results") / "scorecard.json"
    if not record.is_file():
        return []
    return json.loads(record.read_text(encoding="utf-8"))["rows"]


def found(_name, _raw, claim: str, *_) -> tuple[list, list]:
    """Role: what the scorecard says of a claim, such as {found}`C1`."""
    rows = {row["claim"]: row for row in claims()}
    return [nodes.Text(found_words(rows.get(claim)))], []


def found_words(row: dict | None) -> str:
    """A claim's verdict with its mean difference and interval."""
    if row is None:
        return "not yet: the runs are still to be made"
    if row["unit"] != "points" or row["low"] is None:
        return row["verdict"]
    ours, low, high = (f"{row[n]:+.1f}" for n in ("ours", "low", "high"))
    return f"{ours} points ({low} to {high}): {row['verdict']}"


class BuiltWith(SphinxDirective):
    """When each page's code last ran and how long; this build's versions."""

    def run(self) -> list[nodes.Node]:
        lines = [
            "| page | its code last ran | seconds |",
            "| --- | --- | --- |",
        ]
        for file in sorted(Path(self.env.srcdir).glob("book/*.ipynb")):
            run = run_of(file)
            if run.get("duration"):
                name = f"{{doc}}`{file.stem}`"
                lines.append(
                    f"| {name} | {day_of(run)} | {run['duration']:.0f} |"
                )
        found = versions("jupyter-book")
        text = f"These pages were built on {machine()}, with {found}"
        if self.config.built_from:
            text += f", from commit {self.config.built_from[:12]}"
        box = nodes.container("", classes=["built-with"])
        box += self.parse_text_to_nodes("\n".join(lines))
        box += nodes.paragraph("", f"{text}.")
        return [box]


def machine() -> str:
    """The processors that chapters find here."""
    import torch

    cores = f"{os.cpu_count()} CPU cores"
    if not torch.cuda.is_available():
        return cores
    return f"one {torch.cuda.get_device_name()} and {cores}"


def versions(*packages: str) -> str:
    """Python and packages, as a list in words."""
    named = ("torch", "transformers", "maml_en_llm", *packages)
    found = [f"{name} {importlib.metadata.version(name)}" for name in named]
    return ", ".join([f"Python {platform.python_version()}", *found])


def run_of(file: Path) -> dict:
    """What papermill noted when the chapter ran; {} where it did not."""
    notebook = json.loads(file.read_text(encoding="utf-8"))
    return notebook["metadata"].get("papermill", {})


def day_of(run: dict) -> str:
    """The day on which a run ended."""
    end = datetime.fromisoformat(run["end_time"])
    return f"{end.day} {end:%B %Y}"


def last_run(file: Path) -> str:
    """A line on the chapter's last run; "" for other pages."""
    run = run_of(file) if file.is_file() else {}
    if not run.get("duration"):
        return ""
    return (
        f"The code of this page last ran on {day_of(run)}, in "
        f"{run['duration']:.0f} s on {machine()}, with {versions()}."
    )


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
    """Roles and empty headers that a screen reader stumbles over."""
    body = re.sub(
        r'(<div) role="list"( class="citation-list">)', r"\1\2", body
    )
    body = re.sub(r"<th>\s*</th>", "<td></td>", body)
    return body.replace(' role="doc-biblioentry"', "")


def metatags(app: Sphinx, pagename: str, context: dict, doctree) -> str:
    """What a search engine and a link's preview show of a page."""
    title = re.sub("<[^>]+>", "", context.get("title", ""))
    tags = {"og:type": "article", "og:title": title}
    described = description(doctree)
    if described:
        tags["og:description"] = described
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
    if described:
        lines.append(
            f'<meta name="description" content="{_quoted(described)}">'
        )
    return "\n" + "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return (
        text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    )


def description(doctree) -> str:
    """The first paragraph of a page, cut at a word."""
    if doctree is None:
        return ""
    for paragraph in doctree.findall(nodes.paragraph):
        text = " ".join(paragraph.astext().split())
        if len(text) > 40:
            short = text[:LONGEST].rsplit(" ", 1)[0]
            return text if len(text) <= LONGEST else f"{short} …"
    return ""
