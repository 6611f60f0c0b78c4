"""A caller's own ``progress``: what it raises is no fault of the task scored."""

from collections.abc import Callable

from ..errors import check_callable


class Untold(BaseException):
    """An error of ``progress``; no `Exception`, so that no task is blamed for it."""

    def __init__(self, why: Exception):
        super().__init__(str(why))
        self.why = why


def teller(progress: Callable | None) -> Callable[..., None]:
    """A function that calls ``progress``, if there is one, and raises `Untold`.

    Raises:
        ValueError: what cannot be called.
    """
    if progress is not None:
        check_callable("progress", progress, "a function of task, seed and score")

    def tell(*news) -> None:
        try:
            if progress is not None:
                progress(*news)
        except Exception as error:
            raise Untold(error) from error

    return tell
