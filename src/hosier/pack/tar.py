"""Write a tree as a tar archive, the same to the last bit wherever and whenever it is written.

POSIX.1-2001 (pax) with extended headers only where ustar cannot say it. Members are in the order of the manifest's
paths; owners are numbers without names, because a name means what the root's own passwd says; times are clamped to
the epoch. Extended attributes are written as SCHILY.xattr.*, ACLs as SCHILY.acl.* (numeric ids), as GNU tar and
libarchive read them. Everything but the content of files comes from the manifest: what an ordinary user could not
make on disk (device nodes) is in the archive all the same.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterable

from hosier.errors import StoreFailed
from hosier.pack.content import changed, opened
from hosier.store.manifest import Entry
from hosier.store.reader import TreeReader

_BLOCK = 512
_RECORD = 20 * _BLOCK
_SMALL = 1 << 16
_BATCH = 1 << 20
_PIECE = 1 << 20

LEVELS = {"gz": 6, "zst": 6, "zstd": 6}

_MAGIC = b"ustar\x0000" + bytes(64)  # and no names of owners
_MAGIC_SUM = sum(_MAGIC) + 8 * ord(" ")  # with the field of the sum, which counts as blanks

_TYPEFLAGS = {"f": b"0", "l": b"2", "c": b"3", "b": b"4", "d": b"5", "p": b"6"}
_OCTAL_7 = 0o7777777
_OCTAL_11 = 0o77777777777

_ACLS = {"system.posix_acl_access": "SCHILY.acl.access", "system.posix_acl_default": "SCHILY.acl.default"}
# linux/posix_acl_xattr.h, linux/posix_acl.h
_ACL_VERSION = 2
_ACL_TAGS = {0x01: "user:", 0x02: "user:", 0x04: "group:", 0x08: "group:", 0x10: "mask:", 0x20: "other:"}
_ACL_NAMED = (0x02, 0x08)


def write(
    out: int,
    root: str,
    entries: Iterable[Entry],
    *,
    epoch: int,
    compression: str = "",
    verify: bool = False,
    name: str = "the image",
    advance: Callable[[int], object] = lambda size: None,
) -> int:
    """Write the tree at `root` to the descriptor `out`; returns the bytes written there.

    `compression` is "", "gz", "xz" or "zst". `verify` also compares each file's digest with the manifest (its type
    and size always are). `advance` is told the bytes of each file that is done. Raises StoreFailed, naming `name`, when
    a file is not what the manifest says, OSError when `out` cannot be written; what was written by then is of no use.
    """
    sink = Plain(out) if not compression else Compressed(out, compression, threads=2)
    with TreeReader(root) as reader:
        for entry in sorted(entries, key=lambda each: each.path):
            sink.put(header(entry, epoch))
            if entry.kind == "f" and not entry.hardlink and entry.size:
                content(sink, reader, entry, name, verify=verify)
                advance(entry.size)
    sink.finish()
    return sink.written


def header(entry: Entry, epoch: int) -> bytes:
    """The blocks before a member's content: its extended header when it needs one, and its ustar header."""
    path = os.fsencode(entry.path[1:]) or b"."
    if entry.kind == "d":
        path += b"/"
    link = os.fsencode(entry.hardlink[1:] if entry.hardlink else entry.target)
    typeflag = b"1" if entry.hardlink else _TYPEFLAGS[entry.kind]
    size = entry.size if entry.kind == "f" and not entry.hardlink else 0
    mtime = min(entry.mtime, epoch)
    major, minor = entry.rdev if entry.rdev is not None and entry.kind in "cb" else (0, 0)
    if major > _OCTAL_7 or minor > _OCTAL_7:
        raise StoreFailed(f"cannot pack {entry.path}: tar holds no device {major}:{minor}")
    records: list[tuple[bytes, bytes]] = []
    field, prefix = _split(path)
    if field is None:
        records.append((b"path", path))
        field, prefix = path[:100], b""
    if len(link) > 100:
        records.append((b"linkpath", link))
    for key, value, most in (
        (b"uid", entry.uid, _OCTAL_7),
        (b"gid", entry.gid, _OCTAL_7),
        (b"size", size, _OCTAL_11),
        (b"mtime", mtime, _OCTAL_11),
    ):
        if not 0 <= value <= most:
            records.append((key, b"%d" % value))
    if not entry.hardlink:
        records += _attributes(entry)
    ustar = _ustar(field, prefix, link[:100], typeflag, entry, size, mtime, major, minor)
    if not records:
        return ustar
    return _extended(records, mtime) + ustar


def _split(path: bytes) -> tuple[bytes | None, bytes]:
    """The name and prefix fields of ustar; name is None when the path does not fit."""
    if len(path) <= 100:
        return path, b""
    if len(path) <= 256:
        cut = path.find(b"/", len(path) - 101, min(156, len(path) - 1))
        if cut > 0:
            return path[cut + 1 :], path[:cut]
    return None, b""


