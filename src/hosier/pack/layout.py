"""The documents of container images, and layouts of them on disk: a folder, or an archive of one.

The OCI image specification, version 1.1: image-layout.md, descriptor.md, image-index.md, annotations.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from hosier.errors import StoreFailed
from hosier.linux import regular
from hosier.pack import tar
from hosier.store import removal
from hosier.store.layout import guard
from hosier.store.manifest import Entry

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
LAYERS = {
    "none": "application/vnd.oci.image.layer.v1.tar",
    "gz": "application/vnd.oci.image.layer.v1.tar+gzip",
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}
REF_NAME = "org.opencontainers.image.ref.name"
TITLE = "org.opencontainers.image.title"
VERSION = "org.opencontainers.image.version"
CREATED = "org.opencontainers.image.created"
HOSIER_DIGEST = "hosier.digest"

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 1 << 20
_INDEX_MAX = 8 << 20

PLATFORMS = {
    "amd64": ("amd64", ""),
    "arm64": ("arm64", "v8"),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v5"),
    "i386": ("386", ""),
    "ppc64el": ("ppc64le", ""),
    "mips64el": ("mips64le", ""),
    "mipsel": ("mipsle", ""),
}
"""Go's names, as the specification has them ("Platform Variants"), for Debian's where they are others."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A document or a layer. `digest` is "sha256:HEX"; its bytes are `content`, or in the file `path`."""

    digest: str
    size: int
    media_type: str
    path: str = ""
    content: bytes = field(default=b"", repr=False)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """The digest in hex."""
        return self.digest.removeprefix("sha256:")


def document(value: object, media_type: str) -> Blob:
    """A document as a blob."""
    content = canonical(value)
    return Blob(f"sha256:{hashlib.sha256(content).hexdigest()}", len(content), media_type, content=content)


def canonical(value: object) -> bytes:
    """JSON with sorted keys and no spaces: the same bytes for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def descriptor(
    blob: Blob, *, platform: Mapping[str, str] | None = None, annotations: Mapping[str, str] | None = None
) -> dict[str, object]:
    """What another document says of a blob."""
    said: dict[str, object] = {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size}
    if platform:
        said["platform"] = dict(platform)
    notes = {**blob.annotations, **(annotations or {})}
    if notes:
        said["annotations"] = notes
    return said


def platform(architecture: str) -> dict[str, str]:
    """The platform of a Debian architecture: `architecture`, `os`, and `variant` where there is one."""
    name, variant = PLATFORMS.get(architecture, (architecture, ""))
    said = {"architecture": name, "os": "linux"}
    if variant:
        said["variant"] = variant
    return said


def ref_name(tag: str) -> str:
    """A tag `name:version` in the characters that the annotation ref.name takes (annotations.md)."""
    words = re.findall(r"[A-Za-z0-9]+|[^A-Za-z0-9]+", tag)
    return "".join(w if w.isalnum() or w in "-._:@+" or w == "--" else "-" for w in words).strip("-._:@+") or "latest"


def tagged(blob: Blob, tag: str, *, platform: Mapping[str, str] | None, annotations: Mapping[str, str]) -> Row:
    """The row of a layout's index.json that names a manifest or an index."""
    name = ref_name(tag)
    return Row(name, descriptor(blob, platform=platform, annotations={**annotations, REF_NAME: name}))


@dataclass(frozen=True, slots=True)
class Row:
    """One row of index.json and the name in it."""

    name: str
    descriptor: Mapping[str, object]


def write_layout(out: str, row: Row, blobs: Iterable[Blob], *, name: str) -> int:
    """Write blobs and the row that names them to the layout `out`, which is absent, empty, or already a layout.

    A row of the same name is replaced; index.json changes last and by rename, so whoever reads the layout meanwhile
    sees one image or the other. Returns the bytes written. Raises StoreFailed when `out` is something else.
    """
    with guard(f"pack {name} to {out}"):
        out = os.path.abspath(out)
        # Folders are held: whoever owns what is above may put a link to another one there meanwhile.
        try:
            fd = os.open(out, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            there = None
        else:
            with _held(fd) as folder:
                there = _layout_at(folder, name, out)
                if there is not None:
                    rows = [*(each for each in there if _name(each) != row.name), row.descriptor]
                    return _fill(folder, blobs) + _index(folder, rows)
        beside = os.path.join(os.path.dirname(out), f".{os.path.basename(out)}.{os.urandom(4).hex()}")
        os.mkdir(beside)
        try:
            with _held(os.open(beside, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)) as folder:
                written = _fill(folder, blobs) + _index(folder, [row.descriptor])
                _put(folder, "oci-layout", _LAYOUT)
            os.rename(beside, out)
        except BaseException:
            removal.remove(beside)
            raise
    return written


@contextmanager
def _held(fd: int) -> Iterator[str]:
    """A path of the folder `fd` that stays its own; closed at the end."""
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _layout_at(folder: str, name: str, out: str) -> list[Mapping[str, object]] | None:
    """The rows of the layout in `folder`, which messages call `out`; None when it is empty."""
    names = os.listdir(folder)
    if not names:
        return None
    refusal = f"cannot pack {name} to {out}: it has files, and is no OCI layout"
    hint = "name a new folder, or one that has an oci-layout"
    if "oci-layout" not in names:
        raise StoreFailed(refusal, hint=hint)
    try:
        with open(regular.opened(os.path.join(folder, "index.json"), follow=False), "rb") as file:
            found = json.loads(file.read(_INDEX_MAX))
        rows = found["manifests"]
        if not isinstance(rows, list) or not all(isinstance(each, dict) for each in rows):
            raise ValueError
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError, RecursionError):
        raise StoreFailed(f"cannot pack {name} to {out}: its index.json is damaged", hint=hint) from None
    return rows


