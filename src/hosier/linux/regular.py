"""Open files in folders that somebody else may write to: regular ones, and nothing but those.

To open a device may set it going (a watchdog, a tape), and a pipe may wait without end or wake who waits behind it. To
look first and open then is not enough: what has the name may be another thing by then.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat


def opened(path: str, *, dir_fd: int | None = None, follow: bool = True) -> int:
    """A descriptor of the regular file at `path`, for reading; the caller closes it. Needs /proc.

    The thing itself is held (O_PATH, open(2)), looked at, and only then opened. `follow`: a link as the last name is
    followed. Raises OSError, with EINVAL for what is no regular file.
    """
    held = os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW), dir_fd=dir_fd)
    try:
        if not stat.S_ISREG(os.fstat(held).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", path)
        try:
            return os.open(f"/proc/self/fd/{held}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(held)


def folder(path: str, *names: str) -> int:
    """A descriptor of the folder `names` below the folder `path`, made where it lacks; the caller closes it.

    No link is followed below `path`, so that nothing is written elsewhere. Raises OSError.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in names:
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=fd)
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"{path}/{'/'.join(names)}") from None
        finally:
            os.close(fd)
        fd = inner
    return fd
