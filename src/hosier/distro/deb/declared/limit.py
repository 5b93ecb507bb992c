"""An end for what a script may take of the processor, whatever it does: a pattern may search for ever in one step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from hosier.distro.deb.declared.refusal import Refusal

SECONDS_MAX = 120.0
"""Of this process's time in user mode; no real script takes one."""


@contextmanager
def limited() -> Iterator[None]:
    """Raise Refusal in what is done here, once it took SECONDS_MAX. Only a process's main thread can be bounded."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGVTALRM, _end)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS_MAX)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _end(number: int, frame: FrameType | None) -> None:
    raise Refusal("it does not end")
