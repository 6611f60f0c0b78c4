"""What the texts made of rows have in common: a row ends with a word to be known.

A `Maker` draws what is a text's own (its words, its marks, which slot counts) and
returns the `Row` that writes one row after another.
"""

from collections.abc import Callable

from ..minicrossfit.draw import Draw

# words, and the place of the one that the text so far tells, if one is told
Row = Callable[[Draw], tuple[list[str], int | None]]
Maker = Callable[[Draw], Row]


def text_of(maker: Maker, draw: Draw, length: int) -> tuple[list[str], list[int]]:
    """A text of ``length`` words, and the places of the words to be known."""
    row = maker(draw)
    found: list[str] = []
    asked: list[int] = []
    while len(found) < length:
        words, place = row(draw)
        if place is not None:
            asked.append(len(found) + place)
        found += words
    return found[:length], [place for place in asked if place < length]
