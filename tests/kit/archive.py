"""Make a signed package archive in a folder, an honest one or one that lies, and serve it on the loopback."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import http.server
import lzma
import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from hosier.distro.deb.debfile import read_control
from kit.debs import deb_name


@dataclass(frozen=True, slots=True)
class Key:
    """A signing key; `public` is its armoured certificate, as a Signed-By file holds it."""

    secret: Any
    public: str
    fingerprint: str


def new_key(user: str = "Archive <archive@example.org>") -> Key:
    """A new version 4 key, which gpgv can read too."""
    import pysequoia

    made = pysequoia.Cert.generate(user_id=user, profile=pysequoia.Profile.RFC4880, validity_seconds=None)
    return Key(made.secrets, str(made), made.fingerprint)


@functools.cache
def archive_key() -> Key:
    """The key that archives of this test run are signed with."""
    return new_key()


@dataclass(frozen=True, slots=True)
class Lies:
    """What is wrong on purpose; all of it off by default."""

    index_size: int = 0
    """Added to the size of each index that Release states."""
    index_digest: bool = False
    """Release states a wrong digest of each index."""
    package_size: int = 0
    """Added to the size of each package that the index states."""
    package_digest: bool = False
    """The index states a wrong digest of each package."""
    unsigned: bool = False
    """There is a Release and no InRelease."""
    broken_signature: bool = False
    """InRelease was changed after it was signed."""
    omit_package: bool = False
    """The index names packages that the pool does not hold."""


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive in the folder `path`, whose suite is `suite`."""

    path: str
    suite: str
    component: str
    architecture: str
    key: Key
    release: bytes
    """What Release says."""

    @property
    def dist(self) -> str:
        """The folder of the suite."""
        return os.path.join(self.path, "dists", self.suite)

    @property
    def in_release(self) -> str:
        """The path of InRelease."""
        return os.path.join(self.dist, "InRelease")

    @property
    def file_uri(self) -> str:
        """The archive as a file: URI."""
        return f"file:{self.path}"

    def keyring(self) -> str:
        """The path of a file with the public key, made in the archive's folder."""
        path = os.path.join(self.path, "archive-key.asc")
        _write(path, self.key.public.encode())
        return path


HONEST = Lies()


def make_archive(
    path: str | os.PathLike[str],
    packages: Sequence[str | os.PathLike[str]],
    *,
    suite: str = "stable",
    codename: str | None = None,
    origin: str = "Debian",
    label: str = "Debian",
    component: str = "main",
    architecture: str = "amd64",
    others: Mapping[str, Sequence[str | os.PathLike[str]]] | None = None,
    key: Key | None = None,
    date: datetime | None = None,
    valid_until: datetime | None = None,
    compressions: Sequence[str] = ("xz", "gz"),
    by_hash: bool = True,
    fields: dict[str, str] | None = None,
    lies: Lies = HONEST,
) -> Archive:
    """Make (or, in the same folder, make again) an archive of package files.

    `fields` are further fields of Release, such as NotAutomatic. All `packages` are listed for `architecture`, and
    those of `others` for the architectures that these are.
    `compressions` are those that the index is there in: "", "xz", "gz", "zst".
    """
    path = os.fspath(path)
    date = date or datetime.now(UTC)
    key = key or archive_key()
    dist = os.path.join(path, "dists", suite)
    listed: list[tuple[str, bytes]] = []
    for each, of in {architecture: packages, **(others or {})}.items():
        stanzas = [_stanza(path, component, os.fspath(package), lies) for package in of]
        index = "\n".join(sorted(stanzas)).encode("utf-8", "surrogateescape")
        folder = f"{component}/binary-{each}"
        listed.append((f"{folder}/Packages", index))
        for compression in compressions:
            if compression:
                listed.append((f"{folder}/Packages.{compression}", _compressed(index, compression)))
    for name, content in listed:
        digest = hashlib.sha256(content).hexdigest()
        if name.endswith("/Packages") and "" not in compressions:
            continue
        _write(os.path.join(dist, name), content)
        if by_hash:
            _write(os.path.join(dist, os.path.dirname(name), "by-hash", "SHA256", digest), content)
    said = {
        "Origin": origin,
        "Label": label,
        "Suite": suite,
        "Codename": codename or suite,
        "Date": _rfc822(date),
        "Valid-Until": _rfc822(valid_until) if valid_until else "",
        "Acquire-By-Hash": "yes" if by_hash else "",
        "Architectures": " ".join(["all", architecture, *(others or ())]),
        "Components": component,
        "Description": "an archive for a test",
    } | (fields or {})
    text = "".join(f"{name}: {value}\n" for name, value in said.items() if value) + "SHA256:\n"
    for name, content in listed:
        digest = hashlib.sha256(content + (b"a lie" if lies.index_digest else b"")).hexdigest()
        text += f" {digest} {len(content) + lies.index_size:16d} {name}\n"
    release = text.encode()
    archive = Archive(path, suite, component, architecture, key, release)
    _write(os.path.join(dist, "Release"), release)
    if lies.unsigned:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(archive.in_release)
    else:
        signed = sign(release, key)
        if lies.broken_signature:
            signed = signed.replace(b"Description: an archive", b"Description: another one")
        _write(archive.in_release, signed)
    return archive


