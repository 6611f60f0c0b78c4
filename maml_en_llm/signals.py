"""Ctrl-C and SIGTERM, heard at a moment when everything can be saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

HEARD = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """What a signal ends; the message says what was saved.

    ``code`` is the exit status by custom: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.code = 128 + number


class Listener:
    """``signal`` is the number of the signal that was heard, or None."""

    signal: int | None = None


@contextmanager
def listening() -> Iterator[Listener]:
    """Inside, the first Ctrl-C or SIGTERM is noted; a second one acts at once.

    Only the main thread can listen; elsewhere nothing is ever heard.
    """
    listener = Listener()
    if threading.current_thread() is not threading.main_thread():
        yield listener
        return
    before = {number: signal.getsignal(number) for number in HEARD}

    def note(number, _frame):
        listener.signal = number
        restore()

    def restore():
        for each, handler in before.items():
            signal.signal(each, signal.SIG_DFL if handler is None else handler)

    for number in HEARD:
        signal.signal(number, note)
    try:
        yield listener
    finally:
        restore()


@contextmanager
def sigterm_as_exception() -> Iterator[None]:
    """Inside, SIGTERM raises `Stopped`, so that what is unfinished is cleared away."""

    def stop(number, _frame):
        raise Stopped("", number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
