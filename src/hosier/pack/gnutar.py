"""Headers of a GNU tar archive, which is what dpkg reads: it refuses pax (deb(5), tar(5) "GNU tar archives")."""

from __future__ import annotations

_BLOCK = 512
_TYPES = {"f": b"0", "l": b"2", "d": b"5"}


def header(
    path: bytes,
    kind: str,
    *,
    mode: int,
    uid: int,
    gid: int,
    size: int = 0,
    mtime: int,
    link: bytes = b"",
    hard: bool = False,
) -> bytes:
    """The blocks before a member's content; `kind` is "f", "l" or "d". `hard`: another name of `link`."""
    typeflag = b"1" if hard else _TYPES[kind]
    head = b""
    for letter, text in ((b"K", link), (b"L", path)):
        if len(text) > 100:
            text += b"\0"
            head += _block(b"././@LongLink", letter, 0, 0, 0, len(text), 0, b"")
            head += text + padding(len(text))
    return head + _block(path[:100], typeflag, mode, uid, gid, size, mtime, link[:100])


def padding(size: int) -> bytes:
    """What fills the last block of a content of `size` bytes."""
    return bytes(-size % _BLOCK)


END = bytes(2 * _BLOCK)


def _block(name: bytes, typeflag: bytes, mode: int, uid: int, gid: int, size: int, mtime: int, link: bytes) -> bytes:
    numbers = b"".join(
        _number(value, width) for value, width in ((mode, 8), (uid, 8), (gid, 8), (size, 12), (mtime, 12))
    )
    before = name.ljust(100, b"\0") + numbers
    after = typeflag + link.ljust(100, b"\0") + b"ustar  \0"
    total = sum(before) + 8 * ord(" ") + sum(after)
    return (before + b"%06o\0 " % total + after).ljust(_BLOCK, b"\0")


def _number(value: int, width: int) -> bytes:
    """Octal, or in base 256 what does not fit."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    said = bytearray(value.to_bytes(width, "big", signed=True))
    said[0] |= 0x80
    return bytes(said)
