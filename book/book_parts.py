"""Pictures that are drawn for the pages, and what the pages say of the data.

The front page shows and says what `results/scorecard.json` holds, and when
each page's code last ran.
"""

import json
from html import escape
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import book_runs

CARD = (1200, 630)  # pixels of the picture that a link to the book shows
NUMBERS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven")


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


class Scorecard(SphinxDirective):
    """The claims at a glance; nothing without results/scorecard.json.

    Its content is the caption, and ``name`` what references use.
    """

    has_content = True
    option_spec = {"name": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        rows = claims()
        if not rows:
            return []
        draw_claims(rows, Path(self.env.app.outdir) / "_static")
        alt = escape(at_a_glance(rows))
        picture = f'<img src="../_static/scorecard.svg" alt="{alt}">'
        figure = nodes.figure("", classes=["idea"])
        figure += nodes.raw("", picture, format="html")
        words = self.parse_content_to_nodes()
        figure += nodes.caption("", "", *words[0].children)
        self.add_name(figure)
        return [figure]


def draw_claims(rows: list[dict], folder: Path) -> None:
    """Write scorecard.svg."""
    import matplotlib.pyplot as plt
    from maml_en_llm import plots

    plots.use_style()
    figure, axes = plt.subplots(figsize=(7.5, 4.8))
    plots.claims_at_a_glance(axes, rows)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "scorecard.svg", metadata={"Date": None})
    plt.close(figure)


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
    return ": ".join(filter(None, [size_words(row), row["verdict"]]))


def size_words(row: dict) -> str:
    """A claim's mean difference and interval; "" of one without."""
    if row["unit"] != "points" or row["low"] is None:
        return ""
    ours, low, high = (f"{row[n]:+.1f}" for n in ("ours", "low", "high"))
    return f"{ours} points ({low} to {high})"


def at_a_glance(rows: list[dict]) -> str:
    """What the figure of the claims shows, for readers who cannot see it."""
    named = {"reproduced": []}
    for row in rows:
        words = f"{row['claim']} {size_words(row)}".strip()
        named.setdefault(row["verdict"], []).append(words)
    good = named.pop("reproduced")
    said = f"{NUMBERS[len(good)]} of {NUMBERS[len(rows)].lower()} claims of "
    said += "the paper are reproduced here"
    parts = [": ".join(filter(None, [said, ", ".join(good)]))]
    parts += [f"{word}: {', '.join(names)}" for word, names in named.items()]
    return "; ".join(parts) + "."


class BuiltWith(SphinxDirective):
    """When, on what and with what each page's code ran; this build's own."""

    def run(self) -> list[nodes.Node]:
        files = sorted(Path(self.env.srcdir).glob("book/*.ipynb"))
        known = [x for x in files if f"book/{x.stem}" in self.env.found_docs]
        here = book_runs.versions("jupyter-book")
        text = f"These pages were built on {book_runs.machine()}, with {here}"
        if self.config.built_from:
            text += f", from commit {self.config.built_from[:12]}"
        box = nodes.container("", classes=["built-with"])
        box += self.parse_text_to_nodes(book_runs.table(known))
        box += nodes.paragraph("", f"{text}.")
        return [box]
