"""Read a tar archive as a stream: what dpkg reads, and pax; tar(5), POSIX.1-2017 pax "ustar Interchange Format".

Strict where leniency would hide damage: checksums, numbers, padding, the end mark and what follows it. The
library's tarfile is three times as slow, and takes what is damaged for the end of the archive.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from functools import lru_cache

from hosier.distro.malformed import Malformed

MEMBERS_MAX = 400_000
"""The most members of one archive: several times what the largest package of Debian has."""

_BLOCK = 512
EXTENSION_MAX = 1024 * 1024
_PATH_MAX = 4095
_NAME_MAX = 255
_MTIME_MAX = 0xFFFFFFFF
_ID_MAX = 65535

_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_OCTAL = re.compile(rb" *([0-7]*)(?:[ \0].*)?", re.DOTALL)
_DECIMAL = re.compile(rb"(-?)([0-9]{1,20})(?:\.[0-9]*)?")
_ZEROS = bytes(_BLOCK)
_BLANK = 8 * 32
_KINDS = {b"0": "f", b"\0": "f", b"7": "f", b"1": "h", b"2": "l", b"3": "c", b"4": "b", b"5": "d", b"6": "p"}
_MAGICS = (b"ustar\x0000", b"ustar  \0", b"\0\0\0\0\0\0\0\0")
_PAX_KEYS = frozenset((b"path", b"linkpath", b"size", b"uid", b"gid", b"uname", b"gname", b"mtime"))
_PAX_LOCAL = frozenset((b"path", b"linkpath", b"size"))


class Member:
    """The facts of one member.

    `path` is absolute and plain ("/", "/usr/bin/x"); `kind` is one of f d l c b p, or h for a hard link;
    `target` is a symbolic link's text as it is, or a hard link's absolute plain path. `mode` has the permission
    bits with setuid, setgid and sticky; `mtime` is in whole seconds, moved into 0 … 2^32-1.
    """

    __slots__ = ("device", "gid", "gname", "kind", "mode", "mtime", "path", "size", "target", "uid", "uname")

    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    target: str
    uname: str
    gname: str
    device: tuple[int, int] | None


class Reader:
    """The members of the archive whose bytes are `pieces`, one after the other.

    After `next` gave a member, `body` gives its content; what is not taken is skipped. Content is never held
    beyond one piece. Everything raises Malformed for what is damaged or not understood.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = b""
        self._at = 0
        self._left = 0
        self._padding = 0
        self._count = 0
        self._globals: dict[bytes, bytes] = {}

    def next(self) -> Member | None:
        """The next member, or None after the last, when the whole rest has been read and found to be zeros."""
        if self._left or self._padding:
            for _ in self.body():
                pass
        pax: dict[bytes, bytes] = {}
        long_name = long_link = None
        while True:
            header = self._block()
            if header is None or header == _ZEROS:
                if pax or long_name is not None or long_link is not None:
                    raise Malformed("an extended header is followed by no member")
                self._finish(header)
                return None
            fields = checked(header)
            kind = fields[7]
            if kind in b"LKxg":
                size = number(fields[4], "size")
                content = self._extension(size)
                if kind == b"L":
                    long_name = until_nul(content)
                elif kind == b"K":
                    long_link = until_nul(content)
                elif kind == b"x":
                    pax.update(_records(content))
                else:
                    self._globals.update(_records(content))
                    if not _PAX_LOCAL.isdisjoint(self._globals):
                        raise Malformed("a global header sets path, linkpath or size")
                continue
            self._count += 1
            if self._count > MEMBERS_MAX:
                raise Malformed(f"it has more than {MEMBERS_MAX} members")
            if self._globals:
                pax = self._globals | pax
            member = _member(fields, long_name, long_link, pax)
            self._left = member.size
            self._padding = -member.size % _BLOCK
            return member

    def body(self) -> Iterator[memoryview]:
        """The content of the member that `next` gave last, in pieces that are valid until the next one is asked for."""
        left = self._left
        while left:
            piece, at = self._piece, self._at
            if at == len(piece):
                piece, at = self._more(), 0
            end = at + left
            if end <= len(piece):
                self._at, left = end, 0
                self._left = 0
                yield memoryview(piece)[at:end]
            else:
                left = end - len(piece)
                self._left, self._at = left, len(piece)
                yield memoryview(piece)[at:]
        if self._padding:
            self._exactly(self._padding)
            self._padding = 0

    def _more(self) -> bytes:
        """The next piece, from its beginning."""
        piece = next(self._pieces, None)
        if piece is None:
            raise Malformed("its tar archive is cut off")
        self._piece, self._at = piece, 0
        return piece

    def _exactly(self, size: int) -> bytes:
        at = self._at
        found = self._piece[at : at + size]
        self._at = at + len(found)
        while len(found) < size:
            piece = self._more()
            self._at = min(size - len(found), len(piece))
            found += piece[: self._at]
        return found

    def _block(self) -> bytes | None:
        if self._at == len(self._piece):
            piece = next(self._pieces, None)
            if piece is None:
                return None
            self._piece, self._at = piece, 0
        return self._exactly(_BLOCK)

    def _extension(self, size: int) -> bytes:
        if not 0 <= size <= EXTENSION_MAX:
            raise Malformed(f"an extended header claims {size} bytes")
        return self._exactly(size + -size % _BLOCK)[:size]

    def _finish(self, last: bytes | None) -> None:
        """Read to the end: what is behind the end mark must be zeros.

        dpkg takes an archive without its end mark when it is cut between two members; so it cannot see that cut.
        """
        if last is None:
            raise Malformed("its tar archive has no end mark")
        rest = self._piece[self._at :]
        while True:
            if rest.count(0) != len(rest):
                raise Malformed("something follows the end of its tar archive")
            piece = next(self._pieces, None)
            if piece is None:
                self._piece, self._at = b"", 0
                return
            rest = piece


