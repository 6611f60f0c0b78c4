"""The words of the miniature world, of texts and of the base model's vocabulary."""

from typing import NamedTuple


class Domain(NamedTuple):
    """A field of life.

    Two groups of nouns, and the words that its sentences open and close with.
    """

    groups: tuple[tuple[str, ...], tuple[str, ...]]
    opening: tuple[str, ...]
    closing: tuple[str, ...]
    foreign: bool = False  # no meta-training task is about it


def _field(
    first: str, second: str, opening: str, closing: str, foreign: bool = False
) -> Domain:
    groups = tuple(first.split()), tuple(second.split())
    return Domain(groups, tuple(opening.split("|")), tuple(closing.split("|")), foreign)


def _split(text: str) -> list[str]:
    return text.split()


DOMAINS: dict[str, Domain] = {
    "animals": _field(
        "dog cat horse cow pig goat",
        "owl crow duck swan hawk robin",
        "outside",
        "again",
    ),
    "food": _field(
        "bread cheese rice soup butter honey",
        "apple pear plum grape lemon peach",
        "at lunch",
        "now",
    ),
    "music": _field(
        "drum bell gong piano organ triangle",
        "violin harp guitar cello flute horn",
        "on stage",
        "tonight",
    ),
    "sport": _field(
        "ball bat racket puck net goal",
        "runner swimmer boxer rider skater jumper",
        "after practice",
        "then",
    ),
    "weather": _field(
        "rain snow hail fog frost storm",
        "sun breeze rainbow dawn cloud sky",
        "this week",
        "here",
    ),
    "travel": _field(
        "train bus car truck tram taxi",
        "boat ship ferry canoe raft yacht",
        "on holiday",
        "there",
    ),
    "clothes": _field(
        "coat scarf glove boot hat sweater",
        "shirt dress skirt sandal shorts belt",
        "in town",
        "today",
    ),
    "home": _field(
        "chair table sofa bed shelf desk",
        "spoon fork plate cup bowl knife",
        "inside",
        "still",
    ),
    "garden": _field(
        "rose tulip lily daisy poppy orchid",
        "oak pine maple birch willow cedar",
        "in spring",
        "soon",
    ),
    "school": _field(
        "pencil paper ruler chalk eraser book",
        "teacher pupil coach librarian principal nurse",
        "before class",
        "too",
    ),
    "market": _field(
        "coin note cheque card receipt ticket",
        "baker butcher grocer tailor florist barber",
        "at noon",
        "also",
    ),
    "sea": _field(
        "shark whale tuna cod seal dolphin",
        "shell coral sand pearl weed pebble",
        "near shore",
        "alone",
    ),
    "space": _field(
        "comet meteor asteroid moon planet star",
        "rocket rover probe shuttle satellite antenna",
        "beyond earth|through the lens",
        "slowly|in orbit",
        True,
    ),
    "medicine": _field(
        "fever cough rash cramp nausea headache",
        "pill syrup bandage needle mask splint",
        "at the clinic|for one patient",
        "carefully|by night",
        True,
    ),
}


UNSEEN = tuple(name for name, domain in DOMAINS.items() if domain.foreign)


MOODS = (
    _split("good great lovely fine superb pleasant"),
    _split("bad awful ugly poor dreadful nasty"),
)

SIZES = (_split("big huge tall wide"), _split("small tiny short narrow"))

COLOURS = _split("red blue green yellow white black brown pink")

STATES = _split("old new wet dry clean dirty warm cold")

NAMES = _split("ann bob carl dora emil fay gus hana")

PLACES = _split("box bag room hall yard cellar attic tent")

VERBS = _split("likes sees wants finds holds hides moves draws")

ADVERBS = _split("often rarely maybe surely never always")

_OPPOSITES = dict(
    zip(
        _split("big small good bad old wet clean warm tall wide"),
        _split("small big bad good new dry dirty cold short narrow"),
        strict=True,
    )
)
OPPOSITES = _OPPOSITES | {second: first for first, second in _OPPOSITES.items()}

NUMBERS = _split("one two three four")

LABELS = _split("""
alpha beta gamma delta sigma omega copper silver golden iron tin zinc north south east
west left right upper lower circle square cross diamond heart spade club crown monday
tuesday friday sunday april june august october salt pepper sugar spice king queen
bishop rook tiger lion zebra camel rome paris cairo lima oslo delhi tokyo boston river
lake valley hill forest desert island canyon lamp candle torch lantern window door gate
fence paint brush canvas frame yes no true false accept reject keep drop plus minus open
shut fast slow early late soft hard sharp blunt sweet sour light dark heavy hollow
smooth rough first second third fourth major minor public private urban rural modern
ancient simple complex active passive local global formal casual solid liquid linear
round spiral vertical level static mobile digital manual wooden woollen cotton linen
velvet satin marble granite amber ivory crimson scarlet violet indigo olive teal magenta
maroon
""")

FUNCTION = _split("""
the a and was is in at with has have but . , ? : ; [SEP] of who where what which before
after it not are decide read answer text word words how many copy by to say choose
question from context whether sentences mean same follows last other kind colour size
mood thing group comes agree times appears give opposite name noun swap place sentence
""")


def vocabulary() -> list[str]:
    """Every word of texts, labels and instructions, once, in a fixed order."""
    words = [
        *FUNCTION,
        *NAMES,
        *PLACES,
        *VERBS,
        *ADVERBS,
        *COLOURS,
        *STATES,
        *NUMBERS,
        *OPPOSITES,
        *OPPOSITES.values(),
    ]
    for pair in (MOODS, SIZES):
        words += [word for group in pair for word in group]
    for domain in DOMAINS.values():
        words += [word for group in domain.groups for word in group]
        words += " ".join((*domain.opening, *domain.closing)).split()
    return list(dict.fromkeys([*words, *DOMAINS, *LABELS]))
