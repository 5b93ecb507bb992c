"""Build Debian packages in memory, right ones and wrong ones; the same input gives the same bytes.

The layers can be used one by one, for a package that is wrong in exactly one place: `header` and `entry` make tar
blocks, `tar` an archive, `ar` the outer archive, `build_deb` all of it.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

MTIME = 1_600_000_000
BLOCK = 512


@dataclass(frozen=True, slots=True)
class File:
    content: bytes | str = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = MTIME
    uname: str = "root"
    gname: str = "root"


@dataclass(frozen=True, slots=True)
class Dir:
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime: int = MTIME
    uname: str = "root"
    gname: str = "root"


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: str
    mode: int = 0o777
    uid: int = 0
    gid: int = 0
    mtime: int = MTIME
    uname: str = "root"
    gname: str = "root"


@dataclass(frozen=True, slots=True)
class HardLink:
    """A further name of `target`, a path of the same package that was given before; mode and owner are its."""

    target: str


@dataclass(frozen=True, slots=True)
class Device:
    kind: str = "c"
    major: int = 1
    minor: int = 3
    mode: int = 0o666
    uid: int = 0
    gid: int = 0
    mtime: int = MTIME
    uname: str = "root"
    gname: str = "root"


@dataclass(frozen=True, slots=True)
class Fifo:
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = MTIME
    uname: str = "root"
    gname: str = "root"


Node = File | Dir | Link | HardLink | Device | Fifo


def encode(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def header(
    name: bytes | str,
    *,
    type: bytes = b"0",
    size: int | bytes = 0,
    mode: int | bytes = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    mtime: int | bytes = MTIME,
    link: bytes | str = b"",
    uname: str = "root",
    gname: str = "root",
    major: int = 0,
    minor: int = 0,
    magic: bytes = b"ustar  \0",
    prefix: bytes = b"",
    checksum: bytes | None = None,
) -> bytes:
    """One tar header block. Numbers may be given as the bytes of their field; `checksum` None is the right one."""

    def number(value: int | bytes, width: int) -> bytes:
        if isinstance(value, bytes):
            return value
        if 0 <= value < 8 ** (width - 1):
            return b"%0*o\0" % (width - 1, value)
        marker = 0x80 if value >= 0 else 0xFF
        return bytes([marker]) + value.to_bytes(width - 1, "big", signed=value < 0)

    fields = (
        encode(name),
        number(mode, 8),
        number(uid, 8),
        number(gid, 8),
        number(size, 12),
        number(mtime, 12),
        b" " * 8,
        type,
        encode(link),
        magic,
        encode(uname),
        encode(gname),
        number(major, 8),
        number(minor, 8),
        prefix,
    )
    block = struct.pack("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x", *fields)
    if checksum is None:
        checksum = b"%06o\0 " % sum(block)
    return block[:148] + checksum.ljust(8, b" ") + block[156:]


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)


def entry(name: bytes | str, content: bytes | str = b"", **fields: Any) -> bytes:
    """A member: its header, after a GNU long name or link where one is needed, and its content."""
    name, content = encode(name), encode(content)
    link = encode(fields.pop("link", b""))
    before = b""
    if len(name) > 100:
        before += entry("././@LongLink", name + b"\0", type=b"L")
    if len(link) > 100:
        before += entry("././@LongLink", link + b"\0", type=b"K")
    fields.setdefault("size", len(content))
    return before + header(name[:100], link=link[:100], **fields) + padded(content)


def pax(records: Mapping[str, bytes | str], *, type: bytes = b"x") -> bytes:
    """A pax extended header, "LENGTH KEY=VALUE\\n" for each record, which counts itself."""
    content = b""
    for key, value in records.items():
        rest = b" " + encode(key) + b"=" + encode(value) + b"\n"
        length = len(rest) + len(str(len(rest)))
        length = len(rest) + len(str(length))
        content += str(length).encode() + rest
    return entry("./PaxHeaders/x", content, type=type)


def tar(blocks: Iterable[bytes], *, end: bool = True) -> bytes:
    """A tar archive of finished blocks; `end` is the end mark with GNU tar's padding."""
    content = b"".join(blocks)
    if end:
        content += bytes(2 * BLOCK)
        content += bytes(-len(content) % (20 * BLOCK))
    return content


