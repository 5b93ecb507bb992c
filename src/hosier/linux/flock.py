"""Locks, by flock(2), on files that are removed or renamed by who holds them: what was locked may have no name left."""

from __future__ import annotations

import fcntl
import os


def still_named(fd: int, path: str) -> bool:
    """Whether `path` is still the file that `fd` is of. Raises OSError."""
    try:
        named = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    mine = os.fstat(fd)
    return (named.st_dev, named.st_ino) == (mine.st_dev, mine.st_ino)


def taken(fd: int, path: str) -> bool:
    """Lock `fd`, opened by `path`, alone, until it is closed. False: another has it, or has taken its name away.

    Raises OSError.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return still_named(fd, path)
