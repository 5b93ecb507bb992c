"""The tables of a SquashFS image: metadata blocks, owners, extended attributes.

Layout: linux/fs/squashfs/squashfs_fs.h, Documentation/filesystems/squashfs.rst.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

from hosier.errors import StoreFailed
from hosier.store.manifest import Entry

BLOCK = 8192
NONE_32 = 0xFFFF_FFFF
NONE_64 = 0xFFFF_FFFF_FFFF_FFFF
IDS_MAX = 65535  # the superblock counts them in 16 bits

_PLAIN = 1 << 15
_PREFIXES = {"user": 0, "trusted": 1, "security": 2}


class Metadata:
    """A stream of records in compressed blocks of 8 KiB, each after its length.

    A record's reference is the start of its block, counted from the stream's own, shifted by 16, and its offset there.
    """

    def __init__(self, compress: Callable[[bytes], bytes] | None) -> None:
        self._compress = compress
        self._open = bytearray()
        self._done: list[bytes] = []
        self.starts: list[int] = []
        self._start = 0

    @property
    def block(self) -> int:
        """Where the block that is being filled begins."""
        return self._start

    @property
    def offset(self) -> int:
        """How far it is filled."""
        return len(self._open)

    @property
    def reference(self) -> int:
        """The reference of the record that is added next."""
        return self._start << 16 | len(self._open)

    def add(self, record: bytes) -> int:
        """Append; returns the record's reference."""
        at = self.reference
        self._open += record
        while len(self._open) >= BLOCK:
            self._emit(bytes(self._open[:BLOCK]))
            del self._open[:BLOCK]
        return at

    def _emit(self, block: bytes) -> None:
        packed = self._compress(block) if self._compress is not None else block
        if len(packed) < len(block):
            stored = struct.pack("<H", len(packed)) + packed
        else:
            stored = struct.pack("<H", len(block) | _PLAIN) + block
        self.starts.append(self._start)
        self._done.append(stored)
        self._start += len(stored)

    def finish(self) -> bytes:
        """All blocks."""
        if self._open:
            self._emit(bytes(self._open))
            self._open.clear()
        return b"".join(self._done)


def table(records: bytes, at: int, compress: Callable[[bytes], bytes] | None) -> tuple[bytes, bytes]:
    """A lookup table that is written at `at`: its blocks, and the list of where they begin, which comes after them."""
    stream = Metadata(compress)
    stream.add(records)
    blocks = stream.finish()
    return blocks, struct.pack(f"<{len(stream.starts)}Q", *(at + each for each in stream.starts))


class Owners:
    """The table of user and group ids."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._index: dict[int, int] = {}

    def index(self, owner: int) -> int:
        """The place of an id. Raises StoreFailed when there are more of them than the format holds."""
        found = self._index.setdefault(owner, len(self._index))
        if found >= IDS_MAX:
            raise StoreFailed(
                f"cannot pack {self._name}: squashfs holds {IDS_MAX} different owners and groups, and there are more",
                hint="use --format erofs or tar",
            )
        return found

    def __len__(self) -> int:
        return len(self._index)

    def records(self) -> bytes:
        """The table's content."""
        return struct.pack(f"<{len(self._index)}I", *self._index)


class Attributes:
    """The tables of extended attributes. Sets that are equal are kept once.

    The format knows user., trusted. and security.; names of others are collected in `lost`.
    """

    def __init__(self, compress: Callable[[bytes], bytes] | None) -> None:
        self._compress = compress
        self._pairs = Metadata(compress)
        self._records: list[bytes] = []
        self._index: dict[tuple[tuple[str, str], ...], int] = {}
        self.lost: set[str] = set()

    def index(self, entry: Entry) -> int:
        """The place of an entry's set, NONE_32 without any."""
        if not entry.xattrs:
            return NONE_32
        kept = tuple(pair for pair in entry.xattrs if pair[0].partition(".")[0] in _PREFIXES)
        self.lost.update(key for key, _ in entry.xattrs if key.partition(".")[0] not in _PREFIXES)
        if not kept:
            return NONE_32
        if kept not in self._index:
            content = b"".join(_pair(key, value) for key, value in kept)
            reference = self._pairs.add(content)
            self._records.append(struct.pack("<QII", reference, len(kept), len(content)))
            self._index[kept] = len(self._index)
        return self._index[kept]

    def __bool__(self) -> bool:
        return bool(self._records)

    def tables(self, at: int) -> tuple[bytes, int]:
        """Everything that is written at `at`, and where in the image the list of sets begins."""
        pairs = self._pairs.finish()
        blocks, starts = table(b"".join(self._records), at + len(pairs), self._compress)
        head = struct.pack("<QII", at, len(self._records), 0)
        return pairs + blocks + head + starts, at + len(pairs) + len(blocks)


def _pair(key: str, value: str) -> bytes:
    prefix, _, rest = key.partition(".")
    name, content = os.fsencode(rest), bytes.fromhex(value)
    return struct.pack("<HH", _PREFIXES[prefix], len(name)) + name + struct.pack("<I", len(content)) + content
