"""Runs that are killed: at every write in turn, and at random moments.

Both fork, so they belong in a process of their own that has one thread: a test starts
its own file as a script. ``run()`` has to go on with what it finds.
"""

import os
import random
import signal
import time
from collections.abc import Callable

from helpers import without_bars


def fork(run: Callable[[], object]) -> int:
    """The process id of a child that does ``run()`` and exits with 0, or else 1."""
    child = os.fork()
    if child:
        return child
    try:
        without_bars()
        run()
        os._exit(0)
    finally:
        os._exit(1)


def killed_at_write(run: Callable[[], object], number: int) -> bool:
    """Do ``run()`` in a child that is killed before it puts its nth file in place.

    False: it ended before that, without an error.
    """
    replace, count = os.replace, 0

    def replace_or_die(*names):
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*names)

    def patched():
        os.replace = replace_or_die
        run()

    return _was_killed(fork(patched))


def killed_at_random(
    run: Callable[[], object], kills: int, seconds: float, seed: int
) -> int:
    """Do ``run()`` again and again, each killed within ``seconds``, at random.

    Stops after ``kills``, or once a run has ended; returns how many were killed.
    """
    moments = random.Random(seed)
    for killed in range(kills):
        child = fork(run)
        time.sleep(moments.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)  # to one that has ended, nothing happens
        if not _was_killed(child):
            return killed
    return kills


def _was_killed(child: int) -> bool:
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    if os.waitstatus_to_exitcode(status):
        raise AssertionError("expected a run that ends, found an error; see above")
    return False
