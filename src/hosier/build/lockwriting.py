"""Put a lock file in its place: whole or not at all, and on the disk before anybody is told that it is there."""

from __future__ import annotations

import contextlib
import os
import threading

from hosier.errors import LockInvalid
from hosier.linux import beside, signals


class Writing:
    """A lock file on its way: written beside its place at once, in it when `end` has come back.

    A disk that is busy with a fresh store takes long over fsync(2), so that is waited for by a thread of its own.
    """

    def __init__(self, path: str, text: str) -> None:
        """What was left there by one that was killed goes first. Raises LockInvalid where it cannot be written."""
        self._path = path
        self._fd, self._made = -1, ""
        self._error: OSError | None = None
        try:
            for left in beside.abandoned(path):
                with contextlib.suppress(OSError):  # it is a folder, which is not ours
                    os.unlink(left)
            self._fd, self._made = beside.made(path, _named)
            with open(self._fd, "w", encoding="utf-8", closefd=False) as file:
                file.write(text)
        except OSError as error:
            raise self._refused(error) from error
        self._thread = threading.Thread(target=self._settle)
        try:
            signals.start(self._thread.start)  # processes are started beside it
        except RuntimeError:  # no thread is to be had
            self._settle()

    def _settle(self) -> None:
        try:
            os.fsync(self._fd)
            os.rename(self._made, self._path)
        except OSError as error:
            self._error = error

    def end(self) -> None:
        """Wait until it is in its place. Raises LockInvalid where it cannot be."""
        if self._thread.ident is not None:
            self._thread.join()
        if self._error is not None:
            raise self._refused(self._error) from self._error
        os.close(self._fd)

    def _refused(self, error: OSError) -> LockInvalid:
        from hosier.store.layout import mend

        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.unlink(self._made)
            os.close(self._fd)
        return LockInvalid(f"cannot write {self._path}: {str(error.strerror).lower()}", hint=mend(error, output=True))


def _named(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
