"""What a lock's image is made of, as the documents of one artifact: its packages, the lock, and the spec's own files.

An artifact of the OCI image specification 1.1 (manifest.md, "Guidelines for Artifact Usage") for each architecture: its
layers are the inputs by their digests, so that any tool which copies images copies them, and a registry that got them
serves each as a blob. Nothing in the documents tells when, where or by whom they were made.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence

from hosier.dataclasses import dataclass
from hosier.errors import SpecInvalid
from hosier.pack import layout, tar
from hosier.pack.layout import Blob, Row
from hosier.spec import lock as locks
from hosier.spec.lock import Lock, LockedPackage, LockFile
from hosier.spec.model import Spec
from hosier.store import Store
from hosier.store.manifest import Entry

ARTIFACT = "application/vnd.hosier.inputs.v1"
LOCK = "application/vnd.hosier.lock.v1+toml"
FILES = "application/vnd.hosier.spec.v1.tar"
PACKAGES = {"deb": "application/vnd.debian.binary-package", "rpm": "application/x-rpm"}

TIME = 315532800
"""Of the spec's files: 1980-01-01, the oldest that every program takes; it says nothing of when they were written."""

OUTSIDE = "host"
"""The folder in the archive of a spec's own files for those that are not below the spec's folder."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that is vendored for one spec. `row` names `top` in the layout's index; `titles` are by digest."""

    row: Row
    top: Blob
    artifacts: Mapping[str, Blob]
    """The manifest of each architecture."""
    blobs: tuple[Blob, ...]
    """What they name, and they themselves, each once, sorted by digest."""
    titles: Mapping[str, str]


def plan(store: Store, file: LockFile, chosen: Sequence[Lock], *, name: str, spec_files: Blob) -> Inputs:
    """The documents for the locks `chosen` of `file`. `spec_files` is what `archive` wrote.

    Package files are named by their place in `store`, whether they are there or not.
    """
    config = layout.document({}, layout.EMPTY)
    text = locks.dump_file(file).encode()
    lock = _titled(_blob(text, LOCK), f"{name}.lock")
    blobs = {each.digest: each for each in (config, lock, spec_files)}
    artifacts = {}
    for each in chosen:
        layers = [lock, spec_files, *_packages(store, each)]
        manifest = layout.document(
            {
                "schemaVersion": 2,
                "mediaType": layout.MANIFEST,
                "artifactType": ARTIFACT,
                "config": layout.descriptor(config),
                "layers": [layout.descriptor(layer) for layer in layers],
                "annotations": {
                    layout.TITLE: name,
                    "hosier.architecture": each.architecture,
                    "hosier.lock": locks.digest(each),
                },
            },
            layout.MANIFEST,
        )
        blobs |= {layer.digest: layer for layer in layers} | {manifest.digest: manifest}
        artifacts[each.architecture] = manifest
    if len(chosen) == 1:
        top = artifacts[chosen[0].architecture]
    else:
        rows = [
            {**layout.descriptor(manifest, platform=layout.platform(architecture)), "artifactType": ARTIFACT}
            for architecture, manifest in artifacts.items()
        ]
        top = layout.index_of(rows)
        blobs[top.digest] = top
    titles = {digest: blob.annotations.get(layout.TITLE, "") for digest, blob in blobs.items()}
    row = layout.tagged(top, name, platform=None, annotations={})
    row = Row(row.name, {**row.descriptor, "artifactType": ARTIFACT})
    return Inputs(row, top, artifacts, tuple(blobs[digest] for digest in sorted(blobs)), titles)


def _packages(store: Store, lock: Lock) -> Iterator[Blob]:
    for package in sorted(lock.packages, key=locks.package_order):
        path = store.deb(package.sha256)
        yield _titled(Blob(f"sha256:{package.sha256}", package.size, PACKAGES[lock.family], path=path), title(package))


def title(package: LockedPackage) -> str:
    """What a package file is called: its path in the archive's pool, that of a local file from the spec's
    folder, or host and path of a URL."""
    return os.path.normpath(package.path.partition("://")[2] or package.path).lstrip("/")


