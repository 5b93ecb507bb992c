"""Which OpenPGP certificates an archive's signature is checked against, and the checking itself.

Certificates come from exactly the places that apply: Signed-By where it is given, else the trusted folder.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hosier.distro.deb.aptconf import AptConfig
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
class Keyring:
    """The certificates that apply to one archive. `origin` says where they come from, for messages.

    `only` are the fingerprints that Signed-By restricts to; empty: any of `certs`.
    """

    origin: str
    certs: tuple[Cert, ...]
    only: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Signer:
    """A certificate whose signature was found good: upper-case fingerprint, and its bytes in base64."""

    fingerprint: str
    data: str = field(repr=False)


class Keyrings:
    """Reads key files once each; may be used from one thread at a time."""

    def __init__(self, config: AptConfig) -> None:
        self._config = config
        self._files: dict[str, tuple[Cert, ...]] = {}

    def find(self, signed_by: Sequence[str]) -> Keyring:
        """The keys for an entry's Signed-By; those of the trusted folder when it is empty.

        Raises NotAuthentic for a key file that cannot be read or that holds no key.
        """
        paths = [each for each in signed_by if each.startswith("/")]
        blocks = [each for each in signed_by if "-----BEGIN" in each]
        only = frozenset(each.lower() for each in signed_by if each not in paths and each not in blocks)
        if not paths and not blocks:
            return Keyring("the trusted folder of apt", self._trusted(), only)
        certs: list[Cert] = []
        for path in paths:
            for file in _key_files(path):
                certs += self._file(file)
        for block in blocks:
            certs += _certs(block.encode(), "the key block in signed-by")
        return Keyring(", ".join([*paths, *("the key block in signed-by" for _ in blocks)]), tuple(certs), only)

    def _trusted(self) -> tuple[Cert, ...]:
        certs: list[Cert] = []
        folder = self._config.file("Dir::Etc::trustedparts")
        for path in (self._config.file("Dir::Etc::trusted"), *_folder(folder)):
            # Like apt: a file there that is no key ring is left out, it can only take trust away.
            try:
                certs += self._file(path)
            except NotAuthentic:
                continue
        return tuple(certs)

    def _file(self, path: str) -> tuple[Cert, ...]:
        if path not in self._files:
            try:
                with open(path, "rb") as file:
                    content = file.read()
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise NotAuthentic(f"cannot read the key file {path}: {reason}", hint="look at signed-by")
            self._files[path] = tuple(_certs(content, path))
        return self._files[path]


def verify(message: bytes, keyring: Keyring, *, name: str, now: float) -> tuple[bytes, tuple[Signer, ...]]:
    """Check an InRelease: give the text that is signed, and who signed it. One good signature suffices.

    Raises Unsigned, KeyExpired or NotAuthentic; `name` is what messages call it.
    """
    if _CLEAR not in message:
        raise unsigned(name)
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
        raise unsigned(name)
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
        signer = Signer(fingerprint, base64.b64encode(_minimal(cert)).decode())
        if end is not None and end.timestamp() <= now:
            expired[f"{fingerprint} on {end:%Y-%m-%d}"] = signer
        else:
            good[fingerprint] = signer
    if good:
        return result.bytes or b"", tuple(good[each] for each in sorted(good))
    if expired:
        late = KeyExpired(
            f"cannot trust {name}: the key that signed it expired: {', '.join(sorted(expired))}",
            hint="install the newest keys of the distribution, or say allow-expired = true in the [[repo]]",
        )
        late.signed = result.bytes or b"", tuple(expired[each] for each in sorted(expired))
        raise late
    if revoked:
        raise _revoked(name, revoked[0])
    raise Unsigned(
        f"cannot trust {name}: it is not signed by a key that signed-by names: {', '.join(sorted(keyring.only))}",
        hint="look at signed-by; allow-unsigned = true in the [[repo]] takes it without a check",
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
            hint="name the key in signed-by; allow-unsigned = true in the [[repo]] takes it without a check",
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


def unsigned(name: str) -> Unsigned:
    """The error for what has no signature at all."""
    return Unsigned(
        f"cannot trust {name}: it is not signed",
        hint="allow-unsigned = true in the [[repo]] takes it without a check",
    )


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


def _minimal(cert: Cert) -> bytes:
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


def _certs(content: bytes, origin: str) -> list[Cert]:
    from pysequoia import Cert

    try:
        certs = list(Cert.split_bytes(content))
    except Exception as error:
        raise NotAuthentic(f"cannot read the key file {origin}: {_line(error)}", hint="look at signed-by")
    if not certs:
        raise NotAuthentic(f"cannot read the key file {origin}: it holds no key", hint="look at signed-by")
    return certs


def _key_files(path: str) -> list[str]:
    return _folder(path) if os.path.isdir(path) else [path]


def _folder(folder: str) -> list[str]:
    try:
        names = sorted(os.listdir(folder)) if folder else []
    except OSError:
        return []
    return [os.path.join(folder, name) for name in names if name.endswith((".gpg", ".asc"))]


def _line(error: Exception) -> str:
    # pysequoia's messages carry a stack of the library below their first line.
    return (str(error).split("\n", 1)[0] or type(error).__name__).lower()
