"""The kinds of pre-training text by name, and the mixtures that recipes name."""

from collections.abc import Mapping

from ..minicrossfit.draw import Draw
from .corpus import TEXT_KINDS, Kind
from .lists import headed, picked, tailed
from .rebound import sections, slots
from .relations import relations, told
from .rows import Maker, text_of

MAKERS: Mapping[str, Maker] = {
    maker.__name__: maker
    for maker in (sections, slots, headed, tailed, picked, told, relations)
}


def _kind(maker: Maker) -> Kind:
    def kind(draw: Draw, length: int) -> list[str]:
        return text_of(maker, draw, length)[0]

    return kind


KINDS: Mapping[str, Kind] = {
    **{kind.__name__: kind for kind in TEXT_KINDS},
    **{name: _kind(maker) for name, maker in MAKERS.items()},
}
# a kind is drawn as often as it is named
DENSE = tuple(kind.__name__ for kind in TEXT_KINDS)
BOUND = ("sections", "sections", "slots", "slots")
LISTED = ("headed", "headed", "headed", "tailed", "tailed", "picked")
RELATED = ("told", "told", "relations", "relations", "relations", "relations")
# what a first look at the new kinds is made of, and the whole
EASY = (*DENSE, *DENSE, *BOUND, *LISTED, *("told",) * 4, "relations", "relations")
WHOLE = (*DENSE, *BOUND, *LISTED, *RELATED)
