"""Which examples an episode is made of: a function of a key, and of nothing else.

A draw is laid out so that a larger one contains a smaller one. Examples that may be
asked about come from the front of one random order of the task's examples, those that
are shown from behind the first `RESERVED` of it: who asks more does not change what is
shown.
"""

import random
from collections.abc import Iterator
from itertools import chain, islice
from typing import NamedTuple

RESERVED = 64  # examples that prompts show last, or half of a smaller task's


class Drawn(NamedTuple):
    """One prompt, as places of examples in their task: the query, and what is shown."""

    query: int
    shown: tuple[int, ...]


def shuffled(size: int, key: str) -> Iterator[int]:
    """0 … size − 1 in a random order, drawn only as far as it is asked for."""
    rng = random.Random(key)
    moved: dict[int, int] = {}
    for i in range(size):
        j = rng.randrange(i, size)
        yield moved.get(j, j)
        moved[j] = moved.get(i, i)


def draw_prompts(
    size: int, key: str, steps: int, prompts: int, demonstrations: int
) -> list[list[Drawn]]:
    """Prompts of a query batch and of ``steps`` support batches, (steps + 1, prompts).

    All queries differ, and none is shown in any prompt. A row or a column more, or more
    ``demonstrations``, leave the others as they are, as long as the task of ``size``
    examples has some to spare: `RESERVED`, or half of them, are for queries. It needs
    (steps + 1) · prompts + demonstrations.
    """
    room = min(RESERVED, size // 2)
    asked = (steps + 1) * prompts
    places = [[_place(t, p) for p in range(prompts)] for t in range(steps + 1)]
    if max(map(max, places)) >= room:
        places = [[t * prompts + p for p in range(prompts)] for t in range(steps + 1)]
    front = list(islice(shuffled(size, key), max(room, asked)))
    queries = {front[place] for row in places for place in row}
    reserved = dict.fromkeys(front[:room])  # a set that keeps its order

    def drawn(t: int, p: int) -> Drawn:
        others = shuffled(size, f"{key} {t} {p}")
        behind = (i for i in others if i not in reserved)
        order = chain(behind, reversed(reserved))
        shown = islice((i for i in order if i not in queries), demonstrations)
        return Drawn(front[places[t][p]], tuple(shown))

    return [[drawn(t, p) for p in range(prompts)] for t in range(steps + 1)]


def _place(t: int, p: int) -> int:
    """A place for cell (t, p) of a table that can grow in both directions.

    Cells are counted in shells around (0, 0), each first along its row, the inner step:
    0 | 1 2 3 | 4 5 6 7 8 | …
    """
    shell = max(t, p)
    along = p if t == shell else shell + 1 + t
    return shell * shell + along
