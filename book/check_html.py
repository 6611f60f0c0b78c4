"""Fail unless every page of _toc.yml was written, with its text.

python book/check_html.py [HTML_FOLDER] [--outside], from the repository's root

With --outside the addresses of other sites are asked as well, once each.
"""

import argparse
import sys
import urllib.error
import urllib.request
from html.parser import HTMLParser
from http.client import HTTPException
from pathlib import Path

import yaml

SMALLEST = 300  # characters of a page's own text; the references have more
PATIENCE = 20  # seconds for an answer of another site


class Article(HTMLParser):
    """The characters of a page's own text, its title, its outside links."""

    def __init__(self, text: str):
        super().__init__()
        self.inside, self.characters, self.title = 0, 0, False
        self.links = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Count articles that are open; note titles and links."""
        self.inside += tag == "article"
        self.title |= bool(self.inside) and tag == "h1"
        address = dict(attrs).get("href") or ""
        if self.inside and tag == "a" and address.startswith("http"):
            self.links.add(address.partition("#")[0])

    def handle_endtag(self, tag):
        """Leave an article."""
        self.inside -= tag == "article"

    def handle_data(self, data):
        """Count what a reader sees."""
        if self.inside:
            self.characters += len(data.strip())


def pages(entry):
    """Every file named in a table of contents."""
    if isinstance(entry, dict):
        yield from (entry[key] for key in ("root", "file") if key in entry)
        for part in entry.values():
            yield from pages(part)
    elif isinstance(entry, list):
        for part in entry:
            yield from pages(part)


def read(file: Path) -> Article:
    """The page, or an empty one where there is none."""
    return Article(file.read_text(encoding="utf-8") if file.is_file() else "")


def fault_of(address: str) -> str | None:
    """What is wrong with an address; refusing robots is not."""
    request = urllib.request.Request(
        address, headers={"User-Agent": "link check of a book"}
    )
    try:
        urllib.request.urlopen(request, timeout=PATIENCE).close()
    except urllib.error.HTTPError as error:
        return f"{error.code}" if error.code in (404, 410) else None
    except (OSError, HTTPException) as error:
        return str(error)
    return None


def main() -> None:
    """Look at every page; name all that are wanting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("html", type=Path, nargs="?", default="_build/html")
    parser.add_argument("--outside", action="store_true")
    args = parser.parse_args()
    contents = yaml.safe_load(Path("_toc.yml").read_text(encoding="utf-8"))
    found = {
        page: read(args.html / f"{page}.html") for page in pages(contents)
    }
    bad = [
        f"{page} ({article.characters})"
        for page, article in found.items()
        if article.characters < SMALLEST or not article.title
    ]
    if bad:
        sys.exit(
            f"expected a page with a title and {SMALLEST} characters of text "
            f"for each entry of _toc.yml, found less in: {', '.join(bad)}"
        )
    if args.outside:
        links = sorted(set().union(*(page.links for page in found.values())))
        dead = [f"{link}: {why}" for link in links if (why := fault_of(link))]
        if dead:
            sys.exit("expected answers, found\n" + "\n".join(dead))
        print(f"{len(links)} addresses of other sites answer")
    print(f"{len(found)} pages: {(args.html / 'index.html').resolve()}")


if __name__ == "__main__":
    main()
