"""Sign RPM packages: a signature of the header, which vouches for the payload by the digests in it.

Source: rpm's "RPM V4 Package format" and rpmsign(8). The signature header is written anew; header and payload are
copied as they are.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, BinaryIO

from hosier.distro.rpm import tags
from hosier.distro.rpm.header import INTRO, Header, Malformed, size
from hosier.distro.rpm.signatures import verify
from hosier.errors import NotAuthentic, PackageInvalid, StoreFailed
from hosier.pack import rpmheader
from hosier.pack.rpmheader import Value
from hosier.publish.replacing import rewriting

if TYPE_CHECKING:
    from hosier.publish.signing import Signing

LEAD = 96
REPLACED = (tags.SIG_RSA, tags.SIG_DSA, tags.SIG_OPENPGP, tags.SIG_PGP, tags.SIG_GPG, tags.SIG_RESERVEDSPACE)
"""Signatures that were there, and the room that was left for one."""


def sign(path: str, key: Signing) -> None:
    """Sign the package at `path`, in place of all signatures that it has; the file is replaced by rename.

    One that has this key's signature alone stays as it is: metadata that was published has its digest. Raises
    PackageInvalid for what is no package, StoreFailed where the folder cannot be written.
    """
    name = os.path.basename(path)
    try:
        with open(path, "rb") as package:
            status = os.fstat(package.fileno())
            lead = package.read(LEAD)
            signatures = _header(package, tags.HEADERSIGNATURES)
            package.seek(-package.tell() % 8, os.SEEK_CUR)
            header = _header(package, tags.HEADERIMMUTABLE)
            if _is_signed(name, header, signatures, key):
                return
            with rewriting(path) as fd, open(fd, "wb", closefd=False) as made:
                made.write(lead)
                made.write(_signed(signatures, key.binary(header.raw)))
                made.write(bytes(-made.tell() % 8))
                made.write(header.raw)
                shutil.copyfileobj(package, made, 1 << 20)
                made.flush()
                os.fchmod(fd, status.st_mode & 0o777)
                os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
    except Malformed as reason:
        raise PackageInvalid(f"cannot sign {name}: {reason}") from None
    except OSError as error:
        raise StoreFailed(f"cannot sign {path}: {(error.strerror or str(error)).lower()}") from None


def _is_signed(name: str, header: Header, before: Header, key: Signing) -> bool:
    held = [tag for tag in before if tag in REPLACED and tag != tags.SIG_RESERVEDSPACE]
    if len(held) != 1:
        return False
    try:
        verify(name, header.raw, before, [key.certificate.encode()])
    except NotAuthentic:
        return False
    return True


def _header(package: BinaryIO, region: int) -> Header:
    intro = package.read(INTRO)
    whole = size(intro, region=region)
    return Header.parse(intro + package.read(whole - INTRO), region=region)


def _signed(before: Header, signature: bytes) -> bytes:
    """The signature header with `signature`; what else it holds stays."""
    held: dict[int, tuple[int, Value]] = {}
    for tag in before:
        if tag in REPLACED:
            continue
        kind = before.kind(tag)
        value: Value
        if kind == tags.BINARY:
            value = before.binary(tag)
        elif kind in (tags.STRING, tags.STRINGS, tags.TRANSLATED):
            texts = before.strings(tag)
            value = texts[0] if kind == tags.STRING else texts
        else:
            value = before.numbers(tag)
        held[tag] = (kind, value)
    held[rpmheader.signature_tag(signature)] = (tags.BINARY, signature)
    return bytes(rpmheader.build(tags.HEADERSIGNATURES, held))
