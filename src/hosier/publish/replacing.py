"""Put a file or a folder in the place of another, whole: who reads meanwhile finds the old one or the new one."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator

from hosier.errors import StoreFailed
from hosier.linux import beside, syscalls


@contextlib.contextmanager
def replacing(place: str, *, what: str) -> Iterator[str]:
    """A new folder to fill, which takes `place` when the block ends without an error.

    What a killed one left beside it is removed first. Raises StoreFailed, "cannot WHAT: reason".
    """
    try:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with _beside(place, _folder) as (new, _):
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
    with _beside(path, _file) as (new, fd):
        yield fd
        os.rename(new, path)


@contextlib.contextmanager
def _beside(place: str, make: Callable[[str], int]) -> Iterator[tuple[str, int]]:
    """A new path beside `place`, and a descriptor of it; gone afterwards."""
    for left in beside.abandoned(place):
        _remove(left)
    fd, new = beside.made(place, make)
    try:
        yield new, fd
    finally:
        _remove(new)
        os.close(fd)


def _folder(path: str) -> int:
    os.mkdir(path, 0o755)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _file(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _remove(path: str) -> None:
    while os.path.lexists(path):
        with contextlib.suppress(FileNotFoundError):  # what was the old one is nobody's: another may remove it too
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