def sign(content: bytes, key: Key) -> bytes:
    """`content` as a clear-signed message."""
    import pysequoia

    signed: bytes = pysequoia.sign(key.secret.signer(), content, mode=pysequoia.SignatureMode.CLEAR)
    return signed


def again(archive: Archive, *, key: Key) -> Archive:
    """The same archive, signed by another key."""
    _write(archive.in_release, sign(archive.release, key))
    return replace(archive, key=key)


def _stanza(path: str, component: str, package: str, lies: Lies) -> str:
    control = read_control(package)
    name, version, architecture = control.name, control.version, control.architecture
    filename = f"pool/{component}/{name[0]}/{name}/{deb_name(name, version, architecture)}"
    with open(package, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if lies.package_digest:
        digest = hashlib.sha256(digest.encode()).hexdigest()
    target = os.path.join(path, filename)
    if not lies.omit_package and os.path.realpath(package) != os.path.realpath(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(target)
        try:
            os.link(package, target)
        except OSError:
            shutil.copyfile(package, target)
    size = os.stat(package).st_size + lies.package_size
    return f"{control.raw.strip()}\nFilename: {filename}\nSize: {size}\nSHA256: {digest}\n"


def _compressed(content: bytes, compression: str) -> bytes:
    if compression == "xz":
        return lzma.compress(content, preset=1)
    if compression == "gz":
        return gzip.compress(content, 6, mtime=0)
    if compression == "zst":
        import zstandard

        return zstandard.ZstdCompressor(level=3).compress(content)
    raise ValueError(compression)


def _rfc822(moment: datetime) -> str:
    days = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    at = moment.astimezone(UTC)
    return f"{days[at.weekday()]}, {at.day:02d} {months[at.month - 1]} {at.year} {at:%H:%M:%S} UTC"


def _write(path: str, content: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    beside = f"{path}.{os.getpid()}"
    with open(beside, "wb") as file:
        file.write(content)
    os.replace(beside, path)


@dataclass(slots=True)
class Served:
    """A running server: its base `uri`, and the paths that were asked for, in order."""

    uri: str
    asked: list[str] = field(default_factory=list)


@contextlib.contextmanager
def serve(path: str | os.PathLike[str]) -> Iterator[Served]:
    """Serve the folder `path` on a free port of 127.0.0.1, HTTP/1.1 with kept connections."""
    served = Served("")

    class Handler(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            served.asked.append(self.path)

    handler = functools.partial(Handler, directory=os.fspath(path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    served.uri = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
