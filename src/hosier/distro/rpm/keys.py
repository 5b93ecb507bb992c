"""Which OpenPGP certificates a repository's metadata and packages are checked against: what its gpgkey names."""

from __future__ import annotations

import base64
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from hosier.distro.openpgp import RPM, Keyring, Words, certs_of, minimal
from hosier.errors import FetchFailed, HosierError, NotAuthentic
from hosier.fetch import texts
from hosier.fetch.proxies import bare
from hosier.fetch.transport import Passing, Refused, Transport
from hosier.linux import regular
from hosier.spec.lock import LockedKey

if TYPE_CHECKING:
    from pysequoia import Cert

MOST = 4 << 20
"""The most bytes that a key file may have; all keys of a distribution together have 100 kB."""
_ARMOUR = "-----BEGIN"


class Keys:
    """Reads each key file once; may be used from several threads."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._read: dict[str, tuple[Cert, ...] | HosierError] = {}
        self._lock = threading.Lock()

    def find(self, named: Sequence[str], *, repo: str, words: Words = RPM) -> Keyring:
        """The certificates of what gpgkey names: files, file:, http: and https: URLs, blocks in armour. `words` are for
        the messages.

        Raises NotAuthentic for what holds no key, FetchFailed for a URL that nothing serves.
        """
        certs: dict[str, Cert] = {}
        places = []
        for each in named:
            places.append("the key block in gpgkey" if _ARMOUR in each else bare(each))
            for cert in self._certs(each, repo, words):
                certs.setdefault(cert.fingerprint, cert)
        return Keyring(", ".join(places) or "gpgkey", tuple(certs.values()), words=words)

    def _certs(self, named: str, repo: str, words: Words) -> tuple[Cert, ...]:
        with self._lock:
            if named not in self._read:
                try:
                    self._read[named] = self._load(named, repo, words)
                except HosierError as error:
                    self._read[named] = error
            found = self._read[named]
        if isinstance(found, HosierError):
            raise found
        return found

    def _load(self, named: str, repo: str, words: Words) -> tuple[Cert, ...]:
        if _ARMOUR in named:
            return tuple(certs_of(named.encode(), "the key block in gpgkey", words))
        if named.startswith(("http://", "https://")):
            return tuple(certs_of(self._fetched(named, repo, words), bare(named), words))
        path = unquote(urlsplit(named).path) if named.startswith("file:") else named
        if not path.startswith("/"):
            raise NotAuthentic(
                f"cannot use the key {named} of {repo}: it is neither an absolute path nor a URL",
                hint=f"look at {words.key}",
            )
        try:
            with open(regular.opened(path), "rb") as file:
                content = file.read(MOST + 1)
        except (OSError, ValueError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            raise NotAuthentic(f"cannot read the key file {path} of {repo}: {reason}", hint=f"look at {words.key}")
        if len(content) > MOST:
            raise NotAuthentic(f"cannot read the key file {path}: it has more than {MOST >> 20} MiB")
        return tuple(certs_of(content, path, words))

    def _fetched(self, url: str, repo: str, words: Words) -> bytes:
        try:
            return texts.fetch(self._transport, url, most=MOST).body or b""
        except (Refused, Passing) as error:
            raise FetchFailed(f"cannot fetch the key {bare(url)} of {repo}: {error}", hint=f"look at {words.key}")


def locked(repo: str, keyring: Keyring) -> tuple[LockedKey, ...]:
    """What the lock keeps of the keys of a repository, sorted."""
    return tuple(
        sorted(
            (
                LockedKey(repo, cert.fingerprint.upper(), base64.b64encode(minimal(cert)).decode())
                for cert in keyring.certs
            ),
            key=lambda each: each.fingerprint,
        )
    )
