"""Ctrl-C and SIGTERM as exceptions, which do not come while something is half done."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

BY_SIGNAL = 128  # exit status of what a signal has ended, less its number


class Interrupted(KeyboardInterrupt):
    """A run that was told to stop, and can go on.

    ``step`` is the number of steps done, ``code`` the exit status by custom: 130 for
    Ctrl-C, 143 for SIGTERM. The message says how to go on.
    """

    def __init__(self, message: str, step: int, code: int):
        super().__init__(message)
        self.step = step
        self.code = code

    def __reduce__(self):  # it comes out of other processes, too
        return type(self), (*self.args, self.step, self.code)


class Signalled(KeyboardInterrupt):
    """A signal that came; ``code`` as of `Interrupted`."""

    def __init__(self, number: int):
        super().__init__()
        self.code = BY_SIGNAL + number

    def __reduce__(self):
        return type(self), (self.code - BY_SIGNAL,)


def code_of(error: KeyboardInterrupt) -> int:
    """The exit status of what was stopped: by Ctrl-C, where it says no other."""
    return getattr(error, "code", BY_SIGNAL + signal.SIGINT)


class Signals:
    """Raises a signal where it comes, or, while it is held, right after."""

    def __init__(self):
        self.holding = 0
        self.waiting = 0

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Within, Ctrl-C and SIGTERM raise `Signalled`.

        Only in the main thread, and only where nobody listens but other `Signals`.
        """
        usual = {
            signal.SIGINT: signal.default_int_handler,
            signal.SIGTERM: signal.SIG_DFL,
        }
        before = {}
        if threading.current_thread() is threading.main_thread():
            for number, default in usual.items():
                handler = signal.getsignal(number)
                other = isinstance(getattr(handler, "__self__", None), Signals)
                if handler is default or other:
                    before[number] = signal.signal(number, self._come)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within, a signal waits for the block to end, of nested ones the outermost."""
        self.holding += 1
        try:
            yield
        finally:
            self.holding -= 1
        if self.waiting and not self.holding:
            number, self.waiting = self.waiting, 0
            raise Signalled(number)

    def _come(self, number: int, _frame) -> None:
        if self.holding:
            self.waiting = number
        else:
            raise Signalled(number)
