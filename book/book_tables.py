"""Columns of numbers in the tables that pandas writes."""

import re
from itertools import count

TABLE = re.compile(r'(?s)<table[^>]*class="dataframe.*?</table>')
CELL = re.compile(r"(?s)(<t[hd]\b)([^>]*>)(.*?)(?=</t[hd]>)")
NUMBER = re.compile(r"\s*(?:[-+−]?\d[\d,.]*(?:e[-+]?\d+)?(?: ?%)?|–|NaN)?\s*")


def mark_numbers(body: str) -> str:
    """Every column of numbers, with its header, gets the class `number`."""
    return TABLE.sub(lambda found: _marked(found[0]), body)


def _marked(table: str) -> str:
    *rows, end = table.split("</tr>")
    head, *cells = [CELL.findall(row) for row in rows]
    if "span=" in table or any(len(row) != len(head) for row in cells):
        return table  # a cell of several rows or columns
    numbers = {
        place
        for place in range(1, len(head))
        if all(NUMBER.fullmatch(row[place][2]) for row in cells)
    }
    return "</tr>".join([*(_with_class(row, numbers) for row in rows), end])


def _with_class(row: str, numbers: set[int]) -> str:
    place = count()

    def mark(cell) -> str:
        name = ' class="number"' if next(place) in numbers else ""
        return f"{cell[1]}{name}{cell[2]}{cell[3]}"

    return CELL.sub(mark, row)
