"""Write what a command makes to where its user said: a file, whole or as it was, a device, a pipe, or "-"."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys

from hosier.errors import StoreFailed
from hosier.linux import beside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def fill(output: str, write: Callable[[int], int], *, what: str, file_only: bool = False) -> int:
    """Let `write` fill the file `output` ("-": the standard output), given a descriptor; its result.

    `file_only`: what is written is gone back to, so that it can go into no device and no pipe.
    Raises StoreFailed, "cannot WHAT to OUTPUT: reason", for what the place refuses; BrokenPipeError as it is.
    """
    if output == "-":
        return write(sys.stdout.fileno())
    place = os.path.abspath(output)
    try:
        if os.path.exists(place) and not os.path.isfile(place):  # a device or a pipe, which a rename would replace
            if file_only:
                raise StoreFailed(f"cannot {what} to {output}: it is there, and is not a regular file")
            link = os.lstat(place)
            if stat.S_ISLNK(link.st_mode) and link.st_uid not in (0, os.geteuid()):
                raise StoreFailed(f"cannot {what} to {output}: it is somebody else's link to a device")
            fd = os.open(place, os.O_WRONLY | os.O_CLOEXEC)
            try:
                return write(fd)
            finally:
                os.close(fd)
        size = _replace(place, write)
    except BrokenPipeError:
        raise
    except OSError as error:
        from hosier.store.layout import mend

        reason = str(error.strerror or error).lower()
        raise StoreFailed(f"cannot {what} to {output}: {reason}", hint=mend(error, output=True)) from error
    return size


def _replace(place: str, write: Callable[[int], int]) -> int:
    """Fill a file without a name, which a kill takes along, and let it take its place."""
    for left in beside.abandoned(place):  # by a kill between the last two steps, or of a run that had to have a name
        if os.path.isfile(left):
            with contextlib.suppress(OSError):
                os.unlink(left)
    path: str | None = None
    try:
        # Readable too: who writes a file system image reads some of it again.
        fd = os.open(os.path.dirname(place), os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o666)
        beside.hold(fd)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
        # A file system that has none, such as NFS (open(2)).
        fd, path = beside.made(place, _named)
    try:
        size = write(fd)
        if path is None:  # with a folder's descriptor, so that Python asks linkat(2) to follow
            path = beside.name(place)
            os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd)
        os.close(os.dup(fd))  # NFS tells only now what it has no room for (close(2))
        os.rename(path, place)
    except BaseException:
        if path is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        raise
    finally:
        os.close(fd)
    return size


def _named(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def text(output: str, content: str, *, what: str) -> None:
    """Write a text as `fill` does."""

    def write(fd: int) -> int:
        with open(fd, "wb", closefd=False) as file:
            return file.write(content.encode("utf-8", "surrogateescape"))

    fill(output, write, what=what)
