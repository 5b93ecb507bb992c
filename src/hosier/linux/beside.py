"""Names beside an output, under which it is made before it takes its place, and what dead runs left under such names.

Who makes something there holds a lock on it, flock(2), that ends with its process however that ends: what nobody holds
is nobody's any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterator

from hosier.linux.flock import taken


def name(place: str) -> str:
    """A path beside `place` that nothing has."""
    folder, last = os.path.split(place)
    return os.path.join(folder, f".{last}.{os.urandom(4).hex()}")


def made(place: str, make: Callable[[str], int]) -> tuple[int, str]:
    """What `make` opened at a path beside `place`, held, and that path. Raises OSError."""
    while True:
        path = name(place)
        fd = make(path)
        if hold(fd, path):
            return fd, path
        os.close(fd)  # between the two calls somebody took it for left behind


def hold(fd: int, path: str | None = None) -> bool:
    """Keep what is open as `fd` from being taken for left behind; False when it was already, at `path`.

    Of a file system that has no locks nothing is ever taken for left behind.
    """
    try:
        if path is not None:
            return taken(fd, path)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pass
    return True


def abandoned(place: str) -> Iterator[str]:
    """What runs of this user that were killed left beside `place`, each held until the next one is asked for."""
    folder, last = os.path.split(place)
    pattern = re.compile(rf"\.{re.escape(last)}\.[0-9a-f]{{8}}")
    with contextlib.suppress(OSError):
        for path in sorted(os.path.join(folder, each) for each in os.listdir(folder or ".") if pattern.fullmatch(each)):
            with contextlib.suppress(OSError):
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    status = os.fstat(fd)
                    kind = stat.S_IFMT(status.st_mode)
                    if status.st_uid == os.geteuid() and kind in (stat.S_IFREG, stat.S_IFDIR) and taken(fd, path):
                        yield path
                finally:
                    os.close(fd)
