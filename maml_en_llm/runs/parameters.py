"""A chapter's parameters: names that it does not have are refused."""

import ast
from collections.abc import MutableMapping
from numbers import Number

from ..errors import check_choice

_FIRST = "_maml_en_llm_parameters_checked"  # in a notebook whose cells have run before


def check_parameters(namespace: MutableMapping, *known: str) -> None:
    """Refuse parameters that a chapter does not have.

    papermill takes a misspelt name without a word. Call it with ``globals()`` right
    after a chapter's parameters, when they are all the plain values there are. Where
    the chapter has run before, its own variables are there too: then only cells of the
    notebook's history that set parameters, and nothing else, are looked at.
    """
    again = namespace.get(_FIRST, False)
    namespace[_FIRST] = True
    if again:
        given = _set_by_hand(namespace.get("In", ()), known)
    else:
        given = [name for name, value in namespace.items() if _is_given(name, value)]
    for name in given:
        check_choice("parameter", name, known)


def _is_given(name: str, value) -> bool:
    plain = (str, Number, list, tuple, dict, type(None))
    history = ("In", "Out")
    own = name.startswith("_") or name in history
    return not own and isinstance(value, plain)


def _set_by_hand(cells, known) -> list[str]:
    """The names of the last cell that sets a known parameter and holds only values."""
    for cell in reversed(list(cells)):
        names = _assigned(cell)
        if names & set(known):
            return sorted(names)
    return []


def _assigned(cell: str) -> set[str]:
    """Names that get a written-out value, if the cell does nothing else."""
    found = set()
    try:
        for line in ast.parse(cell).body:
            if not isinstance(line, ast.Assign):
                return set()
            ast.literal_eval(line.value)
            found |= {part.id for part in line.targets if isinstance(part, ast.Name)}
    except (SyntaxError, ValueError):  # a cell of another language, or with a call
        return set()
    return found
