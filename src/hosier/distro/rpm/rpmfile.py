"""Open RPM package files: their two headers, where their payload is, and whether the digests they carry are right.

Source: rpm's documentation, "RPM V4 Package format"; rpmlead.c, package.c.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from hosier.distro import inflate, malformed
from hosier.distro.rpm import facts, scripts, tags
from hosier.distro.rpm import header as headers
from hosier.distro.rpm.header import Header, Malformed
from hosier.errors import PackageInvalid, StoreFailed

LEAD = 96

_LEAD = struct.Struct(">4sBBh")
_MAGIC = b"\xed\xab\xee\xdb"
_DELTA = b"drpm"
_BLOCK = 1024 * 1024
_MIB = 1024 * 1024
_COMPRESSIONS = {"gzip": "gz", "bzip2": "bz2", "xz": "xz", "lzma": "lzma", "zstd": "zst"}
_ALIGNED = 8
_SHA256 = 8


class Package:
    """An opened package file whose header is what its digests say.

    `name` is its file's name; `header_at` and `payload_at` are where its main header and its payload begin.
    """

    __slots__ = ("descriptor", "header", "header_at", "name", "payload_at", "signature", "size")

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self.descriptor = descriptor
        at = os.fstat(descriptor)
        if not stat.S_ISREG(at.st_mode):
            raise Malformed("it is not a regular file")
        self.size = at.st_size
        _lead(_read(descriptor, 0, LEAD, "lead"))
        raw = _header(descriptor, LEAD, self.size, tags.HEADERSIGNATURES)
        self.signature = Header.parse(raw, region=tags.HEADERSIGNATURES)
        end = LEAD + len(raw)
        self.header_at = end + -end % _ALIGNED
        if _read(descriptor, end, self.header_at - end, "signature header").strip(b"\0"):
            raise Malformed("something stands between its headers")
        raw = _header(descriptor, self.header_at, self.size, tags.HEADERIMMUTABLE)
        self.payload_at = self.header_at + len(raw)
        _check_size(self.signature, self.size - self.header_at)
        # Before it is looked into: what is damaged is called so, not something else.
        _check_header(self.signature, raw)
        self.header = Header.parse(raw)
        _check_kind(self.header)
        facts.check_types(self.header)

    def check_payload(self) -> None:
        """Read the payload and compare the best digest there is of it. Raises Malformed."""
        expected = self.header.strings(tags.PAYLOADDIGEST)
        if expected:
            number = self.header.number(tags.PAYLOADDIGESTALGO, _SHA256)
            if number not in facts.ALGORITHMS or number < 8:
                raise Malformed(f"the digest of its payload is of the unknown kind {number}")
            algorithm = facts.ALGORITHMS[number]
            found = self._digest(algorithm, self.payload_at).hexdigest()
            if not hmac.compare_digest(found.encode(), expected[0].lower().encode("utf-8", "replace")):
                raise Malformed(f"its payload is damaged: its {_word(algorithm)} is not what its header says")
            return
        legacy = self.signature.binary(tags.SIG_MD5)
        if not legacy:
            raise Malformed("it carries no digest of its payload")
        if self._digest("md5", self.header_at).digest() != legacy:
            raise Malformed("it is damaged: its MD5 is not what its signature header says")

    def payload(self, *, limit: int) -> Iterator[bytes]:
        """The archive in pieces, never more than `limit` bytes in all. Raises Malformed and PackageInvalid."""
        return inflate.pieces(
            self.descriptor, self.payload_at, self.size - self.payload_at, self._compression(), limit=limit
        )

    def _compression(self) -> str:
        """As `inflate` calls it. Where the header is silent it is gzip or nothing, as rpm's reader sees by itself."""
        if tags.PAYLOADCOMPRESSOR not in self.header:
            return "gz" if os.pread(self.descriptor, 2, self.payload_at) == b"\x1f\x8b" else ""
        word = self.header.string(tags.PAYLOADCOMPRESSOR)
        if word not in _COMPRESSIONS:
            raise Malformed(f"its payload is compressed by {word[:60]!r}, which rpm does not know")
        return _COMPRESSIONS[word]

    def _digest(self, algorithm: str, at: int) -> hashlib._Hash:
        digest = hashlib.new(algorithm, usedforsecurity=algorithm != "md5")
        while at < self.size:
            block = os.pread(self.descriptor, min(_BLOCK, self.size - at), at)
            if not block:
                raise Malformed("it became shorter while it was read")
            digest.update(block)
            at += len(block)
        return digest


