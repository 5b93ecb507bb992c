"""Compute a value beside what this thread waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Beside(Generic[T]):
    """One value, computed by a thread of its own. Nothing may be forked until that has ended: see `close`."""

    def __init__(self, compute: Callable[[], T]) -> None:
        self._compute = compute
        self._found: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._found.append(self._compute())
        except BaseException as error:
            self._error = error

    def value(self) -> T:
        """The value; raises what its computation raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._found[0]

    def close(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()