Fields = tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes]


def checked(header: bytes) -> Fields:
    """The fields of a header block, in their order, its checksum and format checked. Raises Malformed."""
    fields: Fields = _HEADER.unpack(header)
    stated = fields[6]
    if sum(header) - sum(stated) + _BLANK != number(stated, "checksum"):
        raise Malformed("a tar header's checksum is wrong")
    if fields[9] not in _MAGICS:
        raise Malformed("a tar header is of an unknown format")
    return fields


def _member(fields: Fields, long_name: bytes | None, long_link: bytes | None, pax: dict[bytes, bytes]) -> Member:
    name, mode, uid, gid, size, mtime, _, flag, link, magic, uname, gname, major, minor, prefix = fields
    kind = _KINDS.get(flag)
    raw = until_nul(name) if long_name is None else long_name
    if magic == _MAGICS[0] and long_name is None and prefix[0]:
        raw = until_nul(prefix) + b"/" + raw
    raw_link = until_nul(link) if long_link is None else long_link
    member = Member()
    if pax:
        raw = pax.get(b"path", raw)
        raw_link = pax.get(b"linkpath", raw_link)
    member.path = path = plain(raw)
    if kind is None:
        raise Malformed(f"{path} is of the type {flag!r}, which no package may hold")
    member.mode = number(mode, "mode") & 0o7777
    member.uid = number(uid, "uid")
    member.gid = number(gid, "gid")
    member.size = number(size, "size")
    member.mtime = number(mtime, "mtime")
    member.uname = _text(until_nul(uname))
    member.gname = _text(until_nul(gname))
    if pax:
        _apply(member, pax)
    if member.size < 0:
        raise Malformed(f"{path} has a negative size")
    if not 0 <= member.mtime <= _MTIME_MAX:
        member.mtime = 0 if member.mtime < 0 else _MTIME_MAX
    if not (0 <= member.uid <= _ID_MAX and 0 <= member.gid <= _ID_MAX):
        raise Malformed(f"{path} belongs to {member.uid}:{member.gid}, and ids reach to {_ID_MAX}")
    if kind == "f" and raw.endswith(b"/"):
        # Before POSIX a directory was a file whose name ends with a slash, and dpkg still reads it so.
        kind = "d"
    member.kind = kind
    if kind != "f" and member.size:
        raise Malformed(f"{path} is not a file and has {member.size} bytes of content")
    member.target = ""
    if kind == "l":
        if not raw_link or len(raw_link) > _PATH_MAX or b"\0" in raw_link:
            raise Malformed(f"{path} is a symbolic link to nothing that can be a path")
        member.target = _text(raw_link)
    elif kind == "h":
        member.target = plain(raw_link)
    member.device = (number(major, "major"), number(minor, "minor")) if kind in "cb" else None
    return member


