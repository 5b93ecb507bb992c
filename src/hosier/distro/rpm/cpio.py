"""Read the archive of an RPM package as a stream: cpio(5) "New ASCII Format", and rpm's form for files over 4 GB.

Source: rpm's rpmcpio.c and "Large file support". In rpm's form a member is only the number of a file in the header.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from hosier.distro.rpm.header import Malformed

_MAGIC = 6
_FIELDS = 104
_NEW = (b"070701", b"070702")
_STRIPPED = b"07070X"
_NAME_MAX = 4096
_HEX = re.compile(rb"[0-9A-Fa-f]{104}")
_TRAILER = b"TRAILER!!!"


class Member:
    """The facts of one member: its `name` as it is written, or its `number` in the header and no name.

    `mode` is 0 where only the header knows it.
    """

    __slots__ = ("mode", "name", "number", "size")

    def __init__(self, name: bytes, number: int, mode: int, size: int) -> None:
        self.name = name
        self.number = number
        self.mode = mode
        self.size = size


class Reader:
    """The members of the archive whose bytes are `pieces`; `size_of` is the size of a member that is only a number.

    After `next` gave a member, `body` gives its content; what is not taken is skipped. Content is never held beyond
    one piece. Everything raises Malformed for what is damaged or not understood.
    """

    def __init__(self, pieces: Iterator[bytes], size_of: Callable[[int], int]) -> None:
        self._pieces = pieces
        self._size_of = size_of
        self._piece = b""
        self._at = 0
        self._left = 0
        self._padding = 0

    def next(self) -> Member | None:
        """The next member, or None after the last, when the whole rest has been read and found to be zeros."""
        if self._left or self._padding:
            for _ in self.body():
                pass
        magic = self._exactly(_MAGIC)
        if magic == _STRIPPED:
            rest = self._exactly(10)
            number = _hex(rest[:8])
            if rest[8:] != b"\0\0":
                raise Malformed("a member of its archive is damaged")
            member = Member(b"", number, 0, self._size_of(number))
        elif magic in _NEW:
            found = self._new()
            if found is None:
                self._finish()
                return None
            member = found
        else:
            raise Malformed("a member of its archive does not begin as one")
        self._left = member.size
        self._padding = -member.size % 4
        return member

    def _new(self) -> Member | None:
        fields = self._exactly(_FIELDS)
        if not _HEX.fullmatch(fields):
            raise Malformed("a member of its archive is damaged")
        mode, size, length = int(fields[8:16], 16), int(fields[48:56], 16), int(fields[88:96], 16)
        if not 1 < length <= _NAME_MAX:
            raise Malformed(f"a member of its archive has a name of {length} bytes")
        name = self._exactly(length + -(_MAGIC + _FIELDS + length) % 4)[:length]
        if name[-1:] != b"\0" or b"\0" in name[:-1]:
            raise Malformed("the name of a member of its archive is damaged")
        if name[:-1] == _TRAILER:
            if size:
                raise Malformed("the end of its archive has content")
            return None
        return Member(name[:-1], -1, mode, size)

    def body(self) -> Iterator[memoryview]:
        """The content of the member that `next` gave last, in pieces that are valid until the next one is asked for."""
        while self._left:
            if self._at == len(self._piece):
                self._more()
            end = min(self._at + self._left, len(self._piece))
            view = memoryview(self._piece)[self._at : end]
            self._left -= len(view)
            self._at = end
            yield view
        if self._padding:
            padding, self._padding = self._padding, 0
            if self._exactly(padding).strip(b"\0"):
                raise Malformed("a member of its archive is damaged")

    def _more(self) -> None:
        piece = next(self._pieces, None)
        if piece is None:
            raise Malformed("its archive is cut off")
        self._piece, self._at = piece, 0

    def _exactly(self, size: int) -> bytes:
        at = self._at
        found = self._piece[at : at + size]
        self._at = at + len(found)
        while len(found) < size:
            self._more()
            self._at = min(size - len(found), len(self._piece))
            found += self._piece[: self._at]
        return found

    def _finish(self) -> None:
        rest = self._piece[self._at :]
        while True:
            if rest.count(0) != len(rest):
                raise Malformed("something follows the end of its archive")
            piece = next(self._pieces, None)
            if piece is None:
                self._piece, self._at = b"", 0
                return
            rest = piece


def _hex(digits: bytes) -> int:
    try:
        # int() takes more than digits: blanks, underscores, signs.
        return int.from_bytes(bytes.fromhex(digits.decode("ascii")), "big") if digits.isalnum() else _damaged()
    except ValueError:
        return _damaged()


def _damaged() -> int:
    raise Malformed("a member of its archive is damaged")