def _ustar(
    name: bytes,
    prefix: bytes,
    link: bytes,
    typeflag: bytes,
    entry: Entry | None,
    size: int,
    mtime: int,
    major: int,
    minor: int,
) -> bytes:
    mode, uid, gid = (entry.mode, entry.uid, entry.gid) if entry is not None else (0o644, 0, 0)
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (
        mode,
        _fit(uid, _OCTAL_7),
        _fit(gid, _OCTAL_7),
        _fit(size, _OCTAL_11),
        _fit(mtime, _OCTAL_11),
    )
    device = b"%07o\0%07o\0" % (major, minor) if typeflag in b"34" else b""
    # Of the parts and not of the block, most of which is empty.
    total = _MAGIC_SUM + sum(name) + sum(numbers) + sum(typeflag) + sum(link) + sum(device) + sum(prefix)
    return b"%b%b%06o\0 %b%b%b%b%b" % (
        name.ljust(100, b"\0"),
        numbers,
        total,
        typeflag,
        link.ljust(100, b"\0"),
        _MAGIC,
        device.ljust(16, b"\0"),
        prefix.ljust(167, b"\0"),
    )


def _fit(value: int, most: int) -> int:
    return value if 0 <= value <= most else 0


def _extended(records: list[tuple[bytes, bytes]], mtime: int) -> bytes:
    """A pax extended header (POSIX pax, "pax Extended Header"): "LENGTH KEY=VALUE\\n", the length with itself."""
    body = b""
    for key, value in sorted(records):
        rest = len(key) + len(value) + 3
        length = rest + len(str(rest))
        if len(str(length)) != len(str(rest)):
            length = rest + len(str(length))
        body += b"%d %b=%b\n" % (length, key, value)
    head = _ustar(b"././@PaxHeader", b"", b"", b"x", None, len(body), max(0, min(mtime, _OCTAL_11)), 0, 0)
    return head + body + bytes(-len(body) % _BLOCK)


def _attributes(entry: Entry) -> list[tuple[bytes, bytes]]:
    records = []
    for name, value in entry.xattrs:
        key = _ACLS.get(name)
        content = bytes.fromhex(value)
        text = acl_text(content) if key is not None else None
        if key is not None and text is not None:
            records.append((key.encode("ascii"), text.encode("ascii")))
        else:
            records.append((b"SCHILY.xattr." + _keyword(name), content))
    return records


def _keyword(name: str) -> bytes:
    """An attribute's name in the keyword of a record, which an = would end: as GNU tar has it."""
    if "=" in name or "%3D" in name or "%25" in name:
        name = name.replace("%", "%25").replace("=", "%3D")
    return os.fsencode(name)


def acl_text(value: bytes) -> str | None:
    """The short text (acl(5)), with numeric ids, of an ACL as linux/posix_acl_xattr.h has it; None when it is none."""
    if len(value) < 4 or (len(value) - 4) % 8 or int.from_bytes(value[:4], "little") != _ACL_VERSION:
        return None
    said = []
    for at in range(4, len(value), 8):
        tag = int.from_bytes(value[at : at + 2], "little")
        bits = int.from_bytes(value[at + 2 : at + 4], "little")
        who = str(int.from_bytes(value[at + 4 : at + 8], "little")) if tag in _ACL_NAMED else ""
        if tag not in _ACL_TAGS or bits > 7:
            return None
        allowed = "".join(letter if bits & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))
        said.append(f"{_ACL_TAGS[tag]}{who}:{allowed}")
    return ",".join(said)


def content(sink: Plain, reader: TreeReader, entry: Entry, name: str, *, verify: bool) -> None:
    """Append the content of a regular file and what fills its last block. Raises StoreFailed, naming `name`."""
    fd = opened(reader, entry, name)
    try:
        total = hashlib.sha256() if verify and entry.sha256 else None
        sent = sink.copy(fd, entry.size, total.update if total is not None else None)
        if sent != entry.size:
            raise changed(entry, name, f"it ended after {sent} bytes")
        if total is not None and total.hexdigest() != entry.sha256:
            raise changed(entry, name, "its digest differs from the manifest's")
    finally:
        os.close(fd)
    if entry.size % _BLOCK:
        sink.put(bytes(-entry.size % _BLOCK))


class Plain:
    """A descriptor that is written in large pieces; big files go there without passing through this process."""

    def __init__(self, out: int) -> None:
        self.out = out
        self.written = 0
        self._parts: list[bytes] = []
        self._held = 0
        self._direct = True

    def put(self, content: bytes) -> None:
        """Append."""
        self._parts.append(content)
        self._held += len(content)
        if self._held >= _BATCH:
            self._flush()

    def copy(self, fd: int, size: int, observe: Callable[[memoryview], object] | None) -> int:
        """Append `size` bytes that `fd` reads; returns how many there were."""
        if size > _SMALL and observe is None and self._direct:
            self._flush()
            return self._send(fd, size)
        sent = 0
        while sent < size:
            piece = os.read(fd, min(_PIECE, size - sent))
            if not piece:
                break
            if observe is not None:
                observe(memoryview(piece))
            self.put(piece)
            sent += len(piece)
        return sent

    def _send(self, fd: int, size: int) -> int:
        sent = 0
        while sent < size:
            try:
                count = os.sendfile(self.out, fd, None, size - sent)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EBADF):
                    raise
                self._direct = False  # not to this kind of file
                return sent + self.copy(fd, size - sent, None)
            if count == 0:
                break
            sent += count
            self.written += count
        return sent

    def _flush(self) -> None:
        content = memoryview(b"".join(self._parts))
        self._parts, self._held = [], 0
        self.emit(content)

    def emit(self, content: memoryview) -> None:
        """Write all of `content` to the descriptor."""
        while content:
            count = os.write(self.out, content)
            self.written += count
            content = content[count:]

    def pad(self, length: int) -> None:
        """The end of an archive of `length` bytes: two empty blocks, and the rest of the record."""
        self.put(bytes(2 * _BLOCK + -(length + 2 * _BLOCK) % _RECORD))

    def finish(self) -> None:
        """Write the end of the archive."""
        self.pad(self.written + self._held)
        self._flush()