def _apply(member: Member, pax: dict[bytes, bytes]) -> None:
    for key, value in pax.items():
        if key in (b"uid", b"gid", b"size", b"mtime"):
            found = _DECIMAL.fullmatch(value)
            if found is None:
                raise Malformed(f"the {key.decode()} of {member.path} is not a number")
            count = int(found[2])
            setattr(member, key.decode(), -count if found[1] else count)
        elif key in (b"uname", b"gname"):
            setattr(member, key.decode(), _text(value))


def _records(content: bytes) -> dict[bytes, bytes]:
    """The records of a pax extended header that this reader knows.

    An empty value takes back what was set before, which is the same as leaving it out. SCHILY.xattr is left out
    as dpkg does.
    """
    found: dict[bytes, bytes] = {}
    for key, value in pax_records(content):
        if key in _PAX_KEYS:
            if value:
                found[key] = value
            else:
                found.pop(key, None)
    return found


def pax_records(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a pax extended header, "LENGTH KEY=VALUE\\n" (pax(1p)).

    Raises Malformed; GNU.sparse changes what the content means and is refused.
    """
    at = 0
    while at < len(content):
        blank = content.find(b" ", at, at + 9)
        digits = content[at:blank] if blank > 0 else b""
        if not digits.isdigit():
            raise Malformed("a pax header is damaged")
        end = at + int(digits)
        key, equals, value = content[blank + 1 : end - 1].partition(b"=")
        if end > len(content) or content[end - 1 : end] != b"\n" or not equals or end <= blank:
            raise Malformed("a pax header is damaged")
        if key.startswith(b"GNU.sparse."):
            raise Malformed("it holds a sparse file, which is not taken")
        yield key, value
        at = end


def plain(raw: bytes) -> str:
    """The absolute path that a member's name stands for: "./usr//bin/" is "/usr/bin".

    Refused: an absolute name, "..", an empty one, NUL and newline (dpkg's lists are lines), and what is longer
    than a Linux path can be. Bytes that are not UTF-8 are kept with surrogateescape.
    """
    if raw.startswith(b"./") and b"/." not in raw[2:] and b"//" not in raw and raw[-1:] != b"/" and raw[2:3] != b".":
        path = raw[1:]
    else:
        if raw.startswith(b"/"):
            raise Malformed(f"{_text(raw)!r} is an absolute name")
        parts = [part for part in raw.split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise Malformed(f"{_text(raw)!r} climbs out with ..")
        if not parts and not raw:
            raise Malformed("a member has no name")
        path = b"/" + b"/".join(parts)
    if b"\n" in path or b"\0" in path:
        raise Malformed(f"{_text(path)!r} has a newline or a NUL in its name")
    if len(path) > _NAME_MAX and (len(path) > _PATH_MAX or max(map(len, path.split(b"/"))) > _NAME_MAX):
        raise Malformed(f"a name is too long: {_text(path[:60])!r}…")
    return _text(path)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def until_nul(field: bytes) -> bytes:
    """The bytes before the first NUL."""
    return field.split(b"\0", 1)[0]


@lru_cache(maxsize=4096)
def number(field: bytes, what: str) -> int:
    """A number of a tar header: octal digits, or GNU's base 256 when the first bit is set."""
    if field[0] & 0x80:
        if field[0] not in (0x80, 0xFF):
            raise Malformed(f"a {what} in a tar header is not a number")
        return int.from_bytes(field[1:] if field[0] == 0x80 else field, "big", signed=field[0] == 0xFF)
    found = _OCTAL.fullmatch(field)
    if found is None:
        raise Malformed(f"a {what} in a tar header is not a number")
    return int(found[1] or b"0", 8)
