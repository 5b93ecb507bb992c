"""Check OpenPGP signatures of what archives of either family sign, against the certificates that apply to them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from hosier.dataclasses import dataclass, field
from hosier.errors import NotAuthentic

if TYPE_CHECKING:
    from pysequoia import Cert, Sig

_CLEAR = b"-----BEGIN PGP SIGNED MESSAGE-----"


class KeyExpired(NotAuthentic):
    """The signature is right, but its key has expired since."""

    code = "key-expired"
    signed: tuple[bytes, tuple[Signer, ...]] | None = None
    """The text and who signed it, when the key was still valid as it signed."""


class Unsigned(NotAuthentic):
    """There is no signature, or no key that could vouch for it."""

    code = "not-signed"


@dataclass(frozen=True, slots=True)
class Words:
    """What a spec of one family calls its settings: `key` names certificates; `unsigned` and `late` are how what is not
    signed, or was signed by a key that has expired, is taken nevertheless."""

    key: str
    unsigned: str
    late: str


DEB = Words(
    key="signed-by",
    unsigned="allow-unsigned = true in the [[repo]] takes it without a check",
    late="install the newest keys of the distribution, or say allow-expired = true in the [[repo]]",
)
RPM = Words(
    key="gpgkey",
    unsigned="repo_gpgcheck = false in the [[repo]] takes it without a check",
    late="name the newest keys of the distribution in gpgkey",
)


@dataclass(frozen=True, slots=True)
class Keyring:
    """The certificates that apply to one archive. `origin` says where they come from, for messages.

    `only` are the fingerprints that Signed-By restricts to; empty: any of `certs`.
    """

    origin: str
    certs: tuple[Cert, ...]
    only: frozenset[str] = frozenset()
    words: Words = DEB


@dataclass(frozen=True, slots=True)
class Signer:
    """A certificate whose signature was found good: upper-case fingerprint, its bytes in base64, and until when it is
    valid (seconds since 1970; None: for ever)."""

    fingerprint: str
    data: str = field(repr=False)
    until: float | None = field(default=None, repr=False, compare=False)


def verify(message: bytes, keyring: Keyring, *, name: str, now: float) -> tuple[bytes, tuple[Signer, ...]]:
    """Check an InRelease: give the text that is signed, and who signed it. One good signature suffices.

    Raises Unsigned, KeyExpired or NotAuthentic; `name` is what messages call it.
    """
    if _CLEAR not in message:
        raise unsigned(name, keyring.words)
    return _checked(message, None, keyring, name, now)


def verify_detached(
    text: bytes, signatures: bytes, keyring: Keyring, *, name: str, now: float
) -> tuple[bytes, tuple[Signer, ...]]:
    """Check a Release against its Release.gpg, which may hold several signatures. Raises as `verify`."""
    from pysequoia import Sig
    from pysequoia.packet import PacketPile, Tag

    try:
        found = [Sig.from_bytes(bytes(each)) for each in PacketPile.from_bytes(signatures) if each.tag == Tag.Signature]
    except Exception as error:
        raise NotAuthentic(f"cannot trust {name}: its signature is damaged: {_line(error)}")
    if not found:
        raise unsigned(name, keyring.words)
    worst: NotAuthentic | None = None
    for signature in found:
        try:
            return _checked(text, signature, keyring, name, now)
        except NotAuthentic as refused:
            # A key that is known says more than one that is not.
            if worst is None or isinstance(worst, Unsigned):
                worst = refused
    assert worst is not None
    raise worst


def _checked(
    message: bytes, signature: Sig | None, keyring: Keyring, name: str, now: float
) -> tuple[bytes, tuple[Signer, ...]]:
    import pysequoia

    asked: list[str] = []

    def store(ids: list[str]) -> list[Cert]:
        asked.extend(ids)
        return list(keyring.certs)

    try:
        result = pysequoia.verify(bytes=message, store=store, signature=signature)
    except Exception as error:
        # pysequoia raises RuntimeError for whatever was wrong; what it was has to be found out here.
        raise _refusal(name, keyring, asked, _line(error), now)
    by_fingerprint = {cert.fingerprint.lower(): cert for cert in keyring.certs}
    good: dict[str, Signer] = {}
    expired: dict[str, Signer] = {}
    revoked: list[str] = []
    for valid in result.valid_sigs:
        cert = by_fingerprint[valid.certificate.lower()]
        if not _allowed(keyring.only, valid.certificate, valid.signing_key):
            continue
        # Sequoia asks whether the key was alive when it signed; apt and gpgv ask whether it is alive now. Who has got
        # hold of a key that was retired would date the signature back.
        fingerprint = valid.certificate.upper()
        if _is_revoked(cert, valid.signing_key):
            revoked.append(fingerprint)
            continue
        end = _expiration(cert, valid.signing_key)
        signer = Signer(fingerprint, base64.b64encode(minimal(cert)).decode(), None if end is None else end.timestamp())
        if end is not None and end.timestamp() <= now:
            expired[f"{fingerprint} on {end:%Y-%m-%d}"] = signer
        else:
            good[fingerprint] = signer
    if good:
        return result.bytes or b"", tuple(good[each] for each in sorted(good))
    if expired:
        late = KeyExpired(
            f"cannot trust {name}: the key that signed it expired: {', '.join(sorted(expired))}",
            hint=keyring.words.late,
        )
        late.signed = result.bytes or b"", tuple(expired[each] for each in sorted(expired))
        raise late
    if revoked:
        raise _revoked(name, revoked[0])
    raise Unsigned(
        f"cannot trust {name}: it is not signed by a key that {keyring.words.key} names: "
        f"{', '.join(sorted(keyring.only))}",
        hint=f"look at {keyring.words.key}; {keyring.words.unsigned}",
    )


def _refusal(name: str, keyring: Keyring, asked: Sequence[str], reason: str, now: float) -> NotAuthentic:
    if not asked:
        return NotAuthentic(f"cannot trust {name}: its signature is damaged: {reason}")
    known = {key: cert for cert in keyring.certs for key in _keys(cert)}
    known |= {key[-16:]: cert for key, cert in known.items()}
    mine = [(each.lower(), known[each.lower()]) for each in asked if each.lower() in known]
    if not mine:
        listed = ", ".join(sorted({each.upper() for each in asked}))
        where = keyring.origin if keyring.certs else f"{keyring.origin}, which holds no key"
        return Unsigned(
            f"cannot trust {name}: it is signed by {listed}, and no such key is in {where}",
            hint=f"name the key in {keyring.words.key}; {keyring.words.unsigned}",
        )
    for key, cert in mine:
        if _is_revoked(cert, key):
            return _revoked(name, cert.fingerprint.upper())
        end = _expiration(cert, key)
        if end is not None and end.timestamp() <= now:
            return KeyExpired(
                f"cannot trust {name}: it was signed by {cert.fingerprint.upper()}, which expired on {end:%Y-%m-%d}",
                hint="install the newest keys of the distribution",
            )
    listed = ", ".join(sorted({cert.fingerprint.upper() for _, cert in mine}))
    return NotAuthentic(
        f"cannot trust {name}: its text is not what {listed} signed, or the signature is of a kind no longer accepted"
    )


def _revoked(name: str, fingerprint: str) -> NotAuthentic:
    return NotAuthentic(f"cannot trust {name}: the key that signed it, {fingerprint}, is revoked")


def unsigned(name: str, words: Words = DEB) -> Unsigned:
    """The error for what has no signature at all."""
    return Unsigned(f"cannot trust {name}: it is not signed", hint=words.unsigned)


def _allowed(only: frozenset[str], certificate: str, key: str) -> bool:
    if not only:
        return True
    # sources.list(5): a fingerprint stands for its certificate, with "!" for just that key.
    certificate, key = certificate.lower(), key.lower()
    return bool({certificate, key, f"{key}!"} & only)


def _keys(cert: Cert) -> Iterable[str]:
    from pysequoia.packet import PacketPile

    yield cert.fingerprint.lower()
    for packet in PacketPile.from_bytes(bytes(cert)):
        if str(packet.tag).endswith("PublicSubkey") and packet.fingerprint:
            yield packet.fingerprint.lower()


@lru_cache(maxsize=64)
def _expiration(cert: Cert, key: str) -> datetime | None:
    """When `key` of `cert` stops being valid: the certificate's end, or the subkey's when that is earlier."""
    from pysequoia.packet import PacketPile

    ends = [cert.expiration] if cert.expiration is not None else []
    created: datetime | None = None
    newest: tuple[datetime, datetime | None] | None = None
    for packet in PacketPile.from_bytes(bytes(cert)):
        tag = str(packet.tag)
        if tag.endswith("PublicSubkey"):
            mine = (packet.fingerprint or "").lower().endswith(key.lower())
            created = packet.key_created if mine else None
        elif tag.endswith("Signature") and created is not None and str(packet.signature_type).endswith("SubkeyBinding"):
            made = packet.signature_created or datetime.fromtimestamp(0, UTC)
            period = packet.key_validity_period
            if newest is None or made >= newest[0]:
                newest = (made, created + period if period else None)
    if newest is not None and newest[1] is not None:
        ends.append(newest[1])
    return min(ends, default=None)


@lru_cache(maxsize=64)
def _is_revoked(cert: Cert, key: str) -> bool:
    """Whether `cert`, or its subkey `key`, is revoked, for whatever reason and since whenever."""
    from pysequoia.packet import PacketPile

    if cert.is_revoked:
        return True
    mine = False
    for packet in PacketPile.from_bytes(bytes(cert)):
        tag = str(packet.tag)
        if tag.endswith("PublicSubkey"):
            mine = (packet.fingerprint or "").lower().endswith(key.lower())
        elif mine and tag.endswith("Signature") and str(packet.signature_type).endswith("SubkeyRevocation"):
            return True
    return False


@lru_cache(maxsize=64)
def minimal(cert: Cert) -> bytes:
    """The certificate without what others certified about it: enough to verify, and a fifth of the size."""
    import pysequoia
    from pysequoia.packet import PacketPile

    primary = cert.fingerprint.lower()
    kept = []
    for packet in PacketPile.from_bytes(bytes(cert)):
        if str(packet.tag).endswith("Signature"):
            issuer = (packet.issuer_fingerprint or packet.issuer_key_id or "").lower()
            if not issuer or not primary.endswith(issuer):
                continue
        kept.append(packet)
    try:
        small = pysequoia.Cert.from_packets(kept)
        return bytes(small) if small.expiration == cert.expiration else bytes(cert)
    except Exception:
        return bytes(cert)


def certs_of(content: bytes, origin: str, words: Words = DEB) -> list[Cert]:
    """The certificates of a key file, binary or in armour. Raises NotAuthentic for what holds none."""
    from pysequoia import Cert

    try:
        certs = list(Cert.split_bytes(content))
    except Exception as error:
        raise NotAuthentic(f"cannot read the key file {origin}: {_line(error)}", hint=f"look at {words.key}")
    if not certs:
        raise NotAuthentic(f"cannot read the key file {origin}: it holds no key", hint=f"look at {words.key}")
    return certs


def _line(error: Exception) -> str:
    # pysequoia's messages carry a stack of the library below their first line.
    return (str(error).split("\n", 1)[0] or type(error).__name__).lower()
