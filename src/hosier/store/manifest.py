"""What is in a tree, path by path: the record that images are named by and everything else is compared with.

One line of JSON for each path, sorted: `[path, kind, mode, uid, gid, mtime, package, size, sha256, target, rdev,
xattrs, hardlink]`, empty fields at the end left out. Paths sort by code point, so a folder comes before its content.
"""

from __future__ import annotations

import gc
import hashlib
import json
import stat
from collections.abc import Iterable, Iterator
from typing import Any

from hosier.dataclasses import dataclass
from hosier.errors import StoreFailed

TYPES = {
    "f": stat.S_IFREG,
    "d": stat.S_IFDIR,
    "l": stat.S_IFLNK,
    "c": stat.S_IFCHR,
    "b": stat.S_IFBLK,
    "p": stat.S_IFIFO,
}
"""The kinds of an entry, with their bits of a mode (inode(7))."""
KINDS = {bits: kind for kind, bits in TYPES.items()} | {stat.S_IFSOCK: "s"}
"""The kind of each type that a disk may have; of sockets no manifest has any."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of a tree.

    `path` is absolute, "/" is the root; bytes that are not UTF-8 are kept by surrogateescape. `kind` is "f" (file),
    "d" (folder), "l" (symbolic link), "c", "b" (device nodes) or "p" (pipe). `mode` holds the permission bits with
    setuid, setgid and sticky. `mtime` is in whole seconds. `xattrs` are (name, value in hex), sorted. `hardlink` is the
    first path, in sorted order, of the same inode when this is a further one: kind, size and sha256 are then set too.
    `package` is "name" or "name:arch" of the owner, "" when nothing owns it.
    """

    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int = 0
    sha256: str = ""
    target: str = ""
    rdev: tuple[int, int] | None = None
    xattrs: tuple[tuple[str, str], ...] = ()
    hardlink: str = ""
    package: str = ""


_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_quoted = json.encoder.encode_basestring_ascii


def line(entry: Entry, mtime: int) -> str:
    """The line of an entry, with another time."""
    if entry.rdev is None and not entry.xattrs and not entry.hardlink:
        # Nearly all: written by themselves, which takes a fourth of the time.
        text = f'[{_quoted(entry.path)},"{entry.kind}",{entry.mode},{entry.uid},{entry.gid},{mtime}'
        if entry.target:
            return f"{text},{_quoted(entry.package)},{entry.size},{_quoted(entry.sha256)},{_quoted(entry.target)}]"
        if entry.sha256:
            return f"{text},{_quoted(entry.package)},{entry.size},{_quoted(entry.sha256)}]"
        if entry.size:
            return f"{text},{_quoted(entry.package)},{entry.size}]"
        return f"{text},{_quoted(entry.package)}]" if entry.package else text + "]"
    row: list[object] = [entry.path, entry.kind, entry.mode, entry.uid, entry.gid, mtime]
    row += (entry.package, entry.size, entry.sha256, entry.target, entry.rdev, entry.xattrs, entry.hardlink)
    while not row[-1] and len(row) > 6:
        row.pop()
    return _encode(row)


def dumps(entries: Iterable[Entry]) -> str:
    """The text of a manifest, sorted by path, each line ended."""
    return "".join([line(entry, entry.mtime) + "\n" for entry in sorted(entries, key=_path)])


def _path(entry: Entry) -> str:
    return entry.path


def loads(text: str) -> dict[str, Entry]:
    """The entries by path, in the text's order. Raises StoreFailed when a line is not what `dumps` writes."""
    collecting = gc.isenabled()
    gc.disable()  # a hundred thousand new tuples and no garbage: the collector would walk them again and again
    try:
        entries: dict[str, Entry] = {}
        for row in _rows(text):
            try:
                entry = _entry(*row)
            except (TypeError, ValueError):
                raise StoreFailed(f"cannot read a manifest: {str(row)[:80]} is not an entry") from None
            if entry.path in entries:
                raise StoreFailed(f"cannot read a manifest: {entry.path!r} is there twice")
            entries[entry.path] = entry
        return entries
    finally:
        if collecting:
            gc.enable()


_ROWS = 1000


def _rows(text: str) -> Iterator[Any]:
    """What the lines say, some at a time: what all are made of would take as much memory as what is made of them."""
    lines = text.splitlines()
    for at in range(0, len(lines), _ROWS):
        try:
            rows = json.loads("[" + ",".join(lines[at : at + _ROWS]) + "]")
        except (ValueError, RecursionError) as error:
            raise StoreFailed(f"cannot read a manifest: {error}") from None
        yield from rows


_decode = json.JSONDecoder().raw_decode


def read_line(text: str) -> Entry:
    """The entry that one line of a manifest says. Raises StoreFailed when it is not what `dumps` writes."""
    try:
        row, end = _decode(text)  # json.loads looks for white space around it, which takes as long again
        if text[end:].strip():
            raise ValueError
        return _entry(*row)
    except (TypeError, ValueError, RecursionError):
        raise StoreFailed(f"cannot read a manifest: {text[:80]!r} is not an entry") from None


def _entry(
    path: str,
    kind: str,
    mode: int,
    uid: int,
    gid: int,
    mtime: int,
    package: str = "",
    size: int = 0,
    sha256: str = "",
    target: str = "",
    rdev: list[int] | None = None,
    xattrs: list[list[str]] | tuple[()] = (),
    hardlink: str = "",
) -> Entry:
    if not (
        type(path) is type(package) is type(sha256) is type(target) is type(hardlink) is str
        and type(mode) is type(uid) is type(gid) is type(mtime) is type(size) is int
        and kind in TYPES
        and path[:1] == "/"
        and mode >= 0 <= size
        and uid >= 0 <= gid
    ):
        raise ValueError
    if xattrs or rdev is not None:
        device, pairs = _rare(rdev, xattrs)
        return Entry(path, kind, mode, uid, gid, mtime, size, sha256, target, device, pairs, hardlink, package)
    return Entry(path, kind, mode, uid, gid, mtime, size, sha256, target, None, (), hardlink, package)


def _rare(
    rdev: list[int] | None, xattrs: list[list[str]] | tuple[()]
) -> tuple[tuple[int, int] | None, tuple[tuple[str, str], ...]]:
    device = None
    if rdev is not None:
        major, minor = rdev
        if type(major) is not int or type(minor) is not int or major < 0 or minor < 0:
            raise ValueError
        device = (major, minor)
    pairs = []
    for name, value in xattrs:
        if type(name) is not str or type(value) is not str:
            raise ValueError
        bytes.fromhex(value)
        pairs.append((name, value))
    return device, tuple(pairs)


def digest(entries: Iterable[Entry], config: bytes, epoch: int) -> str:
    """The name of an image: sha256, in hex, over its manifest with times clamped to `epoch`, its config and epoch."""
    lines = [line(entry, min(entry.mtime, epoch)) + "\n" for entry in sorted(entries, key=_path)]
    return digest_of("".join(lines).encode("ascii"), config, epoch)


def digest_of(text: bytes, config: bytes, epoch: int) -> str:
    """As `digest`, by the text of a manifest that has no time after `epoch`."""
    total = hashlib.sha256(b"hosier image 1\n")
    total.update(text)
    total.update(b"config %d\n" % len(config))
    total.update(config)
    total.update(b"\nepoch %d\n" % epoch)
    return total.hexdigest()
