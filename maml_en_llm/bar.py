"""The bar that a command draws on stderr while it works."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .options import quiet

UNTIL_BEGUN = 1e9  # seconds without a bar
WORK = "{percentage:3.0f}%|{bar}| {elapsed} < {remaining}{postfix}"


class Bar:
    """A bar on stderr with the last loss and the remaining time, if ``drawn``.

    It is there once something is done: what is refused at once has none before it.
    """

    def __init__(self, total: int, drawn: bool = True):
        from tqdm import tqdm

        quiet()
        drawn = drawn and sys.stderr is not None
        how: dict[str, Any] = dict(total=total, mininterval=1, dynamic_ncols=True)
        self.bar = tqdm(disable=True)
        with self._drawn():
            self.bar = tqdm(disable=not drawn, delay=UNTIL_BEGUN, **how)
        self.begun = False
        self.records = 0

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *error) -> None:
        with self._drawn():
            self.bar.close()

    @contextmanager
    def _drawn(self) -> Iterator[None]:
        """Without a bar from the first that cannot be drawn; the work goes on.

        As on a disk that is full, or where the reader of stderr has gone.
        """
        try:
            yield
        except OSError:
            self.bar.disable = True

    def step(self, step: int, loss: float | None) -> None:
        """Step ``step``, from 0, is done; a resumed run begins where it stopped."""
        if not self.begun:
            self.bar.initial = self.bar.n = step
            self._begin()
        if loss is not None:
            self.bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        with self._drawn():
            self.bar.update(step + 1 - self.bar.n)

    def work(self, row: dict, done: float, total: float) -> None:
        """A record is there; ``done`` of ``total`` seconds of work are.

        What remains is told by the work that is left, not by the number of records.
        """
        self._begin()
        self.records += 1
        self.bar.bar_format = WORK
        self.bar.total, self.bar.n = total, min(done, total)
        where = ", ".join(str(row.get(name)) for name in ("method", "setting", "seed"))
        self.bar.set_postfix_str(f"{self.records} records, {where}", refresh=False)
        with self._drawn():
            self.bar.refresh()

    def count(self, about: str) -> None:
        """One more is done."""
        self._begin()
        self.bar.set_postfix_str(about, refresh=False)
        with self._drawn():
            self.bar.update()

    def _begin(self) -> None:
        self.begun = True
        self.bar.delay = 0
