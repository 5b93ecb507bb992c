"""Do the same to many things at a time, in threads that end when one fails or the user says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from hosier.fetch.transport import Stopped

T = TypeVar("T")


def each(
    things: Sequence[T],
    work: Callable[[T], None],
    *,
    jobs: int,
    end: Callable[[], None],
    abort: Callable[[], None],
    grace: float,
) -> None:
    """Call `work` for each thing, `jobs` at a time, and raise what the first of them raised.

    On a failure or an interrupt, `end` asks the others to stop where it suits them; those that have not after `grace`
    seconds are stopped by `abort`. Stopped, raised by `work`, ends its thread.
    """
    change = threading.Condition()
    waiting = list(reversed(things))
    left = len(things)
    raised: list[BaseException] = []

    def loop() -> None:
        nonlocal left
        try:
            while True:
                with change:
                    if raised or not waiting:
                        return
                    thing = waiting.pop()
                work(thing)
                with change:
                    left -= 1
                    change.notify_all()
        except Stopped:
            pass
        except BaseException as error:
            with change:
                raised.append(error)
                change.notify_all()

    threads = [threading.Thread(target=loop, daemon=True, name=f"send-{n}") for n in range(min(jobs, len(things)))]
    for thread in threads:
        thread.start()
    try:
        with change:
            while left and not raised:
                change.wait(0.5)
    finally:
        if left:
            waiting.clear()
            end()
            try:
                _join(threads, grace)
            finally:
                abort()
        _join(threads, 0.7)
    if raised:
        raise raised[0]


def _join(threads: Sequence[threading.Thread], seconds: float) -> None:
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
