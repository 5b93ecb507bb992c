"""Container registries on the loopback: the real docker-registry, and one in this process that misbehaves as told."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import socket
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PROGRAM = "docker-registry"


@dataclass(frozen=True)
class Running:
    """A docker-registry: `host` is HOST:PORT, `folder` where it keeps everything."""

    host: str
    folder: Path

    def reference(self, repository: str, tag: str = "") -> str:
        return f"{self.host}/{repository}{':' if tag else ''}{tag}"


@contextlib.contextmanager
def docker_registry(
    folder: Path,
    *,
    users: dict[str, str] | None = None,
    port: int = 0,
    secret: str = "the same in every run",
    certificate: tuple[Path, Path] | None = None,
) -> Iterator[Running]:
    """Run docker-registry with its data in `folder`, which may be one of an earlier run; ended by its process.

    `users` have to log in (Basic). With `certificate` and its key it speaks HTTPS.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = port or _free_port()
    http: dict[str, object] = {"addr": f"127.0.0.1:{port}", "secret": secret}
    if certificate is not None:
        http["tls"] = {"certificate": str(certificate[0]), "key": str(certificate[1])}
    settings: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": http,
    }
    if users is not None:
        (folder / "htpasswd").write_text("".join(f"{user}:{_bcrypt(word)}\n" for user, word in users.items()))
        settings["auth"] = {"htpasswd": {"realm": "a realm", "path": str(folder / "htpasswd")}}
    config = folder / "config.yml"
    config.write_text(json.dumps(settings))  # JSON is YAML
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen([PROGRAM, "serve", str(config)], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        _wait(port, process, folder / "log")
        yield Running(f"127.0.0.1:{port}", folder)
    finally:
        process.terminate()
        process.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
        return found


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"docker-registry did not start: {log.read_text(errors='replace')[-2000:]}")


def _bcrypt(password: str) -> str:
    """What htpasswd -B writes; docker-registry takes nothing else. The C library's crypt knows it as $2b$."""
    import ctypes
    import ctypes.util

    crypt = ctypes.CDLL(ctypes.util.find_library("crypt")).crypt
    crypt.restype = ctypes.c_char_p
    made: bytes = crypt(password.encode(), b"$2b$04$" + b"abcdefghijklmnopqrstuu")
    return made.decode()


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: int = 0
    """Bytes of it that came."""


@dataclass
class Uploading:
    content: bytearray = field(default_factory=bytearray)


