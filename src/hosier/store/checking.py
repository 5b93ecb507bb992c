"""Tell which objects of a store are damaged: missing parts, and with `deep` every digest."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from hosier.dataclasses import dataclass
from hosier.errors import StoreFailed
from hosier.store import blobs, lookup, manifest
from hosier.store.plain import on_disk
from hosier.store.reader import TreeReader

if TYPE_CHECKING:
    from hosier.store.objects import Store


@dataclass(frozen=True, slots=True)
class Damage:
    """One object that is not whole. `path` is what to remove to mend it; `kind` is the folder of the store."""

    kind: str
    key: str
    path: str
    reason: str


def damaged(
    store: Store, *, since: float = 0.0, deep: bool = False, advance: Callable[[], object] = lambda: None
) -> Iterator[Damage]:
    """Check objects that came in at or after `since` (seconds since 1970); packages and trees before images.

    An object that another command removes meanwhile is not told. `since` also tells cached indices written later,
    whose digest is another file's, to be fetched again. `advance` is called for each object of `count` that is done.
    """
    tree = partial(_tree, plain=store.plain)
    checks = (("debs", _deb), ("blobs", _deb), ("unpacked", _unpacked), ("trees", tree))
    for kind, check in checks:
        for key, path in _objects(store, kind, since):
            advance()
            if not deep and kind in ("debs", "blobs"):
                continue
            try:
                reason = _misnamed(key) or check(path, key, deep)
            except FileNotFoundError as error:
                reason = f"{os.path.basename(os.fsdecode(error.filename or path))} is missing"
            except (OSError, ValueError, KeyError, TypeError, IndexError, StoreFailed) as error:
                reason = str(error)
            if reason and os.path.lexists(path):
                yield Damage(kind, key, path, reason)
    if since:
        for key, path in _objects(store, "indices", since):
            yield Damage("indices", key, path, "not known to have reached the disk")
    for key, path in _objects(store, "images", 0.0):
        reason = _image(store, key, deep=deep)
        if reason and os.path.lexists(path):
            yield Damage("images", key, path, reason)
    yield from dangling(store)


def count(store: Store) -> int:
    """How many objects `damaged` looks at before the images, which take no time."""
    return sum(len(_objects(store, kind, 0.0)) for kind in ("debs", "blobs", "unpacked", "trees"))


def _objects(store: Store, kind: str, since: float) -> list[tuple[str, str]]:
    base = os.path.join(store.path, kind)
    found = []
    try:
        names = sorted(os.listdir(base))
    except FileNotFoundError:
        return []
    for name in names:
        if kind in ("debs", "blobs") and name.endswith(".part"):
            continue  # where a fetch that was interrupted goes on
        path = os.path.join(base, name)
        try:
            if os.lstat(path).st_ctime >= since:
                found.append((name, path))
        except FileNotFoundError:
            continue
    return found


def _misnamed(key: str) -> str:
    return "" if lookup.is_digest(key) else "its name is not a digest"


def sha256_of(fd: int) -> str:
    """The digest of what a descriptor reads from here on, in hex. Raises OSError."""
    total = hashlib.sha256()
    buffer = memoryview(bytearray(1 << 18))
    while count := os.readv(fd, [buffer]):
        total.update(buffer[:count])
    return total.hexdigest()


def _digest_at(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return sha256_of(fd)
    finally:
        os.close(fd)


def _deb(path: str, key: str, deep: bool) -> str:
    return "" if _digest_at(path) == key else "its digest is not its name"


def _unpacked(path: str, key: str, deep: bool) -> str:
    with open(os.path.join(path, "meta.json"), encoding="utf-8", errors="surrogateescape") as text:
        meta = json.load(text)
    blobs: dict[str, tuple[int, str]] = {}
    for blob, _mode, size, sha256 in meta["info"].values():
        blobs[str(blob)] = (size, sha256)
    for member in meta["members"]:
        if member[7] is not None:
            blobs[str(member[7])] = (member[6], member[8])
    with TreeReader(path) as reader:
        for blob, (size, sha256) in blobs.items():
            if reason := _content(reader, f"/{blob}", size, sha256, deep):
                return reason
    return ""


def _content(reader: TreeReader, path: str, size: int, sha256: str, deep: bool) -> str:
    status = reader.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        return f"{path} is not a regular file"
    if status.st_size != size:
        return f"{path} has {status.st_size} bytes, not {size}"
    if deep and sha256:
        fd = reader.open(path)
        try:
            if sha256_of(fd) != sha256:
                return f"{path} has another content (its digest differs)"
        finally:
            os.close(fd)
    return ""


def _tree(path: str, key: str, deep: bool, *, plain: bool) -> str:
    os.stat(os.path.join(path, "root"))
    manifest_path = os.path.join(path, "manifest")
    os.stat(manifest_path)
    if not deep:
        return ""
    entries = read_manifest(path)
    with TreeReader(os.path.join(path, "root")) as reader:
        for entry in entries.values():
            if reason := differs(reader, on_disk(entry) if plain else entry, deep=True):
                return reason
        for entry in entries.values():
            if entry.kind == "d":
                for name in reader.listdir(entry.path):
                    inside = f"{entry.path.rstrip('/')}/{name}"
                    if inside not in entries:
                        return f"{inside} is not in its manifest"
    return ""


def read_manifest(tree: str) -> dict[str, manifest.Entry]:
    """The manifest of the tree in folder `tree`. Raises OSError and StoreFailed."""
    with open(os.path.join(tree, "manifest"), encoding="ascii", errors="replace") as text:
        return manifest.loads(text.read())


def differs(reader: TreeReader, entry: manifest.Entry, *, deep: bool) -> str:
    """Why the tree is not what `entry` says of one path; "" when it is. Times are not compared.

    A device node that is absent is right: an ordinary user cannot make one (mknod(2)).
    """
    try:
        status = reader.lstat(entry.path)
    except FileNotFoundError:
        return "" if entry.kind in "cb" else f"{entry.path} is missing"
    except (NotADirectoryError, OSError) as error:
        return f"{entry.path}: {(error.strerror or '').lower()}"
    if stat.S_IFMT(status.st_mode) != manifest.TYPES[entry.kind]:
        return f"{entry.path} is of another type"
    if entry.kind != "l" and stat.S_IMODE(status.st_mode) != entry.mode:
        return f"{entry.path} has mode {stat.S_IMODE(status.st_mode):04o}, not {entry.mode:04o}"
    if (status.st_uid, status.st_gid) != (entry.uid, entry.gid):
        return f"{entry.path} belongs to {status.st_uid}:{status.st_gid}, not {entry.uid}:{entry.gid}"
    if entry.kind == "l" and reader.readlink(entry.path) != entry.target:
        return f"{entry.path} has another target"
    if entry.kind == "f":
        return _content(reader, entry.path, entry.size, "" if entry.hardlink else entry.sha256, deep)
    return ""


def _image(store: Store, digest: str, *, deep: bool) -> str:
    if not lookup.is_digest(digest):
        return "its name is not a digest"
    try:
        record = store.record(digest)
        store.lock_text(digest)
        config = store.config(digest)
    except StoreFailed as error:
        return str(error)
    if not os.path.isdir(os.path.join(store.tree(record.tree), "root")):
        return f"its tree {record.tree} is not in the store"
    if deep:
        try:
            entries = read_manifest(store.tree(record.tree))
        except (OSError, StoreFailed) as error:
            return str(error)
        if manifest.digest(entries.values(), config, record.epoch) != digest:
            return "its manifest and config do not give its digest"
    return ""


def dangling(store: Store) -> Iterator[Damage]:
    """Tags and by-lock entries that name an image, and notes of layers that name a blob, which is not there."""
    for tag in store.tags():
        path = os.path.join(store.path, "tags", tag.name, tag.version)
        if not tag.digest:
            yield Damage("tags", str(tag), path, "it is damaged")
        elif not os.path.exists(os.path.join(store.image(tag.digest), "record")):
            yield Damage("tags", str(tag), path, f"its image {tag.digest} is not in the store")
    base = os.path.join(store.path, "by-lock")
    try:
        names = sorted(name for name in os.listdir(base) if not name.startswith("."))
    except FileNotFoundError:
        names = []
    for name in names:
        path = os.path.join(base, name)
        try:
            digest = lookup.read(path).strip()
        except OSError:
            continue
        if not lookup.is_digest(digest) or not os.path.exists(os.path.join(store.image(digest), "record")):
            yield Damage("by-lock", name, path, "the image it names is not in the store")
    for key, path in _objects(store, "layers", 0.0):
        if key.startswith("."):
            continue
        if not lookup.is_digest(key) or blobs.find(store, key) is None:
            yield Damage("layers", key, path, "the blob it names is not in the store")
