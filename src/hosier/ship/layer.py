"""Read one layer of a container image: a tar archive as Go, GNU tar and libarchive write them, plain or compressed.

The OCI image specification ("layer.md") asks for tar with pax; what is read here is what containerd reads, by Go's
archive/tar: links, folders and devices have no content whatever their size says, names may begin with "/", global
headers say nothing about members. Refused by name: sparse files, members of unknown types, names that climb.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import struct
import urllib.parse
from collections.abc import Callable, Iterator

from hosier.dataclasses import dataclass
from hosier.distro import inflate
from hosier.distro.deb import tar
from hosier.distro.malformed import Malformed

MEMBERS_MAX = 2_000_000
"""The most members of one layer; the largest images that are seen have some 400,000."""

ID_MAX = 65535
"""The highest id that a box maps: what belongs to a higher one could not be read in it (user_namespaces(7))."""

KEPT_XATTRS = ("security.capability", "security.ima", "system.posix_acl_", "user.", "trusted.")
"""Which extended attributes a tree keeps; labels of a host's own policy (security.selinux) are not part of an image."""

MARKS = ("trusted.overlay.", "user.overlay.")
"""What overlayfs would take for its own orders in a lower folder: never taken from an archive."""

_PATH_MAX = 4095
_NAME_MAX = 255
_MTIME_MAX = 0xFFFFFFFF
_KINDS = {b"0": "f", b"\0": "f", b"7": "f", b"1": "h", b"2": "l", b"3": "c", b"4": "b", b"5": "d", b"6": "p"}
_ZEROS = bytes(512)
_USTAR = b"ustar\x0000"
_DECIMAL = re.compile(rb"(-?)([0-9]{1,20})(?:\.[0-9]*)?")
_NUMBERS = (b"uid", b"gid", b"size", b"mtime")
_LOCAL = frozenset((b"path", b"linkpath", b"size"))
_ACLS = {b"SCHILY.acl.access": "system.posix_acl_access", b"SCHILY.acl.default": "system.posix_acl_default"}
# linux/posix_acl_xattr.h: version 2, then tag, permissions and id of each; no id is all ones.
_ACL_TAGS = {"user": (0x01, 0x02), "group": (0x04, 0x08), "mask": (0x10, 0x10), "other": (0x20, 0x20)}
_NO_ID = 0xFFFFFFFF


@dataclass(slots=True)
class Member:
    """One member of a layer.

    `path` is absolute and plain ("/", "/usr/bin/x"), with no "." and ".." in it; `kind` is one of f d l c b p, or h for
    a hard link; `target` is a symbolic link's text as it is, or a hard link's plain path. `mtime` is in whole seconds.
    """

    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    target: str = ""
    rdev: tuple[int, int] | None = None
    xattrs: tuple[tuple[str, str], ...] = ()


class Reader(tar.Reader):
    """The members of the layer whose decompressed bytes are `pieces`. Raises Malformed; memory is bounded."""

    _gap = 0

    def next_member(self) -> Member | None:
        """The next member, or None at the end; what lies behind the end mark is read over, as the digest covers it."""
        for _ in self.body():
            pass
        self._skip_gap()
        pax: dict[bytes, bytes] = {}
        long_name = long_link = None
        while True:
            header = self._block()
            if header is None or header == _ZEROS:
                if pax or long_name is not None or long_link is not None:
                    raise Malformed("an extended header is followed by no member")
                while header is not None:
                    header = next(self._pieces, None)
                self._piece, self._at = b"", 0
                return None
            fields = tar.checked(header)
            kind = fields[7]
            self._count += 1
            if self._count > MEMBERS_MAX:
                raise Malformed(f"it has more than {MEMBERS_MAX} members")
            if kind == b"g":
                if not _LOCAL.isdisjoint(_records(self._content(fields))):
                    raise Malformed("a global header sets path, linkpath or size")
            elif kind == b"x":
                pax.update(_records(self._content(fields)))
            elif kind == b"L":
                long_name = tar.until_nul(self._content(fields))
            elif kind == b"K":
                long_link = tar.until_nul(self._content(fields))
            else:
                member = _member(fields, long_name, long_link, pax)
                self._left = member.size
                self._gap = -member.size % 512
                return member

    def _skip_gap(self) -> None:
        """Skip what fills the last block of a content. Nothing may be there: `umoci insert` ends an archive so."""
        gap, self._gap = self._gap, 0
        if gap and self._at == len(self._piece):
            self._piece, self._at = next(self._pieces, b""), 0
            if not self._piece:
                return
        self._exactly(gap)

    def _content(self, fields: tar.Fields) -> bytes:
        return self._extension(tar.number(fields[4], "size"))


