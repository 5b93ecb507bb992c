"""Let a box open its own standard streams again by name (/dev/stdout, /dev/stderr), as scripts do.

That is a fresh open of what the descriptor names, and it belongs to the caller, who is nobody inside. An unnamed pipe
is given to the command; a file is reached through a view in which its owner is mapped, and nothing of it is changed.
"""

from __future__ import annotations

import fcntl
import os

from hosier.linux import overlay

_FIFO, _REGULAR, _TYPE = 0o010000, 0o100000, 0o170000
_REOPEN = os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK


class Streams:
    """The descriptors to use instead of 0, 1 and 2 of a command, and what has to be put right when it has ended."""

    __slots__ = ("_same", "fds")

    def __init__(self, fds: list[int], *, uid: int, userns_fd: int | None) -> None:
        """Adopt `fds` for a command that is `uid` here. To be called in the caller's mount namespace."""
        self.fds: list[int] = []
        self._same: dict[tuple[int, int, int, int], tuple[int, int]] = {}
        for fd in fds:
            try:
                self.fds.append(self._adopt(fd, uid, userns_fd))
            except OSError:
                self.fds.append(fd)  # as it was: only opening it again by name will fail

    def _adopt(self, fd: int, uid: int, userns_fd: int | None) -> int:
        status = os.fstat(fd)
        kind = status.st_mode & _TYPE
        if kind == _FIFO and status.st_uid != uid and os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:"):
            os.fchown(fd, uid, -1)
        if kind != _REGULAR or userns_fd is None:
            return fd
        flags = fcntl.fcntl(fd, fcntl.F_GETFL) & _REOPEN
        offset = os.lseek(fd, 0, os.SEEK_CUR)
        key = (status.st_dev, status.st_ino, flags, offset)
        if key not in self._same:  # 2>&1 is one open file, with one offset
            view = overlay.view(fd, userns_fd=userns_fd)
            try:
                again = os.open(f"/proc/self/fd/{view}", flags | os.O_CLOEXEC)
            finally:
                os.close(view)
            os.lseek(again, offset, os.SEEK_SET)
            self._same[key] = (fd, again)
        return self._same[key][1]

    def kept(self) -> tuple[int, ...]:
        """The descriptors that `settle` needs."""
        return tuple(fd for pair in self._same.values() for fd in pair)

    def settle(self) -> None:
        """Move the caller's offsets on to where the command's are."""
        for ours, again in self._same.values():
            try:
                os.lseek(ours, os.lseek(again, 0, os.SEEK_CUR), os.SEEK_SET)
            except OSError:
                continue