class Compressed(Plain):
    """An archive that is compressed on the way, in pieces of 1 MiB whatever it was put together from."""

    def __init__(self, out: int, compression: str, *, level: int = 0, threads: int = 0) -> None:
        super().__init__(out)
        self._length = 0
        self._buffer = memoryview(bytearray(_BATCH))
        self._filled = 0
        self._compress, self._end = compressor(compression, level=level, threads=threads)

    def put(self, content: bytes) -> None:
        """Append."""
        end = self._filled + len(content)
        if end < _BATCH:
            self._buffer[self._filled : end] = content
            self._fill(len(content))
            return
        view = memoryview(content)
        while view:
            room = self._buffer[self._filled : self._filled + len(view)]
            room[:] = view[: len(room)]
            view = view[len(room) :]
            self._fill(len(room))

    def copy(self, fd: int, size: int, observe: Callable[[memoryview], object] | None) -> int:
        """Append `size` bytes that `fd` reads; returns how many there were."""
        sent = 0
        while sent < size:
            room = self._buffer[self._filled : self._filled + size - sent]
            count = os.readv(fd, (room,))
            if not count:
                break
            if observe is not None:
                observe(room[:count])
            sent += count
            self._fill(count)
        return sent

    def _fill(self, count: int) -> None:
        self._length += count
        self._filled += count
        if self._filled == _BATCH:
            self._flush()

    def compress(self, content: memoryview) -> Buffer:
        """The compressor's output for the next piece."""
        return self._compress(content)

    def _flush(self) -> None:
        content = self._buffer[: self._filled]
        self._filled = 0
        self.emit(memoryview(self.compress(content)))

    def finish(self) -> None:
        """Write the end of the archive and of the compressed stream."""
        self.pad(self._length)
        if self._filled:
            self._flush()
        self.emit(memoryview(self._end()))


Buffer = bytes | bytearray | memoryview
Compress = Callable[[memoryview], Buffer]


def compressor(compression: str, *, level: int = 0, threads: int = 0) -> tuple[Compress, Callable[[], bytes]]:
    """Functions that compress the next piece, and end the stream; `level` 0 is that of LEVELS.

    The same bytes for the same input and library version: no name, no time. `threads` only does for zstd, where any
    number of them gives the same bytes, and none gives others (zstd.h, ZSTD_c_nbWorkers).
    """
    level = level or LEVELS.get(compression, 0)
    if compression in ("none", ""):
        return lambda content: content, lambda: b""
    if compression == "gz":
        import deflate

        # Each piece a member of its own, as RFC 1952 has it: the library knows whole buffers only. It gives the same
        # bytes on every processor, which zlib in all its kinds does not, in half the time.
        return lambda content: deflate.gzip_compress(content, level), lambda: b""
    if compression == "xz":
        import lzma

        xz = lzma.LZMACompressor(preset=6)
        return xz.compress, xz.flush
    if compression in ("zst", "zstd"):
        import zstandard

        zst = zstandard.ZstdCompressor(level=level, threads=threads, write_checksum=True).compressobj()
        return zst.compress, zst.flush
    raise StoreFailed(f"cannot compress with {compression!r}: expected gz, xz or zst")


def compressor_name(compression: str, *, level: int = 0) -> str:
    """The compressor with its level and its library's version: what comes out is the same where this is."""
    level = level or LEVELS.get(compression, 0)
    if compression == "gz":
        import deflate

        return f"gz {level} {_BATCH} deflate {deflate.__version__}"
    if compression in ("zst", "zstd"):
        import zstandard

        return f"zstd {level} {'.'.join(map(str, zstandard.ZSTD_VERSION))}"
    return compression


def compression_of(path: str) -> str:
    """The compression that a file's name asks for: "" for .tar, "gz" for .tar.gz and .tgz, "xz", "zst"."""
    lower = path.lower()
    for ending, compression in (
        (".gz", "gz"),
        (".tgz", "gz"),
        (".xz", "xz"),
        (".txz", "xz"),
        (".zst", "zst"),
        (".tzst", "zst"),
    ):
        if lower.endswith(ending):
            return compression
    return ""