def _member(fields: tar.Fields, long_name: bytes | None, long_link: bytes | None, pax: dict[bytes, bytes]) -> Member:
    name, mode, uid, gid, size, mtime, _, flag, link, magic, _, _, major, minor, prefix = fields
    raw = tar.until_nul(name) if long_name is None else long_name
    if magic == _USTAR and long_name is None and prefix[0]:
        raw = tar.until_nul(prefix) + b"/" + raw
    raw = pax.get(b"path", raw)
    raw_link = pax.get(b"linkpath", tar.until_nul(link) if long_link is None else long_link)
    path = plain(raw)
    kind = _KINDS.get(flag)
    if kind is None:
        what = "a sparse file" if flag == b"S" else f"of the type {flag!r}"
        raise Malformed(f"{path!r} is {what}, which no layer may hold")
    if kind == "f" and raw.endswith(b"/"):
        kind = "d"
    numbers = {
        key: _decimal(pax[key], key, path) if key in pax else tar.number(field, key.decode())
        for key, field in zip(_NUMBERS, (uid, gid, size, mtime), strict=True)
    }
    member = Member(
        path=path,
        kind=kind,
        mode=tar.number(mode, "mode") & 0o7777,
        uid=numbers[b"uid"],
        gid=numbers[b"gid"],
        mtime=min(max(numbers[b"mtime"], 0), _MTIME_MAX),
        size=numbers[b"size"] if kind == "f" else 0,
    )
    if member.size < 0:
        raise Malformed(f"{path!r} has a negative size")
    if not (0 <= member.uid <= ID_MAX and 0 <= member.gid <= ID_MAX):
        raise Malformed(f"{path!r} belongs to {member.uid}:{member.gid}, and ids reach to {ID_MAX}")
    if kind == "l":
        if not raw_link or len(raw_link) > _PATH_MAX or b"\0" in raw_link:
            raise Malformed(f"{path!r} is a symbolic link to nothing that can be a path")
        member.target = _text(raw_link)
    elif kind == "h":
        member.target = plain(raw_link)
    elif kind in "cb":
        member.rdev = (tar.number(major, "major"), tar.number(minor, "minor"))
        if not (0 <= member.rdev[0] < 1 << 12 and 0 <= member.rdev[1] < 1 << 20):  # linux/kdev_t.h
            raise Malformed(f"{path!r} is a device with the number {member.rdev[0]}:{member.rdev[1]}, which none has")
    if kind in "fd" and pax:
        member.xattrs = _xattrs(pax, path)
    return member


def _decimal(value: bytes, key: bytes, path: str) -> int:
    found = _DECIMAL.fullmatch(value)
    if found is None:
        raise Malformed(f"the {key.decode()} of {path!r} is not a number")
    return -int(found[2]) if found[1] else int(found[2])


def _records(content: bytes) -> dict[bytes, bytes]:
    """The records of a pax extended header that this reader knows; an empty value takes back, but for attributes."""
    found: dict[bytes, bytes] = {}
    for key, value in tar.pax_records(content):
        attribute = key.startswith((b"SCHILY.xattr.", b"LIBARCHIVE.xattr."))
        if attribute or key in _NUMBERS or key in _LOCAL or key in _ACLS:
            if value or attribute:
                found[key] = value
            else:
                found.pop(key, None)
    return found


