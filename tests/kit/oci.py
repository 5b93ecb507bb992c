"""Container images made by hand: layers by Python's own tarfile, and a layout folder of them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TYPES = {
    "f": tarfile.REGTYPE,
    "d": tarfile.DIRTYPE,
    "l": tarfile.SYMTYPE,
    "h": tarfile.LNKTYPE,
    "c": tarfile.CHRTYPE,
    "b": tarfile.BLKTYPE,
    "p": tarfile.FIFOTYPE,
}


@dataclass(frozen=True)
class Put:
    """One member; `name` is written as it is."""

    name: str
    kind: str = "f"
    content: bytes = b""
    target: str = ""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 1_000_000
    rdev: tuple[int, int] = (0, 0)
    pax: Mapping[str, str] = field(default_factory=dict)


def tar(*members: Put, form: int = tarfile.PAX_FORMAT) -> bytes:
    """One layer, not compressed."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for each in members:
            info = tarfile.TarInfo(each.name)
            info.type = TYPES.get(each.kind, each.kind.encode())
            info.size = len(each.content)
            info.linkname = each.target
            info.mode, info.uid, info.gid, info.mtime = each.mode, each.uid, each.gid, each.mtime
            info.devmajor, info.devminor = each.rdev
            info.pax_headers = dict(each.pax)
            archive.addfile(info, io.BytesIO(each.content))
    return out.getvalue()


def compressed(content: bytes, how: str) -> bytes:
    if how == "gzip":
        return gzip.compress(content, mtime=0)
    if how == "zstd":
        import zstandard

        return zstandard.ZstdCompressor().compress(content)
    return content


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@dataclass
class Layout:
    """An OCI layout folder under construction."""

    folder: Path
    index: list[dict[str, object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        os.makedirs(self.folder / "blobs/sha256", exist_ok=True)
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        self.write()

    def blob(self, content: bytes, media_type: str) -> dict[str, object]:
        digest = sha256(content)
        (self.folder / "blobs/sha256" / digest[7:]).write_bytes(content)
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def image(
        self,
        layers: Sequence[bytes],
        *,
        tag: str = "1",
        how: str = "gzip",
        config: Mapping[str, object] | None = None,
        architecture: str = "amd64",
        diff_ids: Sequence[str] | None = None,
        listed: bool = True,
        **more: object,
    ) -> dict[str, object]:
        """Add an image of `layers`; its descriptor."""
        ids = [sha256(layer) for layer in layers] if diff_ids is None else list(diff_ids)
        document = {
            "architecture": architecture,
            "os": "linux",
            "config": dict(config or {}),
            "rootfs": {"type": "layers", "diff_ids": ids},
            **more,
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.blob(json.dumps(document).encode(), "application/vnd.oci.image.config.v1+json"),
            "layers": [
                self.blob(compressed(layer, how), "application/vnd.oci.image.layer.v1.tar" + (f"+{how}" if how else ""))
                for layer in layers
            ],
        }
        made = self.blob(json.dumps(manifest).encode(), str(manifest["mediaType"]))
        if listed:
            self.index.append({**made, "annotations": {"org.opencontainers.image.ref.name": tag}})
            self.write()
        return made

    def write(self) -> None:
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self.index}))
