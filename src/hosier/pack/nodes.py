"""What writers of file systems share: a manifest as folders with children, checked, and writing at an offset."""

from __future__ import annotations

import os
from collections.abc import Iterable

from hosier.dataclasses import dataclass
from hosier.errors import StoreFailed
from hosier.store.manifest import Entry

NAME_MAX = 255  # linux/limits.h
TARGET_MAX = 4095
ID_MAX = 0xFFFF_FFFE  # the last one is nobody's: chown(2) takes it for "unchanged"
MAJOR_MAX, MINOR_MAX = (1 << 12) - 1, (1 << 20) - 1  # linux/kdev_t.h


@dataclass(frozen=True, slots=True)
class Nodes:
    """`ordered` are all entries by path. `children` has, for each folder, names and entries sorted by their bytes.

    `links` has the number of names of each inode that has several, by its first path.
    """

    ordered: list[Entry]
    children: dict[str, list[tuple[bytes, Entry]]]
    links: dict[str, int]

    def nlink(self, entry: Entry) -> int:
        """The number of names of a path's inode; for a folder 2 and one for each folder in it."""
        if entry.kind == "d":
            return 2 + sum(each.kind == "d" for _, each in self.children[entry.path])
        return self.links.get(entry.path, 1)


def read(entries: Iterable[Entry], *, name: str) -> Nodes:
    """Sort and check. Raises StoreFailed, naming `name`, for what no file system of Linux can hold."""

    def fail(entry: Entry, reason: str) -> StoreFailed:
        return StoreFailed(f"cannot pack {name}: {entry.path} {reason}")

    ordered = sorted(entries, key=lambda each: each.path)
    if not ordered or ordered[0].path != "/" or ordered[0].kind != "d":
        raise StoreFailed(f"cannot pack {name}: its manifest has no root folder")
    children: dict[str, list[tuple[bytes, Entry]]] = {"/": []}
    links: dict[str, int] = {}
    files: dict[str, Entry] = {}
    for entry in ordered:
        if entry.uid > ID_MAX or entry.gid > ID_MAX:
            raise fail(entry, f"has the owner {entry.uid}:{entry.gid}, which is too large")
        if entry.path == "/":
            continue
        parent, _, last = entry.path.rpartition("/")
        base = os.fsencode(last)
        if not 0 < len(base) <= NAME_MAX or last in (".", "..") or "\0" in last:
            raise fail(entry, "has a name that no folder can hold")
        siblings = children.get(parent or "/")
        if siblings is None:
            raise fail(entry, "is in the manifest without its folder")
        siblings.append((base, entry))
        if entry.kind == "d":
            children[entry.path] = []
        elif entry.hardlink:
            first = files.get(entry.hardlink)
            if first is None or first.kind != entry.kind:
                raise fail(entry, f"is a link to {entry.hardlink}, which the manifest has not")
            links[entry.hardlink] = links.get(entry.hardlink, 1) + 1
        else:
            files[entry.path] = entry
        if entry.kind == "l" and not 0 < len(os.fsencode(entry.target)) <= TARGET_MAX:
            raise fail(entry, "is a link whose target is empty or too long")
        if entry.kind in "cb":
            major, minor = entry.rdev or (0, 0)
            if major > MAJOR_MAX or minor > MINOR_MAX:
                raise fail(entry, f"is a device {major}:{minor}, which the kernel has not")
    for siblings in children.values():
        siblings.sort(key=lambda pair: pair[0])
    return Nodes(ordered, children, links)


def device(entry: Entry) -> int:
    """A device number as the kernel's new_encode_dev has it (linux/kdev_t.h)."""
    major, minor = entry.rdev or (0, 0)
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)


def put(out: int, content: bytes, at: int) -> None:
    """Write all of `content` at the offset `at`."""
    view = memoryview(content)
    while view:
        count = os.pwrite(out, view, at)
        view = view[count:]
        at += count