def plain(raw: bytes) -> str:
    """The absolute path that a member's name stands for: "./usr//bin/" and "/usr/bin" are "/usr/bin".

    Refused: "..", an empty name, NUL, and what is longer than a Linux path can be. Bytes that are not UTF-8 are kept
    with surrogateescape.
    """
    if not raw:
        raise Malformed("a member has no name")
    parts = [part for part in raw.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise Malformed(f"{_text(raw[:200])!r} climbs out with ..")
    path = b"/" + b"/".join(parts)
    if b"\0" in path:
        raise Malformed(f"{_text(path[:200])!r} has a NUL in its name")
    if len(path) > _NAME_MAX and (len(path) > _PATH_MAX or max(map(len, parts)) > _NAME_MAX):
        raise Malformed(f"a name is too long: {_text(path[:60])!r}…")
    return _text(path)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _xattrs(pax: dict[bytes, bytes], path: str) -> tuple[tuple[str, str], ...]:
    """The extended attributes that the records say, values in hex: star's (raw) before libarchive's (base64)."""
    found: dict[str, str] = {}
    for key, value in pax.items():
        if key.startswith(b"LIBARCHIVE.xattr."):
            try:
                content = base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
            except binascii.Error:
                raise Malformed(f"an extended attribute of {path!r} is not in base64") from None
            found.setdefault(urllib.parse.unquote(_text(key[17:]), errors="surrogateescape"), content.hex())
        elif key.startswith(b"SCHILY.xattr."):
            # GNU tar's escapes, since a record's key ends at its first "="
            found[_text(key[13:]).replace("%3D", "=").replace("%25", "%")] = value.hex()
        elif key in _ACLS:
            found[_ACLS[key]] = _acl(value, path)
    for name, value_hex in found.items():
        if "\0" in name or len(name.encode("utf-8", "surrogateescape")) > _NAME_MAX or len(value_hex) > 2 * 65536:
            raise Malformed(f"an extended attribute of {path!r} is longer than Linux takes, or has a NUL in its name")
    return tuple(sorted((n, v) for n, v in found.items() if n.startswith(KEPT_XATTRS) and not n.startswith(MARKS)))


def _acl(value: bytes, path: str) -> str:
    """An ACL in words, "user::rwx,user:NAME:r-x:1000" (star(1)), as the kernel keeps it, in hex."""
    entries = []
    for line in filter(None, re.split(r"[,\n]", value.decode("ascii", "replace"))):
        words = [word.strip() for word in line.split("#")[0].split(":")]
        kind = next((tag for tag in _ACL_TAGS if words[0] and tag.startswith(words[0])), None)
        if len(words) == 2 and kind in ("mask", "other"):
            words.insert(1, "")
        if kind is None or not 3 <= len(words) <= 4 or not re.fullmatch("[r-][w-][x-]", words[2]):
            raise Malformed(f"the access list of {path!r} is damaged: {line[:60]!r}")
        rights = sum(bit for letter, bit in zip(words[2], (4, 2, 1), strict=True) if letter != "-")
        number = words[3] if len(words) == 4 else words[1]
        if not words[1]:
            entries.append((_ACL_TAGS[kind][0], rights, _NO_ID))
        elif number.isascii() and number.isdigit() and int(number) <= ID_MAX:
            entries.append((_ACL_TAGS[kind][1], rights, int(number)))
        else:
            raise Malformed(f"the access list of {path!r} names {words[1]!r} without a number up to {ID_MAX}")
    entries.sort(key=lambda entry: (entry[0], entry[2]))
    return (struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)).hex()


class Bytes:
    """The decompressed bytes of a layer's file, with their digest ("sha256:HEX") once all have been read.

    Gzip, zstd and plain tar are told apart by their first bytes, whatever a media type says. No more than `limit`
    bytes are made. `advance` is called with the bytes of the file that were read.
    """

    def __init__(self, fd: int, *, limit: int, advance: Callable[[int], None] = lambda count: None) -> None:
        self._fd = fd
        self._limit = limit
        self._advance = advance
        self._total = hashlib.sha256()
        self.count = 0

    @property
    def digest(self) -> str:
        """What the bytes given so far sum up to."""
        return "sha256:" + self._total.hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        """The pieces. Raises Malformed for damage, and for more than `limit` bytes."""
        size = os.fstat(self._fd).st_size
        told = 0
        for piece in inflate.pieces(self._fd, 0, size, _compression(os.pread(self._fd, 4, 0)), limit=1 << 62):
            self.count += len(piece)
            if self.count > self._limit:
                raise Malformed(f"it unpacks to more than {self._limit >> 20} MiB, all the room that there is")
            self._total.update(piece)
            # How far the file is read is not known here, so what was made stands for it until the end.
            step = min(len(piece), size - told)
            told += step
            self._advance(step)
            yield piece
        self._advance(size - told)


def _compression(magic: bytes) -> str:
    if magic[:2] == b"\x1f\x8b":
        return "gz"
    if magic == b"\x28\xb5\x2f\xfd" or (magic[1:] == b"\x2a\x4d\x18" and 0x50 <= magic[0] <= 0x5F):
        return "zst"
    return ""