def _name(row: Mapping[str, object]) -> str:
    notes = row.get("annotations")
    said = notes.get(REF_NAME) if isinstance(notes, dict) else None
    return said if isinstance(said, str) else ""


def _index(out: str, rows: Sequence[Mapping[str, object]]) -> int:
    return _put(out, "index.json", index_of(rows).content)


def index_of(rows: Sequence[Mapping[str, object]], annotations: Mapping[str, str] | None = None) -> Blob:
    """An index of manifests, from their descriptors."""
    said: dict[str, object] = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(rows)}
    if annotations:
        said["annotations"] = dict(annotations)
    return document(said, INDEX)


def _fill(out: str, blobs: Iterable[Blob]) -> int:
    fd = regular.folder(out, "blobs", "sha256")  # a layout that was there may be anybody's
    try:
        folder = f"/proc/self/fd/{fd}"
        written = 0
        for blob in blobs:
            try:
                there = os.lstat(os.path.join(folder, blob.sha256))
                if stat.S_ISREG(there.st_mode) and there.st_size == blob.size:
                    continue
            except FileNotFoundError:
                pass
            written += _put(folder, blob.sha256, blob.content, source=blob.path)
    finally:
        os.close(fd)
    return written


def _put(folder: str, name: str, content: bytes, *, source: str = "") -> int:
    """A file with this content, or that of another file: beside, and renamed."""
    beside = os.path.join(folder, f".{name}.{os.urandom(4).hex()}")
    fd = os.open(beside, _NEW, 0o666)
    try:
        try:
            written = _copy(fd, source) if source else _all(fd, content)
        finally:
            os.close(fd)
        os.rename(beside, os.path.join(folder, name))
    except BaseException:
        os.unlink(beside)
        raise
    return written


def _all(fd: int, content: bytes) -> int:
    left = memoryview(content)
    while left:
        left = left[os.write(fd, left) :]
    return len(content)


def _copy(fd: int, path: str) -> int:
    """Append the content of a file: inside the kernel where it can."""
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        size = os.fstat(source).st_size
        done = 0
        while done < size:
            try:
                count = os.copy_file_range(source, fd, size - done)
            except OSError:  # not between these two file systems, or `fd` is no file
                count = _all(fd, os.read(source, min(_PIECE, size - done)))
            if count == 0:
                break
            done += count
    finally:
        os.close(source)
    return done


def write_archive(out: int, row: Row, blobs: Iterable[Blob], *, epoch: int) -> int:
    """Write a layout with this one row as a tar archive to the descriptor `out`; returns the bytes written.

    Members are sorted, of root, with the time `epoch`. Raises StoreFailed when `out` cannot be written.
    """
    index = document({"schemaVersion": 2, "mediaType": INDEX, "manifests": [row.descriptor]}, INDEX)
    small = {"index.json": index.content, "oci-layout": _LAYOUT}
    members: dict[str, Blob | bytes | None] = {"blobs": None, "blobs/sha256": None, **small}
    members |= {f"blobs/sha256/{blob.sha256}": blob for blob in blobs}
    sink = tar.Plain(out)
    for path, member in sorted(members.items()):
        if member is None:
            sink.put(tar.header(Entry(f"/{path}", "d", 0o755, 0, 0, epoch), epoch))
            continue
        size = member.size if isinstance(member, Blob) else len(member)
        sink.put(tar.header(Entry(f"/{path}", "f", 0o644, 0, 0, epoch, size=size), epoch))
        if isinstance(member, Blob) and member.path:
            source = os.open(member.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if sink.copy(source, size, None) != size:
                    raise StoreFailed(f"cannot write the archive: the blob {member.path} is damaged")
            finally:
                os.close(source)
        else:
            sink.put(member.content if isinstance(member, Blob) else member)
        sink.put(bytes(-size % 512))
    sink.finish()
    return sink.written
