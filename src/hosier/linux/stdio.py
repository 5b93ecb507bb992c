"""Let a box open its own standard streams again by name (/dev/stdout, /dev/stderr), as scripts do.

That is a fresh open of what the descriptor names, and it belongs to the caller, who is nobody inside. An unnamed pipe
is given to the command; a file to read is reached through a read-only view in which its owner is mapped. A file to
write never comes here, see `outlets`.
"""

from __future__ import annotations

import fcntl
import os

from hosier.linux import overlay

_FIFO, _CHARACTER, _REGULAR, _TYPE = 0o010000, 0o020000, 0o100000, 0o170000
_MEMORY = 1
"""The major number of /dev/null and its kin (kernel: admin-guide/devices.txt)."""
_REOPEN = os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK


class Streams:
    """The descriptors to use instead of 0, 1 and 2 of a command, and what has to be put right when it has ended."""

    __slots__ = ("_bare", "_same", "fds")

    def __init__(self, fds: list[int], *, uid: int, userns_fd: int | None) -> None:
        """Adopt `fds` for a command that is `uid` here. To be called in the caller's mount namespace."""
        self.fds: list[int] = []
        self._same: dict[tuple[int, int, int, int], tuple[int, int]] = {}
        self._bare: list[int] = []
        for fd in fds:
            try:
                self.fds.append(self._adopt(fd, uid, userns_fd))
            except OSError:
                self.fds.append(fd)
                self._bare.append(fd)

    def _adopt(self, fd: int, uid: int, userns_fd: int | None) -> int:
        status = os.fstat(fd)
        kind = status.st_mode & _TYPE
        if kind == _FIFO and status.st_uid != uid and os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:"):
            os.fchown(fd, uid, -1)
        if kind == _CHARACTER and os.major(status.st_rdev) == _MEMORY:
            return _reopened(fd, fd, None)  # so that nobody changes the mode of the host's /dev/null
        if kind != _REGULAR or fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:
            return fd
        return self._viewed(fd, fd, userns_fd)

    def _viewed(self, fd: int, source: int, userns_fd: int | None) -> int:
        """The file that `fd` reads, once more through a read-only view of `source`, which is the same file."""
        status = os.fstat(fd)
        offset = os.lseek(fd, 0, os.SEEK_CUR)
        key = (status.st_dev, status.st_ino, fcntl.fcntl(fd, fcntl.F_GETFL) & _REOPEN, offset)
        if key not in self._same:
            again = _reopened(fd, source, userns_fd)
            os.lseek(again, offset, os.SEEK_SET)
            self._same[key] = (fd, again)
        return self._same[key][1]

    def seal(self) -> None:
        """View what could not be viewed in the caller's mount namespace. To be called in one of our own, as it began.

        An ordinary user may view nothing there, and here only what its name still leads to.
        """
        for number, fd in enumerate(self.fds):
            if fd in self._bare:
                try:
                    self.fds[number] = self._sealed(fd)
                except OSError:
                    continue  # as it was: the command is the caller, and may do with the file what the caller may

    def _sealed(self, fd: int) -> int:
        source = os.open(os.readlink(f"/proc/self/fd/{fd}"), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not os.path.sameopenfile(fd, source):
                raise OSError(2, os.strerror(2))
            if os.fstat(fd).st_mode & _TYPE == _REGULAR:
                return self._viewed(fd, source, None)
            return _reopened(fd, source, None)
        finally:
            os.close(source)

    def kept(self) -> tuple[int, ...]:
        """The descriptors that `settle` needs."""
        return tuple(fd for pair in self._same.values() for fd in pair)

    def move(self, floor: int) -> None:
        """Have the descriptors that `settle` needs at `floor` and above, close-on-exec."""
        for key, pair in self._same.items():
            first, second = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, floor) for fd in pair)
            self._same[key] = (first, second)

    def settle(self) -> None:
        """Move the caller's offsets on to where the command's are."""
        for ours, again in self._same.values():
            try:
                os.lseek(ours, os.lseek(again, 0, os.SEEK_CUR), os.SEEK_SET)
            except OSError:
                continue


def _reopened(fd: int, source: int, userns_fd: int | None) -> int:
    """A new open file, of the flags of `fd`, through a read-only view of `source`; devices may still be written."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL) & _REOPEN
    view = overlay.view(source, userns_fd=userns_fd, read_only=True)
    try:
        return os.open(f"/proc/self/fd/{view}", flags | os.O_CLOEXEC)
    finally:
        os.close(view)
