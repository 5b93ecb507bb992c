"""The parts of an EROFS image that have a layout of their own: inode slots, folders, extended attributes, checksum.

Layout: linux/fs/erofs/erofs_fs.h, Documentation/filesystems/erofs.rst.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Iterable, Sequence

from hosier.errors import StoreFailed
from hosier.store.manifest import Entry

BLOCK = 4096
SLOT = 32  # inodes are numbered by it

_TYPES = {"f": 1, "d": 2, "c": 3, "b": 4, "p": 5, "l": 7}
_DIRENT = struct.Struct("<QHBB")
_PREFIXES = {"user.": 1, "trusted.": 4, "security.": 6}
_WHOLE = {"system.posix_acl_access": 2, "system.posix_acl_default": 3}
_VALUE_MAX = 0xFFFF
_LARGE = 512  # bytes of an attribute from which on it is in the shared area
_SHARED_MAX = 255  # of one inode
_INLINE_MAX = 12 + 4 * 0xFFFE


class Slots:
    """Give places to inodes with what is beside them; nothing that fits into a block crosses the end of one."""

    def __init__(self, used: int) -> None:
        self.blocks = 1
        self._free: list[list[int]] = [[] for _ in range(BLOCK // SLOT + 1)]  # blocks, by their free slots
        self._sizes = 0  # a bit for each number of free slots that a block has
        self._keep(0, (BLOCK - used) // SLOT)

    def _keep(self, block: int, free: int) -> None:
        if free:
            self._free[free].append(block)
            self._sizes |= 1 << free

    def take(self, size: int) -> int:
        """A place of `size` bytes, in the fullest block that has it; where it begins, in bytes."""
        wanted = -(-size // SLOT)
        if wanted > BLOCK // SLOT:
            at = self.blocks * BLOCK
            count = -(-size // BLOCK)
            self.blocks += count
            self._keep(self.blocks - 1, (count * BLOCK - size) // SLOT)
            return at
        fitting = self._sizes >> wanted
        if fitting:
            free = wanted + (fitting & -fitting).bit_length() - 1
            block = self._free[free].pop()
            if not self._free[free]:
                self._sizes &= ~(1 << free)
        else:
            block, free = self.blocks, BLOCK // SLOT
            self.blocks += 1
        self._keep(block, free - wanted)
        return (block + 1) * BLOCK - free * SLOT


def _split(names: Iterable[bytes]) -> list[int]:
    """How many names, in their order, go into each block of a folder."""
    counts = [0]
    used = 0
    for name in names:
        need = _DIRENT.size + len(name)
        if used + need > BLOCK:
            counts.append(0)
            used = 0
        counts[-1] += 1
        used += need
    return counts


def folder_size(names: Sequence[bytes]) -> int:
    """The bytes of a folder's content with `names` in it, and with . and .."""
    everything = sorted([b".", b"..", *names])
    counts = _split(everything)
    last = everything[len(everything) - counts[-1] :]
    return (len(counts) - 1) * BLOCK + sum(_DIRENT.size + len(name) for name in last)


def folder_blocks(lines: Sequence[tuple[bytes, int, str]]) -> bytes:
    """A folder's content, of (name, inode number, kind), sorted; the last block is not filled up."""
    blocks: list[bytes] = []
    at = 0
    for count in _split(name for name, _, _ in lines):
        if blocks:
            blocks[-1] = blocks[-1].ljust(BLOCK, b"\0")
        here = lines[at : at + count]
        at += count
        offset = _DIRENT.size * count
        heads: list[bytes] = []
        for name, number, kind in here:
            heads.append(_DIRENT.pack(number, offset, _TYPES[kind], 0))
            offset += len(name)
        blocks.append(b"".join(heads) + b"".join(name for name, _, _ in here))
    return b"".join(blocks)


class Attributes:
    """Extended attributes: beside the inode, or in an area that inodes share when several have them or they are large.

    Names that the format has no place for are collected in `lost`.
    """

    def __init__(self, entries: Iterable[Entry], name: str) -> None:
        self.lost: set[str] = set()
        self._places: dict[tuple[str, str], int] = {}
        used: Counter[tuple[str, str]] = Counter()
        for entry in entries:
            if entry.xattrs and not entry.hardlink:
                for pair in entry.xattrs:
                    if _index(pair[0])[0] == 0:
                        self.lost.add(pair[0])
                        continue
                    if len(pair[1]) // 2 > _VALUE_MAX:
                        raise StoreFailed(
                            f"cannot pack {name}: {entry.path} has {pair[0]} of {len(pair[1]) // 2} bytes, "
                            f"and erofs holds {_VALUE_MAX}"
                        )
                    used[pair] += 1
        area = bytearray()
        for pair in sorted(used):
            if used[pair] > 1 or len(pair[1]) // 2 > _LARGE:
                self._places[pair] = len(area) // 4
                area += _record(*pair)
        self.shared = bytes(area)

    def inline(self, entry: Entry) -> bytes:
        """What is beside an entry's inode, empty without any attribute."""
        shared: list[int] = []
        own = b""
        for pair in entry.xattrs:
            if _index(pair[0])[0] == 0:
                continue
            place = self._places.get(pair)
            if place is not None and len(shared) < _SHARED_MAX:
                shared.append(place)
            else:
                own += _record(*pair)
        if not shared and not own:
            return b""
        body = struct.pack(f"<IB7x{len(shared)}I", 0, len(shared), *shared) + own
        if len(body) > _INLINE_MAX:
            raise StoreFailed(f"cannot pack {entry.path}: it has more extended attributes than erofs holds")
        return body


def _index(key: str) -> tuple[int, str]:
    """The number of a name's prefix, 0 when there is none, and the rest."""
    if key in _WHOLE:
        return _WHOLE[key], ""
    for prefix, number in _PREFIXES.items():
        if key.startswith(prefix):
            return number, key[len(prefix) :]
    return 0, key


def _record(key: str, value: str) -> bytes:
    number, rest = _index(key)
    name, content = os.fsencode(rest), bytes.fromhex(value)
    record = struct.pack("<BBH", len(name), number, len(content)) + name + content
    return record + bytes(-len(record) % 4)


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


def crc32c(content: bytes) -> int:
    """CRC-32C (RFC 3720, B.4) as the kernel's crc32c(~0, …) has it: not inverted at the end."""
    table = _crc_table()
    value = 0xFFFF_FFFF
    for byte in content:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    return value
