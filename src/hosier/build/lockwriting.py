"""Put a lock file in its place: whole or not at all, and on the disk before anybody is told that it is there."""

from __future__ import annotations

import contextlib
import os
import threading

from hosier.errors import LockInvalid


class Writing:
    """A lock file on its way: written beside its place at once, in it when `end` has come back.

    A disk that is busy with a fresh store takes long over fsync(2), so that is waited for by a thread of its own.
    """

    def __init__(self, path: str, text: str) -> None:
        """Raises LockInvalid where it cannot be written."""
        self._path = path
        self._beside = f"{path}.{os.getpid()}.new"
        self._error: OSError | None = None
        try:
            _sweep(path)
            with open(self._beside, "x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise self._refused(error) from error
        self._thread = threading.Thread(target=self._settle)
        try:
            self._thread.start()
        except RuntimeError:  # no thread is to be had
            self._settle()

    def _settle(self) -> None:
        try:
            fd = os.open(self._beside, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(self._beside, self._path)
        except OSError as error:
            self._error = error

    def end(self) -> None:
        """Wait until it is in its place. Raises LockInvalid where it cannot be."""
        if self._thread.ident is not None:
            self._thread.join()
        if self._error is not None:
            raise self._refused(self._error) from self._error

    def _refused(self, error: OSError) -> LockInvalid:
        from hosier.store.layout import mend

        with contextlib.suppress(OSError):
            os.unlink(self._beside)
        return LockInvalid(f"cannot write {self._path}: {str(error.strerror).lower()}", hint=mend(error, output=True))


def _sweep(path: str) -> None:
    """Remove what a killed process left beside a lock file."""
    folder, name = os.path.split(path)
    for each in os.listdir(folder or "."):
        pid = each.removeprefix(f"{name}.").removesuffix(".new")
        if each == f"{name}.{pid}.new" and pid.isdecimal() and not os.path.isdir(f"/proc/{pid}"):
            os.unlink(os.path.join(folder, each))
