"""What a command writes to a file of the caller's goes there through a pipe, and the command never has the file.

Whoever has a descriptor of a file may also cut it, read it, and make it a setuid program of its owner (fchmod(2)): no
mode of a mount and no filter stops that. A pipe is only written.
"""

from __future__ import annotations

import fcntl
import os
import select
from _thread import allocate_lock, start_new_thread

_REGULAR, _TYPE = 0o100000, 0o170000
_PIECE = 1 << 20
_F_SETPIPE_SZ = 1031  # fcntl(2)


class Outlets:
    """The descriptors to give a command for its `fds` (numbers of the caller's), in the same order, in `given`."""

    __slots__ = ("_flows", "given")

    def __init__(self, fds: tuple[int, ...]) -> None:
        self._flows: dict[tuple[int, int, int, int], _Flow] = {}
        self.given = [self._through(fd) for fd in fds]

    def _through(self, fd: int) -> int:
        try:
            status = os.fstat(fd)
        except OSError:
            return fd
        if status.st_mode & _TYPE != _REGULAR:
            return fd
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        # 2>&1 is one open file with one offset, and has to stay in order
        key = (status.st_dev, status.st_ino, flags, os.lseek(fd, 0, os.SEEK_CUR))
        if key not in self._flows:
            self._flows[key] = _Flow(fd)
        return self._flows[key].writer

    def begin(self) -> None:
        """Begin to copy; to be called when the command has its descriptors, or is not to be."""
        for flow in self._flows.values():
            flow.begin()

    def end(self) -> OSError | None:
        """Copy what is left of a command that is dead; returns what kept it from being written."""
        errors = [flow.end() for flow in self._flows.values()]
        return next((error for error in errors if error is not None), None)


class _Flow:
    __slots__ = ("_done", "_error", "_file", "_reader", "_stop", "_stopper", "writer")

    def __init__(self, file: int) -> None:
        self._file = file
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        try:
            fcntl.fcntl(self._reader, _F_SETPIPE_SZ, _PIECE)
        except OSError:
            pass  # the user's pipes hold much already: it goes slower
        self._stop, self._stopper = os.pipe2(os.O_CLOEXEC)
        self._done = allocate_lock()
        self._error: OSError | None = None

    def begin(self) -> None:
        os.close(self.writer)
        self._done.acquire()
        start_new_thread(self._copy, ())

    def _copy(self) -> None:
        try:
            self._copy_all()
        except OSError as error:
            self._error = error
        finally:
            os.close(self._reader)  # whoever still writes gets EPIPE
            self._done.release()

    def _copy_all(self) -> None:
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        os.set_blocking(self._reader, False)
        stopped = False
        while True:
            try:
                piece = memoryview(os.read(self._reader, _PIECE))
            except BlockingIOError:
                if stopped:  # and somebody outside has got hold of the other end
                    return
                stopped = any(fd == self._stop for fd, _ in poll.poll())
                continue
            if not piece:
                return
            while piece:
                piece = piece[os.write(self._file, piece) :]

    def end(self) -> OSError | None:
        os.close(self._stopper)
        self._done.acquire()
        os.close(self._stop)
        return self._error
