"""A box that is set up before its command is known, so that the command waits for nothing.

Its process 1 has made everything and reads one order from a socket: the words, the environment, who and where, and the
three standard streams. Then it is a box like any other.
"""

from __future__ import annotations

import _socket
import os
from _collections_abc import Callable

from hosier.linux import box as boxes
from hosier.linux import signals

_SCM_RIGHTS = 1
_SIZE = 8
_MEMORY = 1  # the major number of /dev/null and its kin


class Gone(Exception):
    """The box was dead before the order reached it; nothing was run."""


class Order:
    """One command for a standing box; `fds` are stdin, stdout and stderr, -1 for the box's own /dev/null."""

    __slots__ = ("argv", "cwd", "env", "fds", "gid", "groups", "uid")

    def __init__(
        self,
        *,
        argv: tuple[str, ...],
        env: dict[str, str],
        cwd: str,
        uid: int,
        gid: int,
        groups: tuple[int, ...],
        fds: tuple[int, int, int],
    ) -> None:
        self.argv = argv
        self.env = env
        self.cwd = cwd
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.fds = fds

    def write(self) -> bytes:
        """As `read` reads it."""
        words = [str(self.uid), str(self.gid), " ".join(map(str, self.groups)), self.cwd]
        words.append("".join("-" if fd < 0 else "+" for fd in self.fds))
        words += [str(len(self.argv)), *self.argv]
        words += [f"{key}={value}" for key, value in self.env.items()]
        return "\0".join(words).encode("utf-8", "surrogateescape")

    @classmethod
    def read(cls, content: bytes, fds: list[int]) -> Order:
        """What `write` wrote, with the descriptors that came with it."""
        words = content.decode("utf-8", "surrogateescape").split("\0")
        given = iter(fds)
        end = 6 + int(words[5])
        streams = [next(given) if mark == "+" else -1 for mark in words[4]]
        return cls(
            argv=tuple(words[6:end]),
            env=dict(_pair(word) for word in words[end:]),
            cwd=words[3],
            uid=int(words[0]),
            gid=int(words[1]),
            groups=tuple(map(int, words[2].split())),
            fds=(streams[0], streams[1], streams[2]),
        )


def _pair(word: str) -> tuple[str, str]:
    key, _, value = word.partition("=")
    return key, value


def receive(channel: int) -> Order | None:
    """The order, in the box; None when the caller wants none. Raises OSError."""
    door = _socket.socket(fileno=channel)
    try:
        head, ancillary, _flags, _address = door.recvmsg(_SIZE, _socket.CMSG_LEN(12), _socket.MSG_CMSG_CLOEXEC)
        if len(head) < _SIZE:
            return None
        fds = [
            int.from_bytes(content[i : i + 4], "little")
            for _level, kind, content in ancillary
            if kind == _SCM_RIGHTS
            for i in range(0, len(content), 4)
        ]
        content = b""
        wanted = int.from_bytes(head, "little")
        while len(content) < wanted:
            part = door.recv(wanted - len(content))
            if not part:
                return None
            content += part
    finally:
        door.detach()
    return Order.read(content, fds)


class Standing:
    """A box that stands ready. The thread that made it must live until it has run; `close` what is not run."""

    __slots__ = ("_channel", "_pid", "_reader", "_source")

    def __init__(self, source: boxes.Box) -> None:
        """Begin to set `source` up, which goes on while the caller goes on; its command and streams count for nothing.

        Raises as `box.run`; what fails later is told by `run`.
        """
        self._source = source
        self._reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        self._channel = ours.detach()
        self._pid = 0
        mask = signals.block_all()
        try:
            prepared = boxes.Prepared(source, writer, mask, theirs.fileno())
            prepared.awaits_order = True
            self._pid = boxes.spawn(prepared, self._reader)
        finally:
            theirs.close()
            os.close(writer)
            signals.restore(mask)
            if not self._pid:
                self.close()

    def run(self, order: Order, *, meanwhile: Callable[[], None] | None = None) -> int:
        """Run the command, once; as `box.run`, and Gone when nothing was begun since the box was already dead.

        `meanwhile` is called when the command is on its way. When this returns the command is dead and the rest of the
        box about to be; `close` waits for that.
        """
        self._send(order)
        if meanwhile is not None:
            meanwhile()
        told = self._told()
        if not any(record[0] in ("begun", "error") for record in told):
            raise Gone
        return boxes.verdict(order.argv, told)

    def _told(self) -> list[list[str]]:
        """What process 1 tells, up to the command's end or its own."""
        content = b""
        os.set_blocking(self._reader, True)
        while part := os.read(self._reader, 65536):
            content += part
            told = boxes.records(content)
            if told and told[-1][0] in ("status", "exec", "error"):
                return told
        return boxes.records(content)

    def _send(self, order: Order) -> None:
        content = order.write()
        fds = b"".join(fd.to_bytes(4, "little") for fd in order.fds if fd >= 0)
        door = _socket.socket(fileno=self._channel)
        try:
            rights = [(_socket.SOL_SOCKET, _SCM_RIGHTS, fds)] if fds else []
            door.sendmsg([len(content).to_bytes(_SIZE, "little")], rights, _socket.MSG_NOSIGNAL)
            door.sendall(content, _socket.MSG_NOSIGNAL)
        except OSError:
            return  # it is dead, and `run` finds out why
        finally:
            door.detach()

    def close(self) -> None:
        """Wait until the box is gone; one that did not run, or did not run to its end, is killed."""
        if self._pid:
            boxes.kill(self._pid)
            self._pid = 0
        for fd in (self._reader, self._channel):
            if fd >= 0:
                os.close(fd)
        self._reader = self._channel = -1


def passable(fd: int) -> int | None:
    """What to order for a descriptor of the caller: itself, -1 for /dev/null, None when only `box.run` can take it."""
    status = os.fstat(fd)
    kind = status.st_mode & 0o170000
    if kind == 0o020000 and status.st_rdev == os.makedev(_MEMORY, 3):
        return -1
    return fd if kind in (0o010000, 0o140000) else None  # a pipe or a socket
