"""A mirror that answers nonsense is passed over for the next one, and moves no terminal's cursor."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hosier.errors import FetchFailed, NotAuthentic
from hosier.fetch.download import Object, download
from hosier.fetch.progress import reporter
from hosier.fetch.proxies import Proxies
from hosier.fetch.transport import Limits

BODY = b"the object"
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n" + BODY
LIMITS = Limits(connect=1.0, silence=1.0, tries=2, back_off=0.01, longest_wait=0.05)
EMPTY = b"\r\nContent-Length: 0\r\n\r\n"

NONSENSE = {
    "a length in other digits": b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n",
    "an endless length": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "a pause in other digits": b"HTTP/1.1 503 later\r\nRetry-After: \xb2" + EMPTY,
    "an endless pause": b"HTTP/1.1 503 later\r\nRetry-After: " + b"9" * 5000 + EMPTY,
    "a redirect to half an address": b"HTTP/1.1 302 there\r\nLocation: http://[::1/" + EMPTY,
    "a redirect to a port beyond": b"HTTP/1.1 302 there\r\nLocation: http://127.0.0.1:99999999/" + EMPTY,
    "a redirect into this machine": b"HTTP/1.1 302 there\r\nLocation: file:///etc/passwd" + EMPTY,
    "a chunk beyond": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFFFF\r\nabc",
    "a part of nonsense": b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-9/\xb2\r\nContent-Length: 1\r\n\r\nx",
    "a reason that clears the screen": b"HTTP/1.1 404 \x1b[2J\x1b]0;owned\x07" + EMPTY,
}


@contextmanager
def answering(raw: bytes) -> Iterator[str]:
    """A server that answers every request so; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    door, _ = server.accept()
                except OSError:
                    return
                with door:
                    door.recv(65536)
                    door.sendall(raw)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/object"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_is_passed_over(case: str, tmp_path: Path) -> None:
    digest = hashlib.sha256(BODY).hexdigest()

    def fetch(*urls: str) -> None:
        wanted = Object("one", urls, str(tmp_path / "one"), size=len(BODY), sha256=digest)
        download([wanted], proxies=Proxies(), reporter=reporter(quiet=True, verbose=False), limits=LIMITS)

    with answering(NONSENSE[case]) as bad, answering(GOOD) as good:
        with pytest.raises((FetchFailed, NotAuthentic)) as raised:
            fetch(bad)
        assert str(raised.value).replace("\n", "").isprintable()
        fetch(bad, good)
    assert (tmp_path / "one").read_bytes() == BODY
