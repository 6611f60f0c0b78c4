"""The page of references says where each work is cited."""

from docutils import nodes
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform


class CitedIn(SphinxPostTransform):
    """Below each reference, links to the first place on every page citing it.

    sphinxcontrib-bibtex links back within one page only, and here all
    references stand on a page of their own.
    """

    default_priority = 6  # after the references are there (5), before links

    def run(self, **_) -> None:
        for citation in list(self.document.findall(nodes.citation)):
            places = places_citing(self.env, citation["ids"])
            if places:
                citation += line_of_links(self.env, self.app, places)


def places_citing(env: BuildEnvironment, ids: list[str]) -> dict[str, str]:
    """Page → the id of its first citation of this work, in reading order."""
    domain = env.get_domain("cite")
    keys = {c.key for c in domain.citations if c.citation_id in ids}
    first: dict[str, str] = {}
    for reference in domain.citation_refs:
        if keys & {target.key for target in reference.targets}:
            first.setdefault(reference.docname, reference.citation_ref_id)
    order = list(env.toctree_includes.get(env.config.root_doc, ()))
    ranks = {page: rank for rank, page in enumerate(order)}
    return dict(sorted(first.items(), key=lambda x: ranks.get(x[0], -1)))


def line_of_links(env: BuildEnvironment, app, places) -> nodes.paragraph:
    """“Cited in” and a link per page, named by its number and title."""
    line = nodes.paragraph(classes=["cited-in"])
    line += nodes.Text("Cited in ")
    for i, (page, place) in enumerate(places.items()):
        if i:
            line += nodes.Text(", ")
        address = app.builder.get_relative_uri(env.docname, page)
        line += nodes.reference(
            "", name_of(env, page), refuri=f"{address}#{place}", internal=True
        )
    return line


def name_of(env: BuildEnvironment, page: str) -> str:
    """A page's number, where it has one, and title."""
    number = env.toc_secnumbers.get(page, {}).get("", ())
    title = env.titles[page].astext()
    return " ".join([".".join(map(str, number)), title]).strip()
