"""What an image of our own carries beside itself in a registry: its manifest, lock, config, spec and record.

The artifact that `hosier push` puts there is read here and never believed: the manifest is compared with what the
layers hold, path by path, and the image's digest is made anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from hosier.dataclasses import dataclass, replace
from hosier.errors import LockInvalid, NotAuthentic, PackageInvalid, StoreFailed
from hosier.linux.printable import brief
from hosier.ship.unpack import PATHS_MAX
from hosier.spec import lock as locks
from hosier.store import ImageRecord, Store, lookup, manifest
from hosier.store.manifest import Entry

ARTIFACT = "application/vnd.hosier.record.v1+json"
MANIFEST = "application/vnd.hosier.manifest.v1+zstd"
LOCK = "application/vnd.hosier.lock.v1+toml"
CONFIG = "application/vnd.hosier.config.v1+json"
SPEC = "application/vnd.hosier.spec.v1+json"
IMAGE = "application/vnd.hosier.image.v1"

PARTS = (MANIFEST, LOCK, CONFIG, SPEC, IMAGE)

MANIFEST_MAX = 256 << 20
"""Bytes of a manifest, decompressed; a desktop's has 40 MB."""

_WORD = re.compile(r"[A-Za-z0-9._+:~-]{0,200}")


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the artifact says. `record.tree` is the pushing store's own and means nothing here."""

    record: ImageRecord
    entries: Mapping[str, Entry]
    lock: str
    config: bytes
    spec: str


def write(store: Store, image: ImageRecord, entries: Mapping[str, Entry]) -> dict[str, bytes]:
    """The artifact's layers by media type, for an image of the store: the same ones whichever store it is in."""
    import zstandard

    said = replace(image, tree="", created=image.epoch)  # what only this store knows
    parts = {
        MANIFEST: zstandard.ZstdCompressor(level=9).compress(manifest.dumps(entries.values()).encode("ascii")),
        LOCK: store.lock_text(image.digest).encode(),
        CONFIG: store.config(image.digest),
        SPEC: store.spec_text(image.digest).encode(),
        IMAGE: said.text().encode(),
    }
    return {media_type: content for media_type, content in parts.items() if content}


def read(parts: Mapping[str, bytes], name: str) -> Recorded:
    """The artifact from its layers by media type, the manifest decompressed. Raises PackageInvalid, NotAuthentic."""
    try:
        entries = manifest.loads(parts[MANIFEST].decode("ascii"))
        lock, config = parts.get(LOCK, b"").decode(), parts[CONFIG]
        config.decode()
        spec = parts.get(SPEC, b"").decode()
        record = _record(lookup.fields(parts[IMAGE].decode()))
        if lock or record.lock:
            said = locks.digest(locks.loads(lock, name=f"the lock of {name}")).removeprefix("sha256:")
            if said != record.lock.removeprefix("sha256:"):
                raise NotAuthentic(f"cannot take {name}: its lock has the digest {said}, and its record says another")
    except KeyError as missing:
        raise PackageInvalid(f"cannot take {name}: its record lacks {missing.args[0]}") from None
    except (ValueError, StoreFailed, LockInvalid) as error:
        raise PackageInvalid(f"cannot take {name}: its record is damaged: {error}") from None
    if manifest.digest(entries.values(), config, record.epoch) != record.digest:
        raise NotAuthentic(f"cannot take {name}: its manifest and config do not give the digest {record.digest}")
    return Recorded(record, entries, lock, config, spec)


def _record(values: Mapping[str, str]) -> ImageRecord:
    strings = {key: values[key] for key in ("name", "version", "release", "architecture", "lock", "spec")}
    numbers = {key: int(values[key]) for key in ("epoch", "created", "size", "packages")}
    digest = values["digest"]
    if not (
        lookup.is_digest(digest)
        and lookup.is_name(strings["name"])
        and lookup.is_name(strings["version"])
        and all(_WORD.fullmatch(value) for value in strings.values())
        and all(0 <= number < 1 << 62 for number in numbers.values())
        and (not strings["lock"] or lookup.is_digest(strings["lock"].removeprefix("sha256:")))
    ):
        raise ValueError("a line of it is not what a record says")
    return ImageRecord(digest=digest, tree="", **strings, **numbers)  # type: ignore[arg-type]


def inflated(content: bytes, name: str) -> bytes:
    """The bytes of a manifest in zstd, bounded. Raises PackageInvalid."""
    import zstandard

    made = bytearray()
    lines = 0
    try:
        reader = zstandard.ZstdDecompressor(max_window_size=128 << 20).stream_reader(content)
        while piece := reader.read(1 << 20):
            made += piece
            lines += piece.count(b"\n")
            if len(made) > MANIFEST_MAX:
                raise PackageInvalid(f"cannot read {name}: it unpacks to more than {MANIFEST_MAX >> 20} MiB")
            if lines > PATHS_MAX:
                raise PackageInvalid(f"cannot read {name}: it has more than {PATHS_MAX} lines")
    except zstandard.ZstdError as error:
        raise PackageInvalid(f"cannot read {name}: {str(error).lower()}") from None
    return bytes(made)


def compare(said: Mapping[str, Entry], held: Mapping[str, Entry], epoch: int, name: str) -> None:
    """Raise NotAuthentic, naming the path, when the layers hold something else than the manifest says.

    Times are compared as they are shipped, none after `epoch`.
    """
    for path in sorted(said.keys() | held.keys()):
        ours, theirs = said.get(path), held.get(path)
        if ours is None:
            reason = "is in its layers, and not in its manifest"
        elif theirs is None:
            reason = "is in its manifest, and not in its layers"
        else:
            reason = _difference(ours, theirs, epoch)
        if reason:
            raise NotAuthentic(f"cannot take {name}: {brief(path)} {reason}")


def _difference(said: Entry, held: Entry, epoch: int) -> str:
    if said.kind != held.kind:
        return "is of another type than its manifest says"
    if said.kind != "l" and said.mode != held.mode:
        return f"has mode {held.mode:04o}, and its manifest says {said.mode:04o}"
    if (said.uid, said.gid) != (held.uid, held.gid):
        return f"belongs to {held.uid}:{held.gid}, and its manifest says {said.uid}:{said.gid}"
    if (said.size, said.sha256) != (held.size, held.sha256):
        return "has another content than its manifest says"
    if (said.target, said.rdev, said.hardlink) != (held.target, held.rdev, held.hardlink):
        return "leads elsewhere than its manifest says"
    if said.xattrs != held.xattrs:
        return "has other extended attributes than its manifest says"
    if min(said.mtime, epoch) != min(held.mtime, epoch):
        return "has another time than its manifest says"
    return ""
