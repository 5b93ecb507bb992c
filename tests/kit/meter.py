"""A way to a server on the loopback that counts the bytes each way, and does something when they are so many.

with Meter("127.0.0.1:5000") as meter:
    meter.host                      # to be used instead
    meter.up, meter.down            # bytes that clients sent, and got
    meter.at(up=1 << 20, then=process.kill)
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

PIECE = 1 << 15


@dataclass
class Meter:
    target: str
    up: int = 0
    down: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _then: list[tuple[int, int, Callable[[], object]]] = field(default_factory=list)
    _open: set[socket.socket] = field(default_factory=set)

    def __enter__(self) -> Meter:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._listen)]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def reset(self) -> None:
        with self._lock:
            self.up = self.down = 0

    def at(self, *, up: int = 1 << 62, down: int = 1 << 62, then: Callable[[], object]) -> None:
        """Call `then` once, before the bytes go on that reach one of these counts from now."""
        with self._lock:
            self._then.append((self.up + up, self.down + down, then))

    def _listen(self) -> None:
        host, _, port = self.target.rpartition(":")
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection((host, int(port)))
            with self._lock:
                self._open |= {client, server}
            for ends in ((client, server, True), (server, client, False)):
                self._threads.append(threading.Thread(target=self._pass, args=ends))
                self._threads[-1].start()

    def _pass(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        try:
            while piece := source.recv(PIECE):
                self._count(len(piece), up)
                target.sendall(piece)
        except OSError:
            pass
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        if not up:
            return
        with self._lock:
            self._open -= {source, target}
        # The other direction's thread ends by the shutdown above; sockets close when both have let go of them.

    def _count(self, count: int, up: bool) -> None:
        with self._lock:
            if up:
                self.up += count
            else:
                self.down += count
            due = [each for each in self._then if self.up >= each[0] or self.down >= each[1]]
            self._then = [each for each in self._then if each not in due]
        for _, _, then in due:
            then()