@contextmanager
def opened(rpm: str, verb: str) -> Iterator[Package]:
    """Open a package file; inside, Malformed becomes PackageInvalid with the file's name.

    Raises PackageInvalid, and StoreFailed for what the system refuses meanwhile.
    """
    name = os.path.basename(rpm)
    try:
        descriptor = os.open(rpm, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as failure:
        raise PackageInvalid(f"cannot {verb} {rpm}: {(failure.strerror or '').lower()}") from None
    try:
        yield Package(name, descriptor)
    except (Malformed, malformed.Malformed) as reason:
        raise PackageInvalid(f"cannot {verb} {name}: {reason}") from None
    except OSError as failure:
        hint = "make room, or run `hosier gc`" if failure.errno in (errno.ENOSPC, errno.EDQUOT) else None
        raise StoreFailed(f"cannot {verb} {name}: {(failure.strerror or '').lower()}", hint=hint) from None
    finally:
        os.close(descriptor)


def read(rpm: str) -> tuple[Header, Header]:
    """The main header and the signature header of a package file; its payload is not looked at.

    The header is what its digests say, `facts` reads it; `signatures.verify` says who vouches for it. Raises
    PackageInvalid.
    """
    with opened(rpm, "read") as package:
        # What cannot be told here is refused here, with the file's name.
        facts.nevra(package.header)
        for kind in facts.RELATIONS:
            facts.relations(package.header, kind)
        facts.files(package.header)
        scripts.read(package.header)
        return package.header, package.signature


def _lead(lead: bytes) -> None:
    magic, major, _, _ = _LEAD.unpack_from(lead)
    if magic[:4] == _DELTA:
        raise Malformed("it is a delta of a package, not a package")
    if magic != _MAGIC:
        raise Malformed("it is not an RPM package")
    if major not in (3, 4):
        raise Malformed(f"its format is {major}, and only 3 and 4 are known")
    if lead[78:80] != b"\0\5":
        raise Malformed("its signature is of a kind before that of rpm 3")


def _read(descriptor: int, at: int, size: int, what: str) -> bytes:
    found = os.pread(descriptor, size, at)
    while len(found) < size:
        more = os.pread(descriptor, size - len(found), at + len(found))
        if not more:
            if found[:4] == _DELTA:
                raise Malformed("it is a delta of a package, not a package")
            raise Malformed(f"it is cut off in its {what}")
        found += more
    return found


def _header(descriptor: int, at: int, end: int, region: int) -> bytes:
    what = "signature header" if region == tags.HEADERSIGNATURES else "header"
    size = headers.size(_read(descriptor, at, headers.INTRO, what), region=region)
    if size > end - at:
        raise Malformed(f"its {what} says to have {size} bytes, and the file has {end - at} more")
    return _read(descriptor, at, size, what)


def _check_size(signature: Header, found: int) -> None:
    tag = tags.SIG_LONGSIZE if tags.SIG_LONGSIZE in signature else tags.SIG_SIZE
    if tag in signature and signature.number(tag) != found:
        stated = signature.number(tag)
        short = "is cut off" if stated > found else "has something behind its end"
        raise Malformed(f"it {short}: {stated} bytes were to follow its signature header, and {found} do")


def _check_header(signature: Header, raw: bytes) -> None:
    """Compare the digests of the main header; without any, the MD5 of all will be asked for (`check_payload`)."""
    compared = False
    for tag, algorithm in ((tags.SIG_SHA256, "sha256"), (tags.SIG_SHA1, "sha1")):
        if tag in signature:
            expected = signature.string(tag).lower().encode("utf-8", "surrogateescape")
            found = hashlib.new(algorithm, raw, usedforsecurity=False).hexdigest().encode()
            if not hmac.compare_digest(found, expected):
                raise Malformed(f"its header is damaged: its {_word(algorithm)} is not what its signature header says")
            compared = True
    if not compared and tags.SIG_MD5 not in signature:
        raise Malformed("it carries no digest of its header")


def _check_kind(header: Header) -> None:
    form = header.string(tags.PAYLOADFORMAT, "cpio")
    if form == "drpm":
        raise Malformed("it is a delta of a package, not a package")
    if form != "cpio":
        raise Malformed(f"its payload is a {form[:60]!r} archive, and only cpio is known")
    if facts.is_source(header):
        raise Malformed("it is a source package, which cannot be installed")


def _word(algorithm: str) -> str:
    return {"sha1": "SHA-1", "md5": "MD5"}.get(algorithm, algorithm.replace("sha3_", "SHA3-").replace("sha", "SHA-"))
