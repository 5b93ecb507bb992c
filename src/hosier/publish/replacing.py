"""Put a file or a folder in the place of another, whole: who reads meanwhile finds the old one or the new one.

What is made lies beside its place under a hidden name, with a lock that its process holds; so what a process that was
killed left is known, in whatever container it ran.
"""

from __future__ import annotations

import contextlib
import fcntl
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
    try:
        os.makedirs(parent, exist_ok=True)
        with _beside(os.path.join(parent, f".{name}.hosier-"), folder=True) as (new, _):
            yield new
            if os.path.isdir(place) and not os.path.islink(place):
                syscalls.exchange(new, place)
            else:
                os.rename(new, place)
    except OSError as error:
        raise StoreFailed(f"cannot {what}: {(error.strerror or str(error)).lower()}") from None


@contextlib.contextmanager
def rewriting(path: str) -> Iterator[int]:
    """A descriptor of a new file, open for writing, which takes the place of the one at `path` when the block ends
    without an error. What a killed one left beside it is removed first. Raises OSError."""
    folder, name = os.path.split(path)
    with _beside(os.path.join(folder, f".{name}.hosier-"), folder=False) as (new, fd):
        yield fd
        os.rename(new, path)


@contextlib.contextmanager
def _beside(mark: str, *, folder: bool) -> Iterator[tuple[str, int]]:
    """A new path that begins with `mark`, and a descriptor of it that holds its lock; gone afterwards."""
    for left in glob.glob(f"{glob.escape(mark)}*"):
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            fd = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(left)
            finally:
                os.close(fd)
    new, fd = _made(mark, folder=folder)
    try:
        yield new, fd
    finally:
        _remove(new)
        os.close(fd)


def _made(mark: str, *, folder: bool) -> tuple[str, int]:
    while True:
        new = f"{mark}{os.urandom(4).hex()}"
        if folder:
            os.mkdir(new, 0o755)
        flags = os.O_RDONLY | os.O_DIRECTORY if folder else os.O_RDWR | os.O_CREAT | os.O_EXCL
        try:
            fd = os.open(new, flags | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
        fcntl.flock(fd, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.lstat(new)):
                return new, fd
        os.close(fd)  # another took it for a rest before it was locked


def _remove(path: str) -> None:
    while os.path.lexists(path):
        with contextlib.suppress(FileNotFoundError):  # another one removes it too
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
