"""The documents of container images, and archives of their layouts.

The OCI image specification, version 1.1: image-layout.md, descriptor.md, image-index.md, annotations.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence

from hosier.dataclasses import dataclass, field
from hosier.errors import StoreFailed
from hosier.pack import tar
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

MARK = b'{"imageLayoutVersion":"1.0.0"}'
"""The content of the file oci-layout."""

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


def index_of(rows: Sequence[Mapping[str, object]], annotations: Mapping[str, str] | None = None) -> Blob:
    """An index of manifests, from their descriptors."""
    said: dict[str, object] = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(rows)}
    if annotations:
        said["annotations"] = dict(annotations)
    return document(said, INDEX)


def write_archive(out: int, row: Row, blobs: Iterable[Blob], *, epoch: int) -> int:
    """Write a layout with this one row as a tar archive to the descriptor `out`; returns the bytes written.

    Members are sorted, of root, with the time `epoch`. Raises StoreFailed when `out` cannot be written.
    """
    index = document({"schemaVersion": 2, "mediaType": INDEX, "manifests": [row.descriptor]}, INDEX)
    small = {"index.json": index.content, "oci-layout": MARK}
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
