"""Answers of HTTP that come in time, and end: however few or many bytes a server sends while it says nothing.

A time limit of a socket is for one read of it. A server that sends a byte before each ends keeps its reader for days:
in the header, in the length of a chunk, in what follows the last one; or it says "100 Continue" for ever.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any

from hosier.fetch.transport import Limits

_ROOM = 1 << 20
"""Bytes of headers, and of what is around the bytes of one piece of a body."""


class TooSlow(OSError):
    """The server sends less than it has to, or nothing but what surrounds an answer."""


class _Paced(io.RawIOBase):
    """The bytes of one answer as they come from the socket. Time counts from the first of them, and while waiting."""

    def __init__(self, raw: io.RawIOBase, limits: Limits, patience: float) -> None:
        self._raw = raw
        self._rate = limits.rate
        # Who is given longer for one read may be as slow between two.
        self._window = max(limits.window, 1.5 * patience)
        self._began = False
        self._waited = 0.0
        self._got = 0
        self.room = _ROOM

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        before = time.monotonic()
        count = self._raw.readinto(buffer)
        if count:
            self.room -= count
            if self.room < 0:
                raise TooSlow(f"{_ROOM >> 20} MiB of headers, or of what surrounds a body, and no end")
            self._got += count
        if self._began:
            self._waited += time.monotonic() - before
            if self._waited >= self._window:
                if self._got < self._rate * self._waited:
                    raise TooSlow(f"slower than {self._rate} B/s for {self._waited:.0f} s")
                self._waited, self._got = 0.0, 0
        self._began = True
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def response_class(limits: Limits) -> type[http.client.HTTPResponse]:
    """The class of answers, for a connection of `http.client`, that keep to `limits`; its reads raise TooSlow."""

    class Response(http.client.HTTPResponse):
        """An answer whose bytes are `_Paced`."""

        def __init__(self, sock: socket.socket, *words: Any, **more: Any) -> None:
            super().__init__(sock, *words, **more)
            self._paced = _Paced(self.fp.detach(), limits, sock.gettimeout() or 0.0)
            self.fp = io.BufferedReader(self._paced)

        def read(self, amt: int | None = None) -> bytes:
            self._paced.room = _ROOM + (1 << 62 if amt is None else amt)
            return super().read(amt)

        def read1(self, n: int = -1) -> bytes:
            self._paced.room = _ROOM + (io.DEFAULT_BUFFER_SIZE if n < 0 else n)
            return super().read1(n)

    return Response
