"""Read headers of RPM packages, formats 3 and 4: tags with values, checked before any of them is used.

Source: rpm's documentation, "RPM V4 Package format", and the limits of rpm 4.18 (header.c). All offsets and counts
are checked when a header is taken in, so that reading a value can only meet another type than it asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from hosier.distro.rpm.tags import (
    BINARY,
    CHAR,
    HEADERI18NTABLE,
    HEADERIMAGE,
    HEADERIMMUTABLE,
    HEADERSIGNATURES,
    INT8,
    INT16,
    INT32,
    INT64,
    STRING,
    STRINGS,
    TRANSLATED,
)

MAGIC = b"\x8e\xad\xe8\x01\0\0\0\0"
INTRO = 16
"""The bytes before the index: magic, number of entries, length of their values."""
INDEX_MAX = 0xFFFF
DATA_MAX = 0x0FFF_FFFF
SIGNATURE_INDEX_MAX = 32
SIGNATURE_DATA_MAX = 64 * 1024 * 1024

_ENTRY = 16
_TEXTS = (STRING, STRINGS, TRANSLATED)
_INTEGERS = {CHAR: ("B", 1), INT8: ("B", 1), INT16: ("H", 2), INT32: ("I", 4), INT64: ("Q", 8)}
_NAMES = {HEADERIMMUTABLE: "header", HEADERSIGNATURES: "signature header"}


class Malformed(Exception):
    """What is read is not what rpm's format allows; the text is the reason."""


def size(intro: bytes, *, region: int = HEADERIMMUTABLE) -> int:
    """The whole length of the header whose first 16 bytes are `intro`; `region` says which of the two it is.

    Raises Malformed for another magic and for counts beyond rpm's limits.
    """
    name = _NAMES[region]
    if len(intro) < INTRO:
        raise Malformed(f"its {name} is cut off")
    if intro[:8] != MAGIC:
        raise Malformed(f"its {name} does not begin as one")
    return INTRO + _lengths(intro[8:INTRO], region)


def _lengths(said: bytes, region: int) -> int:
    entries, data = struct.unpack(">II", said)
    small = region == HEADERSIGNATURES
    if not 0 < entries <= (SIGNATURE_INDEX_MAX if small else INDEX_MAX):
        raise Malformed(f"its {_NAMES[region]} counts {entries} entries")
    if not 0 < data <= (SIGNATURE_DATA_MAX if small else DATA_MAX):
        raise Malformed(f"its {_NAMES[region]} says to hold {data} bytes")
    return int(_ENTRY * entries + data)


class Header:
    """The values of one header. `raw` are its bytes, with its magic; `region` is 62, 63, or 0 where it has none."""

    __slots__ = ("_data", "_index", "_start", "raw", "region")

    def __init__(self, raw: bytes, index: dict[int, tuple[int, int, int, int]], start: int, region: int) -> None:
        """`index` has the type, offset, count and end of each tag's value; offsets are from `start`."""
        self.raw = raw
        self.region = region
        self._index = index
        self._start = start

    @classmethod
    def parse(cls, data: bytes, *, region: int = HEADERIMMUTABLE) -> Header:
        """The header that is all of `data`, as a package has it: its region covers the whole main header.

        `region` says which one is expected: HEADERIMMUTABLE or HEADERSIGNATURES. Raises Malformed.
        """
        if size(data[:INTRO], region=region) != len(data):
            raise Malformed(f"its {_NAMES[region]} has another length than it says")
        return _parsed(data, region, whole=region == HEADERIMMUTABLE)

    @classmethod
    def parse_installed(cls, data: bytes) -> Header:
        """A header as the database keeps it: without magic, with tags added behind the region. Raises Malformed."""
        if len(data) < 8 or _lengths(data[:8], HEADERIMMUTABLE) != len(data) - 8:
            raise Malformed("its header has another length than it says")
        return _parsed(MAGIC + data, HEADERIMMUTABLE, whole=False)

    def __contains__(self, tag: int) -> bool:
        return tag in self._index

    def __iter__(self) -> Iterator[int]:
        """The tags that it has, in the order of the file, without the region's."""
        return iter(self._index)

    def kind(self, tag: int) -> int:
        """The type of a tag's value, 0 where it has none."""
        entry = self._index.get(tag)
        return 0 if entry is None else entry[0]

    def count(self, tag: int) -> int:
        """How many values a tag has (of bytes: how many bytes), without reading them; 0 where it is not there."""
        entry = self._index.get(tag)
        return 0 if entry is None else entry[2]

    def string(self, tag: int, default: str = "") -> str:
        """A text; the first of several. Bytes that are no UTF-8 are kept as lone surrogates."""
        entry = self._index.get(tag)
        if entry is None:
            return default
        kind, offset, _, _ = entry
        if kind not in _TEXTS:
            raise _other(tag, "a text")
        start = self._start + offset
        return _text(self.raw[start : self.raw.index(b"\0", start)])

    def strings(self, tag: int) -> tuple[str, ...]:
        """All texts of a tag; of one that is translated, those of all languages. Empty where it is not there."""
        entry = self._index.get(tag)
        if entry is None:
            return ()
        kind, offset, count, end = entry
        if kind not in _TEXTS:
            raise _other(tag, "texts")
        # All at once: no bytes that are no UTF-8 reach over a NUL.
        parts = _text(self.raw[self._start + offset : self._start + end]).split("\0", count)
        del parts[count:]
        return tuple(parts)

    def numbers(self, tag: int) -> tuple[int, ...]:
        """All numbers of a tag, unsigned. Empty where it is not there."""
        entry = self._index.get(tag)
        if entry is None:
            return ()
        kind, offset, count, _ = entry
        if kind not in _INTEGERS:
            raise _other(tag, "numbers")
        return struct.unpack_from(f">{count}{_INTEGERS[kind][0]}", self.raw, self._start + offset)

    def number(self, tag: int, default: int = 0) -> int:
        """The first number of a tag."""
        return found[0] if (found := self.numbers(tag)) else default

    def binary(self, tag: int) -> bytes:
        """The bytes of a tag. Empty where it is not there."""
        entry = self._index.get(tag)
        if entry is None:
            return b""
        kind, offset, count, _ = entry
        if kind != BINARY:
            raise _other(tag, "bytes")
        start = self._start + offset
        return self.raw[start : start + count]


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _other(tag: int, wanted: str) -> Malformed:
    return Malformed(f"the value of tag {tag} in its header is not {wanted}")


