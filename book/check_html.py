"""Fail unless every page of _toc.yml was written.

python book/check_html.py [HTML_FOLDER], from the repository's root
"""

import sys
from pathlib import Path

import yaml

SMALLEST = 5_000  # bytes; the theme alone is more


def pages(entry):
    """Every file named in a table of contents."""
    if isinstance(entry, dict):
        yield from (entry[key] for key in ("root", "file") if key in entry)
        for part in entry.values():
            yield from pages(part)
    elif isinstance(entry, list):
        for part in entry:
            yield from pages(part)


html = Path(sys.argv[1] if sys.argv[1:] else "_build/html")
files = [
    html / f"{page}.html"
    for page in pages(yaml.safe_load(Path("_toc.yml").read_text()))
]
bad = [
    str(file)
    for file in files
    if not file.is_file() or file.stat().st_size < SMALLEST
]
if bad:
    sys.exit(
        f"expected a page of at least {SMALLEST} bytes for each entry of "
        "_toc.yml, "
        f"missing or smaller: {', '.join(bad)}"
    )
print(f"{len(files)} pages: {(html / 'index.html').resolve()}")
