"""Read the documents of a container image: index, manifest, config, as others wrote them.

The OCI image specification, version 1.1 ("image-index.md", "manifest.md", "config.md"), and what Docker's registry
calls the same ("Image Manifest Version 2, Schema 2"). Everything is checked before it is used: digests are digests,
sizes are numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from hosier.dataclasses import dataclass, field
from hosier.errors import PackageInvalid

DOCUMENT_MAX = 8 << 20
"""Bytes of the largest document that is read; registries take some 4 MiB (distribution specification)."""

LAYERS_MAX = 512
"""Layers of one image; overlayfs takes 500, and Docker makes 127."""

INDICES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a document says of another: `digest` is "sha256:HEX", `size` in bytes."""

    digest: str
    size: int
    media_type: str
    artifact_type: str = ""
    platform: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """The digest in hex."""
        return self.digest.removeprefix("sha256:")


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image, or one artifact."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    artifact_type: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    """What an image's config says; `created` is as it stands, `service` is its member "config"."""

    architecture: str
    variant: str
    os: str
    created: str
    diff_ids: tuple[str, ...]
    service: Mapping[str, object]


def parse(content: bytes, name: str) -> dict[str, object]:
    """A document's members. Raises PackageInvalid, naming `name`, when it is no JSON object or too long."""
    if len(content) > DOCUMENT_MAX:
        raise PackageInvalid(f"cannot read {name}: it has {len(content)} bytes, and {DOCUMENT_MAX} are the most")
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PackageInvalid(f"cannot read {name}: it is no JSON: {str(error).lower()}") from None
    if not isinstance(found, dict):
        raise PackageInvalid(f"cannot read {name}: it is not an object of JSON")
    if "manifests" in found and "layers" in found:
        # Under one digest it would be one image to some and another one to others (CVE-2021-41190).
        raise PackageInvalid(f"cannot read {name}: it is an index and an image at once")
    return found


def kind(document: Mapping[str, object], media_type: str) -> str:
    """The media type of a document: what it says itself, what came with it, or what its members show."""
    said = document.get("mediaType")
    if isinstance(said, str) and said:
        return said
    if media_type in (*INDICES, *MANIFESTS):
        return media_type
    return INDICES[0] if "manifests" in document else MANIFESTS[0]


def index(document: Mapping[str, object], name: str) -> list[Descriptor]:
    """The manifests that an index names. Raises PackageInvalid."""
    return [_descriptor(each, name) for each in _list(document.get("manifests"), name, "manifests")]


def manifest(document: Mapping[str, object], name: str) -> Manifest:
    """A manifest. Raises PackageInvalid."""
    if document.get("schemaVersion") == 1:
        raise PackageInvalid(
            f"cannot read {name}: it is of Docker's schema 1, which registries have long given up",
            hint="push the image again with a current tool",
        )
    layers = tuple(_descriptor(each, name) for each in _list(document.get("layers"), name, "layers"))
    if len(layers) > LAYERS_MAX:
        raise PackageInvalid(f"cannot read {name}: it has {len(layers)} layers, and {LAYERS_MAX} are the most")
    subject = document.get("subject")
    return Manifest(
        config=_descriptor(document.get("config"), name),
        layers=layers,
        artifact_type=_text(document.get("artifactType")),
        subject=_descriptor(subject, name).digest if subject is not None else "",
    )


def config(content: bytes, name: str) -> Config:
    """An image's config. Raises PackageInvalid."""
    document = parse(content, name)
    rootfs = document.get("rootfs")
    ids = _list(rootfs.get("diff_ids") if isinstance(rootfs, dict) else None, name, "rootfs.diff_ids")
    for each in ids:
        if not isinstance(each, str) or not _DIGEST.fullmatch(each):
            raise PackageInvalid(f"cannot read {name}: {str(each)[:80]!r} is no digest by SHA-256")
    service = document.get("config")
    return Config(
        architecture=_text(document.get("architecture")),
        variant=_text(document.get("variant")),
        os=_text(document.get("os")),
        created=_text(document.get("created")),
        diff_ids=tuple(str(each) for each in ids),
        service=service if isinstance(service, dict) else {},
    )


def _list(value: object, name: str, member: str) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise PackageInvalid(f"cannot read {name}: its {member} is not a list")
    return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def texts(value: object) -> dict[str, str]:
    """The members of an object whose values are text; of anything else none."""
    return {k: v for k, v in value.items() if isinstance(v, str)} if isinstance(value, dict) else {}


def _descriptor(value: object, name: str) -> Descriptor:
    if not isinstance(value, dict):
        raise PackageInvalid(f"cannot read {name}: a descriptor is missing")
    digest, size = value.get("digest"), value.get("size")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise PackageInvalid(f"cannot read {name}: {str(digest)[:80]!r} is no digest by SHA-256")
    if type(size) is not int or not 0 <= size < 1 << 50:
        raise PackageInvalid(f"cannot read {name}: {digest} has the size {str(size)[:30]}")
    return Descriptor(
        digest=digest,
        size=size,
        media_type=_text(value.get("mediaType")),
        artifact_type=_text(value.get("artifactType")),
        platform=texts(value.get("platform")),
        annotations=texts(value.get("annotations")),
    )
