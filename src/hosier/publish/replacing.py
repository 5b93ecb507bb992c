"""Put a folder in the place of another, whole: who reads meanwhile finds the old one or the new one."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from collections.abc import Iterator

from hosier.errors import StoreFailed
from hosier.linux import syscalls


@contextlib.contextmanager
def replacing(place: str, *, what: str) -> Iterator[str]:
    """A new folder to fill, which takes `place` when the block ends without an error.

    What a killed one left beside it is removed first. Raises StoreFailed, "cannot WHAT: reason".
    """
    parent, name = os.path.split(place)
    mark = os.path.join(parent, f".{name}.hosier-")
    try:
        os.makedirs(parent, exist_ok=True)
        for left in glob.glob(f"{glob.escape(mark)}*"):
            if not _alive(left.removeprefix(mark)):
                shutil.rmtree(left)
        beside = f"{mark}{os.getpid()}"
        os.mkdir(beside, 0o755)
        try:
            yield beside
            if os.path.isdir(place) and not os.path.islink(place):
                syscalls.exchange(beside, place)
            else:
                os.rename(beside, place)
        finally:
            if os.path.isdir(beside):
                shutil.rmtree(beside)
    except OSError as error:
        raise StoreFailed(f"cannot {what}: {(error.strerror or str(error)).lower()}") from None


def _alive(pid: str) -> bool:
    return pid.isdecimal() and os.path.isdir(f"/proc/{pid}")