@dataclass
class Fake:
    """A registry in memory, with one repository's worth of names. What it does wrong is set by the test."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    """By "repository/name"."""
    elsewhere: dict[str, bytes] = field(default_factory=dict)
    """Served below /elsewhere/, as object stores do."""
    asked: list[Asked] = field(default_factory=list)
    faults: list[tuple[str, str, Callable[[FakeHandler], bool]]] = field(default_factory=list)
    """(method, pattern of the path, what to do): used up by one request; True answers it."""
    users: dict[str, str] = field(default_factory=dict)
    """Who may log in; nobody has to when it is empty."""
    tokens: float = 0.0
    """Seconds that a token lasts; 0 asks for Basic."""
    identity: str = ""
    """A refresh token that is taken in the place of a user."""
    realm: str = ""
    blobs_at: str = ""
    """Base URL that GETs of blobs are redirected to."""
    uploads_at: str = ""
    """Base URL that uploads are sent to; "" gives relative Locations."""
    referrers_api: bool = True
    heads: bool = True
    ranges: bool = True
    patch_range: bool = True
    mounts: bool = False
    chunk_min: int = 0
    uploading: dict[str, Uploading] = field(default_factory=dict)
    begun: int = 0
    """Uploads so far."""
    issued: dict[str, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Fake:
        self._listener = _Listener(("127.0.0.1", 0), FakeHandler)
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

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def add(self, content: bytes) -> str:
        self.blobs[digest(content)] = content
        return digest(content)

    def once(self, method: str, pattern: str, fault: Callable[[FakeHandler], bool], times: int = 1) -> None:
        self.faults += [(method, pattern, fault)] * times

    def said(self, method: str, pattern: str = "") -> list[Asked]:
        return [each for each in self.asked if each.method == method and re.search(pattern, each.path)]


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    owner: Fake

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class FakeHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def do_GET(self) -> None:
        owner = self.server.owner
        self.content = bytearray()
        fault = None
        self.asked = Asked(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        with owner.lock:
            owner.asked.append(self.asked)
            for number, (method, pattern, each) in enumerate(owner.faults):
                if method == self.command and re.search(pattern, self.path):
                    fault = each
                    del owner.faults[number]
                    break
        try:
            if fault is not None and fault(self):
                return
            self._body()
            self._answer(urllib.parse.urlsplit(self.path))
        except OSError:
            self.close_connection = True

    do_HEAD = do_POST = do_PATCH = do_PUT = do_GET

    def read(self, count: int) -> None:
        """Take `count` bytes of the body; fewer when there are no more, or the client goes away."""
        count = min(count, int(self.headers.get("Content-Length") or 0) - len(self.content))
        while count > 0 and (piece := self.rfile.read1(min(count, 1 << 16))):
            self.content += piece
            self.asked.body += len(piece)
            count -= len(piece)

    def _body(self) -> None:
        self.read(int(self.headers.get("Content-Length") or 0))

    def reply(self, code: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, status: int, code: str, message: str = "no") -> None:
        self.reply(status, {"Content-Type": "application/json"}, errors(code, message))

    def hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def upload(self) -> Uploading | None:
        return self.server.owner.uploading.get(self.path.partition("?")[0].rpartition("/")[2])

    def _answer(self, url: urllib.parse.SplitResult) -> None:
        owner = self.server.owner
        query = urllib.parse.parse_qs(url.query)
        if url.path == "/token":
            self._token(query)
        elif url.path.startswith("/elsewhere/"):
            self._ranged(owner.elsewhere.get(url.path.rpartition("/")[2]))
        elif not self._let_in():
            challenge = f'Basic realm="{owner.host}"'
            if owner.tokens:
                realm = owner.realm or f"{owner.url}/token"
                challenge = f'Bearer realm="{realm}",service="a registry",scope="repository:team/app:pull"'
            self.reply(401, {"WWW-Authenticate": challenge}, errors("UNAUTHORIZED", "authentication required"))
        elif found := re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", url.path):
            self._manifest(found[1], found[2])
        elif found := re.fullmatch(r"/v2/(.+)/blobs/(sha256:.+)", url.path):
            self._blob(found[2])
        elif found := re.fullmatch(r"/v2/(.+)/blobs/uploads/(.*)", url.path):
            self._upload(found[1], found[2], query)
        elif (found := re.fullmatch(r"/v2/(.+)/referrers/(.+)", url.path)) and owner.referrers_api:
            self._referrers(found[1], found[2])
        else:
            self.reply(404, {}, b"404 page not found\n")

    def _let_in(self) -> bool:
        owner = self.server.owner
        if not owner.users and not owner.identity:
            return True
        said = self.headers.get("Authorization", "")
        if owner.tokens:
            return owner.issued.get(said.removeprefix("Bearer "), 0.0) > time.monotonic()
        return self._known(said)

    def _known(self, said: str) -> bool:
        if not said.startswith("Basic "):
            return False
        user, _, password = base64.b64decode(said[6:]).decode().partition(":")
        return self.server.owner.users.get(user) == password

    def _token(self, query: dict[str, list[str]]) -> None:
        owner = self.server.owner
        if self.command == "POST":
            known = urllib.parse.parse_qs(self.content.decode()).get("refresh_token") == [owner.identity]
        else:
            known = self._known(self.headers.get("Authorization", ""))
        if not known:
            self.error(401, "UNAUTHORIZED", "incorrect username or password")
            return
        with owner.lock:
            token = f"token-{len(owner.issued)}"
            owner.issued[token] = time.monotonic() + owner.tokens
        self.reply(200, {}, json.dumps({"token": token, "expires_in": max(1, int(owner.tokens))}).encode())

    def _manifest(self, repository: str, name: str) -> None:
        owner = self.server.owner
        if self.command == "PUT":
            content, kind = bytes(self.content), self.headers.get("Content-Type", "")
            for each in (name, digest(content)):
                owner.manifests[f"{repository}/{each}"] = (content, kind)
            subject = json.loads(content).get("subject")
            headers = {"OCI-Subject": subject["digest"]} if subject and owner.referrers_api else {}
            self.reply(201, {"Location": f"/v2/{repository}/manifests/{name}", **headers})
            return
        found = owner.manifests.get(f"{repository}/{name}")
        if found is None:
            self.error(404, "MANIFEST_UNKNOWN")
        else:
            self.reply(200, {"Content-Type": found[1], "Docker-Content-Digest": digest(found[0])}, found[0])

    def _blob(self, name: str) -> None:
        owner = self.server.owner
        if self.command == "HEAD" and not owner.heads:
            self.reply(405)
        elif name in owner.blobs and owner.blobs_at:
            self.reply(307, {"Location": f"{owner.blobs_at}/elsewhere/{name}"})
        else:
            self._ranged(owner.blobs.get(name))

    def _ranged(self, content: bytes | None) -> None:
        if content is None:
            self.error(404, "BLOB_UNKNOWN")
            return
        span = self.headers.get("Range", "")
        if span.startswith("bytes=") and self.server.owner.ranges and self.command == "GET":
            first, _, last = span[6:].partition("-")
            start, end = int(first), min(int(last or len(content) - 1), len(content) - 1)
            self.reply(206, {"Content-Range": f"bytes {start}-{end}/{len(content)}"}, content[start : end + 1])
        else:
            self.reply(200, {}, content)

    def _upload(self, repository: str, name: str, query: dict[str, list[str]]) -> None:
        owner = self.server.owner
        if self.command == "POST":
            mount = query.get("mount", [""])[0]
            if owner.mounts and mount in owner.blobs:
                self.reply(201, {"Location": f"/v2/{repository}/blobs/{mount}"})
                return
            with owner.lock:
                owner.begun += 1
                name = f"upload-{owner.begun}"
                owner.uploading[name] = Uploading()
            extra = {"OCI-Chunk-Min-Length": str(owner.chunk_min)} if owner.chunk_min else {}
            self._stands(202, repository, name, extra)
            return
        if name not in owner.uploading:
            self.error(404, "BLOB_UPLOAD_UNKNOWN")
            return
        content = owner.uploading[name].content
        if self.command == "GET":
            self._stands(204, repository, name)
        elif self.command == "PATCH":
            start = int(self.headers["Content-Range"].partition("-")[0])
            if start != len(content):
                self._stands(416, repository, name)
                return
            content += self.content
            self._stands(202, repository, name)
        elif self.command == "PUT":
            content += self.content
            del owner.uploading[name]
            if digest(bytes(content)) != query["digest"][0]:
                self.error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
                return
            owner.blobs[query["digest"][0]] = bytes(content)
            self.reply(201, {"Location": f"/v2/{repository}/blobs/{query['digest'][0]}"})

    def _stands(self, code: int, repository: str, name: str, extra: dict[str, str] | None = None) -> None:
        owner = self.server.owner
        size = len(owner.uploading[name].content)
        span = {"Range": f"0-{max(size - 1, 0)}"} if owner.patch_range or self.command == "GET" else {}
        location = f"{owner.uploads_at}/v2/{repository}/blobs/uploads/{name}?state={size}"
        self.reply(code, {"Location": location, **span, **(extra or {})})

    def _referrers(self, repository: str, subject: str) -> None:
        rows = []
        for key, (content, kind) in self.server.owner.manifests.items():
            if key.startswith(f"{repository}/sha256:"):
                document = json.loads(content)
                if (document.get("subject") or {}).get("digest") == subject:
                    row = {"mediaType": kind, "digest": digest(content), "size": len(content)}
                    rows.append(row | {"artifactType": document.get("artifactType", "")})
        body = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": rows}
        self.reply(200, {"Content-Type": "application/vnd.oci.image.index.v1+json"}, json.dumps(body).encode())


def errors(code: str, message: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()


def status(code: int, body: bytes = b"", **headers: str) -> Callable[[FakeHandler], bool]:
    def fault(handler: FakeHandler) -> bool:
        handler._body()
        handler.reply(code, {name.replace("_", "-"): value for name, value in headers.items()}, body)
        return True

    return fault


def drop_after(count: int) -> Callable[[FakeHandler], bool]:
    """Take `count` bytes of what is sent into the upload, as a registry that keeps every byte, and hang up."""

    def fault(handler: FakeHandler) -> bool:
        handler.read(count)
        found = handler.upload()
        if found is not None:
            found.content += handler.content
        handler.hang_up()
        return True

    return fault


def cut(count: int) -> Callable[[FakeHandler], bool]:
    """Announce the whole blob, send `count` bytes, hang up."""

    def fault(handler: FakeHandler) -> bool:
        content = handler.server.owner.blobs[handler.path.rpartition("/")[2]]
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:count])
        handler.hang_up()
        return True

    return fault


@contextlib.contextmanager
def counting(target: str) -> Iterator[Counting]:
    """Stand before a server (HOST:PORT) and count the bytes that go each way; `hold` can stop what goes to it."""
    listener = socket.create_server(("127.0.0.1", 0))
    found = Counting(f"127.0.0.1:{listener.getsockname()[1]}", target)
    thread = threading.Thread(target=found.serve, args=(listener,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for each in list(found.sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for worker in found.threads:
            worker.join(5)


@dataclass
class Counting:
    host: str
    target: str
    up: int = 0
    down: int = 0
    hold: Callable[[bytes], bool] | None = None
    """Asked with each piece on its way to the server; True: it and what comes after it on that connection stay here."""
    slow: float = 0.0
    """Seconds to wait before each piece of up to 64 kB, both ways."""
    held: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    sockets: set[socket.socket] = field(default_factory=set)
    threads: list[threading.Thread] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, listener: socket.socket) -> None:
        name, _, port = self.target.rpartition(":")
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((name, int(port)), 5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            self.sockets |= {client, server}
            for source, to, up in ((client, server, True), (server, client, False)):
                worker = threading.Thread(target=self._pass, args=(source, to, up), daemon=True)
                worker.start()
                self.threads.append(worker)

    def _pass(self, source: socket.socket, to: socket.socket, up: bool) -> None:
        stopped = False
        try:
            while piece := source.recv(1 << 16):
                if self.slow and self.over.wait(self.slow):
                    break
                if up and (stopped or (self.hold is not None and self.hold(piece))):
                    stopped = True
                    self.held.set()
                    continue
                with self.lock:
                    self.up += len(piece) if up else 0
                    self.down += 0 if up else len(piece)
                to.sendall(piece)
        except OSError:
            pass
        for each in (source, to):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def environment(home: Path) -> dict[str, str]:
    """No login and no setting but those below `home`."""
    return {"HOME": str(home), "PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(home / "run")}