def _blob(content: bytes, media_type: str) -> Blob:
    return Blob(f"sha256:{hashlib.sha256(content).hexdigest()}", len(content), media_type, content=content)


def _titled(blob: Blob, said: str) -> Blob:
    return Blob(blob.digest, blob.size, blob.media_type, blob.path, blob.content, {layout.TITLE: said})


def archive(specs: Sequence[Spec], path: str, *, name: str) -> Blob:
    """Write the files that `specs`, one spec for several architectures, consist of and name to the tar archive `path`.

    What is below the spec's folder has its path from there, all else is below `OUTSIDE`. Owners are root, times
    `TIME`. Local packages are not in it: they are layers of their own.

    Raises SpecInvalid for a file that cannot be read.
    """
    folder = os.path.dirname(os.path.abspath(specs[0].sources[0]))
    sources = {source for spec in specs for source in spec.sources}
    sources |= {file.source for spec in specs for file in spec.files if file.source is not None}
    # Keys elsewhere are the machine's, and the lock has those that counted.
    named = {key for spec in specs for repo in spec.repos for key in repo.signed_by if os.path.isabs(key)}
    sources |= {key for key in named if os.path.exists(key) and not _member(key, folder).startswith(f"/{OUTSIDE}/")}
    found: dict[str, tuple[Entry, str]] = {}
    for source in sorted(sources):
        real = os.path.realpath(source)
        for member, host in _walk(_member(source, folder), real):
            found[member] = (_entry(member, host), host)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        sink = tar.Plain(fd)
        for entry, host in (found[member] for member in sorted(found)):
            sink.put(tar.header(entry, TIME))
            if entry.kind == "f":
                _append(sink, entry, host)
        sink.finish()
    finally:
        os.close(fd)
    with open(path, "rb") as written:
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    return _titled(Blob(f"sha256:{digest}", os.path.getsize(path), FILES, path=path), f"{name}.tar")


def _member(path: str, folder: str) -> str:
    below = os.path.relpath(path, folder)
    if below == ".." or below.startswith("../"):
        return f"/{OUTSIDE}{os.path.abspath(path)}".rstrip("/")
    return "/" if below == "." else f"/{below}"


def _walk(member: str, host: str) -> Iterator[tuple[str, str]]:
    """The file, or the folder and all below it, with the member that each becomes."""
    yield member, host
    if os.path.isdir(host) and not os.path.islink(host):
        try:
            names = sorted(os.listdir(host))
        except OSError as error:
            raise _unreadable(host, error) from None
        for name in names:
            yield from _inner(f"{member.rstrip('/')}/{name}", f"{host}/{name}")


def _inner(member: str, host: str) -> Iterator[tuple[str, str]]:
    if os.path.islink(host):
        yield member, host
    else:
        yield from _walk(member, host)


def _entry(member: str, host: str) -> Entry:
    try:
        status = os.lstat(host)
        if stat.S_ISLNK(status.st_mode):
            return Entry(member, "l", 0o777, 0, 0, TIME, target=os.readlink(host))
    except OSError as error:
        raise _unreadable(host, error) from None
    if stat.S_ISDIR(status.st_mode):
        return Entry(member, "d", 0o755, 0, 0, TIME)
    if not stat.S_ISREG(status.st_mode):
        raise SpecInvalid(f"cannot vendor {host}: it is neither a file nor a folder nor a link")
    mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
    return Entry(member, "f", mode, 0, 0, TIME, size=status.st_size)


def _append(sink: tar.Plain, entry: Entry, host: str) -> None:
    try:
        fd = os.open(host, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            sent = sink.copy(fd, entry.size, None)
        finally:
            os.close(fd)
    except OSError as error:
        raise _unreadable(host, error) from None
    if sent != entry.size:
        raise SpecInvalid(f"cannot vendor {host}: it changed while it was read")
    sink.put(bytes(-entry.size % 512))


def _unreadable(path: str, error: OSError) -> SpecInvalid:
    return SpecInvalid(f"cannot vendor {path}: {(error.strerror or str(error)).lower()}")