def ar(members: Sequence[tuple[str, bytes]]) -> bytes:
    """An ar archive as dpkg-deb writes it."""
    parts = [b"!<arch>\n"]
    for name, content in members:
        parts.append(b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (name.encode(), MTIME, 0, 0, b"100644", len(content)))
        parts.append(content)
        parts.append(b"\n" * (len(content) % 2))
    return b"".join(parts)


def compress(content: bytes, compression: str) -> bytes:
    """`compression` as in a file's ending: xz gz zst bz2 lzma, or none."""
    if compression == "none":
        return content
    if compression == "xz":
        return lzma.compress(content, check=lzma.CHECK_CRC64, preset=1)
    if compression == "lzma":
        return lzma.compress(content, format=lzma.FORMAT_ALONE, preset=1)
    if compression == "gz":
        return gzip.compress(content, 6, mtime=0)
    if compression == "bz2":
        return bz2.compress(content)
    if compression in ("zst", "zstd"):
        import zstandard

        return zstandard.ZstdCompressor(level=1, write_checksum=True).compress(content)
    raise ValueError(compression)


def ending(compression: str) -> str:
    return {"none": "", "zstd": ".zst"}.get(compression, "." + compression)


def node_entry(path: str, node: Node | bytes | str, *, first: Node | bytes | str = b"") -> bytes:
    """The tar member of `node` at the absolute `path`; `first` is what a hard link is a further name of."""
    if isinstance(node, bytes | str):
        node = File(node)
    name = "." + path
    if isinstance(node, HardLink):
        of = first if isinstance(first, File) else File()
        facts = {"mode": of.mode, "uid": of.uid, "gid": of.gid, "mtime": of.mtime}
        return entry(name, type=b"1", link="." + node.target, uname=of.uname, gname=of.gname, **facts)
    fields: dict[str, Any] = {"mode": node.mode, "uid": node.uid, "gid": node.gid, "mtime": node.mtime}
    fields |= {"uname": node.uname, "gname": node.gname}
    match node:
        case File(content=content):
            return entry(name, content, **fields)
        case Dir():
            return entry(name.rstrip("/") + "/", type=b"5", **fields)
        case Link(target=target):
            return entry(name, type=b"2", link=target, **fields)
        case Device(kind=kind, major=major, minor=minor):
            return entry(name, type={"c": b"3", "b": b"4"}[kind], major=major, minor=minor, **fields)
        case Fifo():
            return entry(name, type=b"6", **fields)


def tree_blocks(files: Mapping[str, Node | bytes | str]) -> list[bytes]:
    """The members of a data archive: "/" and every folder above comes first, then `files` in their order."""
    blocks: list[bytes] = []
    made: set[str] = set()

    def above(path: str) -> None:
        parent = os.path.dirname(path)
        if path != "/" and parent not in made:
            above(parent)
            blocks.append(node_entry(parent, files.get(parent, Dir())))
            made.add(parent)

    above("/.")
    for path, node in files.items():
        above(path)
        if path not in made:
            first = node
            while isinstance(first, HardLink):
                first = files.get(first.target, b"")
            blocks.append(node_entry(path, node, first=first))
            made.add(path)
    return blocks


def control_text(name: str, version: str, architecture: str, fields: Mapping[str, str]) -> str:
    """A control file; a field given as "" is left out, also one of those that are always there."""
    all_fields = {
        "Package": name,
        "Version": version,
        "Architecture": architecture,
        "Maintainer": "Nobody <nobody@example.org>",
        "Description": f"{name} for a test",
    } | dict(fields)
    return "".join(f"{key}: {value}\n" for key, value in all_fields.items() if value)


