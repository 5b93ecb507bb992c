"""Say who signed a package, from its two headers and the certificates that are trusted with it.

A signature of the main header vouches for the payload too, by the payload's digest and the files' digests that stand
in the header. Source: rpm's documentation, "RPM V4 Package format", "Signatures"; rpm-sequoia.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from hosier.distro import openpgp
from hosier.distro.openpgp import Keyring, Words
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

_SIGNATURE_MAX = 64 * 1024
_SIGNATURES_MAX = 32
_LEGACY = (tags.SIG_PGP, tags.SIG_GPG)


def verify(
    name: str,
    header_raw: bytes,
    signature_header: Header,
    certificates: Sequence[bytes],
    *,
    origin: str = "gpgkey",
    now: float | None = None,
) -> str:
    """Check the signatures of a package's main header: gives the fingerprint of the certificate that signed it.

    One good signature by one of `certificates` suffices (bytes, armoured or not). `name` is what messages call the
    package, `origin` where the certificates come from; `now` is in seconds since the epoch. Raises NotAuthentic, or its
    kinds Unsigned and KeyExpired.
    """
    found = _header_signatures(name, signature_header)
    if not found:
        if any(tag in signature_header for tag in _LEGACY):
            raise NotAuthentic(
                f"cannot trust {name}: its only signature is of header and payload together",
                hint="sign the package again with rpmsign",
            )
        raise openpgp.unsigned(name, WORDS)
    return _signer(name, header_raw, found, certificates, origin, now)


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
    name: str, signed: bytes, packets: Sequence[bytes], certificates: Sequence[bytes], origin: str, now: float | None
) -> str:
    for packet in packets:
        # One packet each: a compressed one could be anything, of any size.
        if len(packet) > _SIGNATURE_MAX or not _is_signature(packet):
            raise NotAuthentic(f"cannot trust {name}: its signature is damaged")
    keyring = Keyring(origin, _certs(tuple(certificates), origin), words=WORDS)
    # Whether a key is valid is asked of today, not of a build's SOURCE_DATE_EPOCH.
    moment = time.time() if now is None else now
    _, signers = openpgp.verify_detached(signed, b"".join(packets), keyring, name=name, now=moment)
    return signers[0].fingerprint


@lru_cache(maxsize=64)
def _certs(certificates: tuple[bytes, ...], origin: str) -> tuple[Cert, ...]:
    return tuple(cert for content in certificates for cert in openpgp.certs_of(content, origin, WORDS))
