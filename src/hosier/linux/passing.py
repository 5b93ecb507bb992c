"""Folders in TMPDIR for what is needed for a moment. What a killed process leaves of them, the next one takes away."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator

from hosier.linux import flock

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def folder(kind: str) -> Iterator[str]:
    """A folder of this process and those that it forks, gone with all that is in it when the block ends.

    `kind` is a part of its name. Raises OSError.
    """
    prefix = f"hosier-{kind}-"
    _sweep(prefix)
    path, held = _made(prefix)
    try:
        yield path
    finally:
        os.close(held)
        shutil.rmtree(path, ignore_errors=True)


def mend() -> str:
    """What to do where such a folder cannot hold what it should."""
    return f"free some space in {tempfile.gettempdir()}, or set TMPDIR to a folder that has more"


def _made(prefix: str) -> tuple[str, int]:
    """A new folder, and the descriptor by which it is locked."""
    while True:
        path = tempfile.mkdtemp(prefix=prefix)
        try:
            held = os.open(path, _FOLDER)
        except FileNotFoundError:  # swept before it could be locked
            continue
        with contextlib.suppress(OSError):  # a file system without locks: nobody sweeps there either
            fcntl.flock(held, fcntl.LOCK_EX)
        if flock.still_named(held, path):
            return path, held
        os.close(held)


def _sweep(prefix: str) -> None:
    """Remove this user's folders that nobody holds."""
    above = tempfile.gettempdir()
    with os.scandir(above) as entries:
        names = [each.name for each in entries if each.name.startswith(prefix)]
    for name in names:
        path = os.path.join(above, name)
        with contextlib.suppress(OSError):
            status = os.lstat(path)
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                continue
            held = os.open(path, _FOLDER)
            try:
                if flock.taken(held, path):
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(held)
