"""An HTTP server on the loopback that serves files from memory and misbehaves as told.

with Server({"/a": b"…"}) as server:
    server.faults["/a"] = [status(503), cut(10)]     # the first two requests; later ones are answered properly
    server.url("/a"), server.requests
"""

from __future__ import annotations

import hashlib
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def do_GET(self) -> None:
        owner = self.server.owner
        headers = {name.lower(): value for name, value in self.headers.items()}
        with owner.lock:
            owner.requests.append(Request(self.path, headers))
            owner.connections.add(self.client_address)
            owner.open_now += 1
            owner.open_most = max(owner.open_most, owner.open_now)
            faults = owner.faults.get(self.path) or owner.faults.get("*")
            fault = faults.pop(0) if faults else proper
        try:
            fault(self)
        finally:
            with owner.lock:
                owner.open_now -= 1

    def body(self) -> bytes | None:
        files = self.server.owner.files
        return files.get(self.path, files.get(urllib.parse.unquote(self.path)))

    def reply(self, code: int, headers: dict[str, str], body: bytes = b"", *, length: int | None = None) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self) -> None:
        self.close_connection = True
        try:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def log_message(self, format: str, *args: object) -> None:
        pass


Fault = Callable[[Handler], None]


def proper(handler: Handler) -> None:
    """Answer as a good server does: validators, 304, Range with If-Range."""
    body = handler.body()
    owner = handler.server.owner
    if body is None:
        handler.reply(404, {}, b"not here")
        return
    etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes"} if owner.validators else {}
    asked = handler.headers
    if owner.validators and asked.get("If-None-Match") == etag:
        handler.send_response(304)
        handler.send_header("ETag", etag)
        handler.end_headers()
        return
    span = asked.get("Range", "")
    if span.startswith("bytes=") and asked.get("If-Range", etag) == etag:
        start = int(span[6:].partition("-")[0])
        if start >= len(body):
            handler.reply(416, {"Content-Range": f"bytes */{len(body)}"})
            return
        headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        handler.reply(206, headers, body[start:])
        return
    handler.reply(200, headers, body)


def status(code: int, **headers: str) -> Fault:
    return lambda handler: handler.reply(code, {k.replace("_", "-"): v for k, v in headers.items()}, b"no")


def redirect(url: str, code: int = 302) -> Fault:
    return lambda handler: handler.reply(code, {"Location": url})


def cut(count: int) -> Fault:
    """Announce everything, send `count` bytes, hang up."""

    def fault(handler: Handler) -> None:
        body = handler.body() or b""
        handler.reply(200, {"ETag": '"cut"'}, body[:count], length=len(body))
        handler.hang_up()

    return fault


def short(count: int) -> Fault:
    """A file that lacks its end, announced as if that were all."""
    return lambda handler: handler.reply(200, {}, (handler.body() or b"")[:count])


def corrupt(handler: Handler) -> None:
    body = bytearray(handler.body() or b"")
    body[len(body) // 2] ^= 0x20
    handler.reply(200, {}, bytes(body))


def longer(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write((handler.body() or b"") + b"x" * 10)
    handler.hang_up()


def unannounced(handler: Handler) -> None:
    """No Content-Length: the end of the connection is the end of the body."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(handler.body() or b"")
    handler.hang_up()


def chunked(handler: Handler) -> None:
    body = handler.body() or b""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for at in range(0, len(body), 1000):
        piece = body[at : at + 1000]
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    handler.wfile.write(b"0\r\n\r\n")


def drop(handler: Handler) -> None:
    handler.hang_up()


def garbage(handler: Handler) -> None:
    handler.wfile.write(b"\x00\x01 this is not HTTP\r\n\r\n")
    handler.hang_up()


def stall(count: int) -> Fault:
    """Send `count` bytes and then nothing, until the client or the test goes away."""

    def fault(handler: Handler) -> None:
        body = handler.body() or b""
        handler.reply(200, {"ETag": '"stall"'}, body[:count], length=len(body))
        handler.wfile.flush()
        handler.server.owner.over.wait(30)
        handler.hang_up()

    return fault


def trickle(seconds: float) -> Fault:
    """A byte every `seconds`: never silent, never done."""

    def fault(handler: Handler) -> None:
        body = handler.body() or b""
        handler.reply(200, {}, b"", length=len(body))
        try:
            for byte in body:
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
                if handler.server.owner.over.wait(seconds):
                    return
        except OSError:
            handler.close_connection = True

    return fault


def ignores_range(handler: Handler) -> None:
    handler.reply(200, {}, handler.body() or b"")


def wrong_range(handler: Handler) -> None:
    body = handler.body() or b""
    handler.reply(206, {"Content-Range": f"bytes 0-{len(body) - 1}/{len(body)}"}, body)


def late(seconds: float) -> Fault:
    def fault(handler: Handler) -> None:
        time.sleep(seconds)
        proper(handler)

    return fault


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    owner: Server

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@dataclass
class Server:
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    """By path, or "*" for any; each is used up by one request."""
    validators: bool = True
    requests: list[Request] = field(default_factory=list)
    connections: set[object] = field(default_factory=set)
    open_now: int = 0
    open_most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Server:
        self._listener = _Listener(("127.0.0.1", 0), Handler)
        self._listener.owner = self
        self._thread = threading.Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._listener.server_address[1]}"

    def url(self, path: str) -> str:
        return f"http://{self.host}{path}"

    def asked(self, path: str) -> int:
        return sum(each.path == path for each in self.requests)
