"""Answers that are whole numbers: places of options, unless they may be options."""

from typing import Any

from ..errors import DataError, shown

_AS_TEXT = "as text pass output=lambda row: str(row[…])"


class Numbered:
    """The numbered answers of one data set.

    A number is the place of an option, from 0. Where every number of the data set also
    stands among its row's options as text, and at another place in some, nobody knows
    which of the two it is: 1 of "1", "2", "3", "4".
    """

    def __init__(self):
        self.all_stand = True  # each as text among its options, so far
        self.first: tuple[str, int, Any] | None = None  # that stands elsewhere

    def chosen(self, number: int, options: Any, where: str) -> Any:
        """The option at this place."""
        if not isinstance(options, (list, tuple)):
            raise DataError(
                f"{where}: expected a string, found {number}; name the options that it "
                "is an index of, or pass a function"
            )
        stands = str(number) in options
        elsewhere = stands and options.index(str(number)) != number
        if not 0 <= number < len(options):
            cure = _AS_TEXT if stands else "leave rows without an answer out"
            raise DataError(
                f"{where}: expected an index of {len(options)} options, found "
                f"{number}; {cure}"
            )
        self.all_stand = self.all_stand and stands
        if elsewhere and self.first is None:
            self.first = where, number, options
        return options[number]

    def check(self) -> None:
        """`DataError` where the numbers can be read in two ways."""
        if self.first is None or not self.all_stand:
            return
        where, number, options = self.first
        raise DataError(
            f"{where}: expected an index or an option, found {number}, which may be "
            f"option {shown(str(number))} or, counted from 0, "
            f"{shown(options[number])}; {_AS_TEXT}, as an index one that gives the "
            "option"
        )