def control_blocks(
    control: bytes | str,
    *,
    scripts: Mapping[str, str | bytes | Node] | None = None,
    conffiles: Sequence[str] = (),
    triggers: str = "",
    md5sums: str = "",
) -> list[bytes]:
    """The members of a control archive."""
    blocks = [entry("./", type=b"5", mode=0o755), entry("./control", control)]
    if conffiles:
        blocks.append(entry("./conffiles", "".join(f"{path}\n" for path in conffiles)))
    if triggers:
        blocks.append(entry("./triggers", triggers))
    if md5sums:
        blocks.append(entry("./md5sums", md5sums))
    for script, content in (scripts or {}).items():
        executable = script in ("preinst", "postinst", "prerm", "postrm", "config")
        node = File(content, 0o755 if executable else 0o644) if isinstance(content, bytes | str) else content
        blocks.append(node_entry("/" + script, node))
    return blocks


def deb_bytes(
    name: str = "demo",
    version: str = "1.0",
    architecture: str = "all",
    *,
    files: Mapping[str, Node | bytes | str] | None = None,
    fields: Mapping[str, str] | None = None,
    scripts: Mapping[str, str | bytes | Node] | None = None,
    conffiles: Sequence[str] = (),
    triggers: str = "",
    compression: str = "xz",
    data: Sequence[bytes] | None = None,
    control: Sequence[bytes] | None = None,
    members: Sequence[tuple[str, bytes]] | None = None,
) -> bytes:
    """A package's bytes.

    For hostile ones: `data` and `control` are finished tar blocks in the place of what the other arguments say,
    `members` the members of the outer archive. Installed-Size is stated when `fields` does not.
    """
    if members is not None:
        return ar(members)
    files = files or {}
    contents = [node for node in files.values() if isinstance(node, bytes | str | File)]
    sizes = (len(encode(node.content if isinstance(node, File) else node)) for node in contents)
    size_kib = sum(-(-size // 1024) for size in sizes) + len(files)
    stated = {"Installed-Size": str(size_kib)} | dict(fields or {})
    if control is None:
        sums = "".join(
            f"{hashlib.md5(encode(node.content if isinstance(node, File) else node)).hexdigest()}  {path[1:]}\n"
            for path, node in files.items()
            if isinstance(node, bytes | str | File) and path not in conffiles
        )
        control = control_blocks(
            control_text(name, version, architecture, stated),
            scripts=scripts,
            conffiles=conffiles,
            triggers=triggers,
            md5sums=sums,
        )
    blocks = tree_blocks(files) if data is None else data
    # deb(5) allows bzip2 and lzma for data.tar only.
    control_compression = compression if compression in ("xz", "gz", "zst", "zstd", "none") else "xz"
    return ar(
        [
            ("debian-binary", b"2.0\n"),
            (f"control.tar{ending(control_compression)}", compress(tar(control), control_compression)),
            (f"data.tar{ending(compression)}", compress(tar(blocks), compression)),
        ]
    )


def build_deb(
    path: str | os.PathLike[str],
    name: str = "demo",
    version: str = "1.0",
    architecture: str = "all",
    **parts: Any,
) -> str:
    """Write the package of `deb_bytes` to `path` (in a folder: under its usual name); its SHA-256."""
    content = deb_bytes(name, version, architecture, **parts)
    if os.path.isdir(path):
        path = os.path.join(path, deb_name(name, version, architecture))
    with open(path, "wb") as file:
        file.write(content)
    return hashlib.sha256(content).hexdigest()


def deb_name(name: str, version: str, architecture: str) -> str:
    """The file name that an archive gives a package: without the epoch."""
    return f"{name}_{version.rpartition(':')[2]}_{architecture}.deb"


def owned_by(files: Mapping[str, Node | bytes | str], uid: int, gid: int) -> dict[str, Node]:
    """The same files, given to one owner: for tests that an ordinary user runs."""
    nodes = {path: File(node) if isinstance(node, bytes | str) else node for path, node in files.items()}
    return {
        path: node if isinstance(node, HardLink) else replace(node, uid=uid, gid=gid) for path, node in nodes.items()
    }