def _parsed(raw: bytes, region: int, *, whole: bool) -> Header:
    name = _NAMES[region]
    entries, length = struct.unpack_from(">II", raw, 8)
    start = INTRO + _ENTRY * entries
    rows = list(struct.iter_unpack(">IIiI", raw[INTRO:start]))
    covered, limit = 0, length
    if HEADERIMAGE <= rows[0][0] < HEADERI18NTABLE:
        covered, limit = _region(raw, rows, start, length, region)
        if whole and (covered != entries or limit + _ENTRY != length):
            raise Malformed(f"its {name} goes on behind its region")
    index: dict[int, tuple[int, int, int, int]] = {}
    after = 0
    for at in range(1 if covered else 0, entries):
        tag, kind, offset, count = rows[at]
        inside = at < covered
        end = rows[at + 1][2] if at + 1 < entries else length
        if inside:
            end = end if at + 1 < covered else limit
        elif at == covered and covered:
            after = limit + _ENTRY  # behind the region's trailer
        if tag < HEADERI18NTABLE:
            raise Malformed(f"its {name} has an entry with the tag {tag}")
        if (inside or not covered) and tag in index:
            raise Malformed(f"its {name} has the tag {tag} twice")
        if not after <= offset <= end <= length:
            raise Malformed(f"the value of tag {tag} in its {name} lies outside, or over another")
        after = offset + _checked(raw, start, name, (tag, kind, offset, count), end)
        index[tag] = kind, offset, count, end
    return Header(raw, index, start, region if covered else 0)


def _region(raw: bytes, rows: list[tuple[int, int, int, int]], start: int, length: int, region: int) -> tuple[int, int]:
    """How many entries belong to the region, and where its values end and its trailer begins."""
    name = _NAMES[region]
    tag, kind, offset, count = rows[0]
    if tag != region or kind != BINARY or count != _ENTRY or not 0 <= offset <= length - _ENTRY:
        raise Malformed(f"its {name} has a wrong region")
    own, own_kind, back, own_count = struct.unpack_from(">IIiI", raw, start + offset)
    # Signature headers of rpm 4.0 call their trailer by the older word.
    known = own == region or (own == HEADERIMAGE and region == HEADERSIGNATURES)
    if not known or own_kind != BINARY or own_count != _ENTRY or back >= 0 or back % _ENTRY:
        raise Malformed(f"the region of its {name} has a wrong trailer")
    covered = -back // _ENTRY
    if covered > len(rows):
        raise Malformed(f"the region of its {name} counts more entries than there are")
    return covered, offset


def _checked(raw: bytes, start: int, name: str, entry: tuple[int, int, int, int], end: int) -> int:
    """How many bytes a value has; at least one, and none beyond `end`."""
    tag, kind, offset, count = entry
    if not 0 < count <= end - offset:
        raise Malformed(f"the value of tag {tag} in its {name} counts {count}")
    if kind in _INTEGERS:
        each = _INTEGERS[kind][1]
        if offset % each:
            raise Malformed(f"the value of tag {tag} in its {name} is not aligned")
        size = each * count
        if size > end - offset:
            raise Malformed(f"the value of tag {tag} in its {name} counts {count}")
        return size
    if kind == BINARY:
        return count
    if kind not in _TEXTS:
        raise Malformed(f"the value of tag {tag} in its {name} has the unknown type {kind}")
    if kind == STRING and count != 1:
        raise Malformed(f"the value of tag {tag} in its {name} counts {count}")
    low, high = start + offset, start + end
    # Zeros that align the value behind are counted with it: they are its neighbour's only by what it says.
    if raw.count(b"\0", low, high) < count:
        raise Malformed(f"a text of tag {tag} in its {name} has no end")
    return raw.index(b"\0", low, high) + 1 - low if count == 1 else count
