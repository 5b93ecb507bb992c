"""Say who signed a package, from its two headers and the certificates that are trusted with it.

A signature of the main header vouches for the payload too, by the payload's digest and the files' digests that stand
in the header. Source: rpm's documentation, "RPM V4 Package format", "Signatures"; rpm-sequoia.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from hosier.distro import openpgp
from hosier.distro.openpgp import Keyring, Signer, Words
from hosier.distro.rpm import tags
from hosier.distro.rpm.header import Header, Malformed
from hosier.errors import NotAuthentic

if TYPE_CHECKING:
    from pysequoia import Cert

WORDS = Words(
    key="gpgkey",
    unsigned="gpgcheck = false in the [[repo]] takes it without a check",
    late="name the newest keys of the distribution in gpgkey",
)

OWN = Words(
    key="gpgkey of [packages] (in a nail: GpgImport)",
    unsigned="where no key is named, packages of no repository are not asked for a signature",
    late="name the newest keys there",
)
"""Of packages that a spec names by file or URL, which are of no `[[repo]]`."""

BELIEVED = 7 * 24 * 3600.0
"""For how long a signature that was found good is believed: what is accepted of old algorithms changes with time."""

_SIGNATURE_MAX = 64 * 1024
_SIGNATURES_MAX = 32
_RECORD_MAX = 1024
_LEGACY = (tags.SIG_PGP, tags.SIG_GPG)


def verify(
    name: str,
    header_raw: bytes,
    signature_header: Header,
    certificates: Sequence[bytes],
    *,
    origin: str = "gpgkey",
    words: Words = WORDS,
    now: float | None = None,
) -> str:
    """Check the signatures of a package's main header: gives the fingerprint of the certificate that signed it.

    One good signature by one of `certificates` suffices (bytes, armoured or not). `name` is what messages call the
    package, `origin` where the certificates come from, `words` how a spec says that; `now` is in seconds since the
    epoch. Raises NotAuthentic, or its kinds Unsigned and KeyExpired.
    """
    return _verified(name, header_raw, signature_header, certificates, origin, words, now).fingerprint


def verify_once(
    record: str,
    name: str,
    header_raw: bytes,
    signature_raw: bytes,
    certificates: Sequence[bytes],
    *,
    origin: str = "gpgkey",
    words: Words = WORDS,
    now: float | None = None,
) -> None:
    """As `verify`, but for what the file `record` says was found good already.

    Only of these very bytes and certificates, by this OpenPGP library, in the last `BELIEVED` seconds, and not once the
    key has expired. The file has to lie where only those write who could put another package there as well.
    """
    moment = time.time() if now is None else now
    asked = _identity(header_raw, signature_raw, certificates)
    if _recorded(record, asked, moment):
        return
    signature = Header.parse(signature_raw, region=tags.HEADERSIGNATURES)
    signer = _verified(name, header_raw, signature, certificates, origin, words, moment)
    mine = f"{record}.{os.getpid()}"
    try:
        with open(mine, "w", encoding="ascii") as file:
            file.write(f"{asked} {moment!r} {signer.until!r}\n")
        os.replace(mine, record)
    except OSError:  # the next build looks again
        with contextlib.suppress(OSError):
            os.unlink(mine)


def _recorded(record: str, asked: str, now: float) -> bool:
    try:
        with open(record, "rb", buffering=0) as file:
            said, made, until = file.read(_RECORD_MAX).decode("ascii").split()
        return said == asked and float(made) <= now < float(made) + BELIEVED and (until == "None" or now < float(until))
    except (OSError, ValueError):
        return False


def _identity(header: bytes, signature: bytes, certificates: Iterable[bytes]) -> str:
    """What a record is about: all that decides, but for the time."""
    total = hashlib.sha256(_library().encode("utf-8", "surrogateescape"))
    for part in (header, signature, *certificates):
        total.update(b"%d:" % len(part))
        total.update(part)
    return total.hexdigest()


@lru_cache(maxsize=1)
def _library() -> str:
    """Which OpenPGP library this is: another installation of it is another."""
    import pysequoia.pysequoia as library

    status = os.stat(library.__file__)
    return f"{status.st_size} {status.st_mtime_ns}"


def _verified(
    name: str,
    header_raw: bytes,
    signature_header: Header,
    certificates: Sequence[bytes],
    origin: str,
    words: Words,
    now: float | None,
) -> Signer:
    found = _header_signatures(name, signature_header)
    if not found:
        if any(tag in signature_header for tag in _LEGACY):
            raise NotAuthentic(
                f"cannot trust {name}: its only signature is of header and payload together",
                hint="sign the package again with rpmsign",
            )
        raise openpgp.unsigned(name, words)
    return _signer(name, header_raw, found, certificates, origin, words, now)


def _header_signatures(name: str, signature: Header) -> list[bytes]:
    """The packets of the signatures of the main header alone."""
    try:
        found = [packet for tag in (tags.SIG_RSA, tags.SIG_DSA) if (packet := signature.binary(tag))]
        if signature.count(tags.SIG_OPENPGP) > _SIGNATURES_MAX:
            raise NotAuthentic(f"cannot trust {name}: it has more than {_SIGNATURES_MAX} signatures")
        found += [base64.b64decode(text, validate=True) for text in signature.strings(tags.SIG_OPENPGP)]
    except (Malformed, binascii.Error, ValueError):
        raise NotAuthentic(f"cannot trust {name}: its signature is damaged") from None
    return found


def _is_signature(packet: bytes) -> bool:
    """Whether these bytes are one packet of the kind Signature (RFC 9580, 4.2)."""
    if len(packet) < 3:
        return False
    first, length = packet[0], packet[1]
    if first == 0xC2:
        if length < 192:
            return len(packet) == 2 + length
        if length < 224:
            return len(packet) == 3 + (((length - 192) << 8) | packet[2]) + 192
        return length == 255 and len(packet) == 6 + int.from_bytes(packet[2:6], "big")
    if first in (0x88, 0x89, 0x8A):
        octets = 1 << (first & 3)
        return len(packet) == 1 + octets + int.from_bytes(packet[1 : 1 + octets], "big")
    return False


def _signer(
    name: str,
    signed: bytes,
    packets: Sequence[bytes],
    certificates: Sequence[bytes],
    origin: str,
    words: Words,
    now: float | None,
) -> Signer:
    for packet in packets:
        # One packet each: a compressed one could be anything, of any size.
        if len(packet) > _SIGNATURE_MAX or not _is_signature(packet):
            raise NotAuthentic(f"cannot trust {name}: its signature is damaged")
    keyring = Keyring(origin, _certs(tuple(certificates), origin), words=words)
    # Whether a key is valid is asked of today, not of a build's SOURCE_DATE_EPOCH.
    moment = time.time() if now is None else now
    _, signers = openpgp.verify_detached(signed, b"".join(packets), keyring, name=name, now=moment)
    return signers[0]


@lru_cache(maxsize=64)
def _certs(certificates: tuple[bytes, ...], origin: str) -> tuple[Cert, ...]:
    return tuple(cert for content in certificates for cert in openpgp.certs_of(content, origin, WORDS))
