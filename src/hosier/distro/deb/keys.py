"""Which OpenPGP certificates an archive's signature is checked against.

Certificates come from exactly the places that apply: Signed-By where it is given, else the trusted folder.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hosier.distro.deb.aptconf import AptConfig
from hosier.distro.openpgp import KeyExpired, Keyring, Signer, Unsigned, certs_of, unsigned, verify, verify_detached
from hosier.errors import NotAuthentic

if TYPE_CHECKING:
    from pysequoia import Cert

__all__ = ["KeyExpired", "Keyring", "Keyrings", "Signer", "Unsigned", "unsigned", "verify", "verify_detached"]


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
            certs += certs_of(block.encode(), "the key block in signed-by")
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
            self._files[path] = tuple(certs_of(content, path))
        return self._files[path]


def _key_files(path: str) -> list[str]:
    return _folder(path) if os.path.isdir(path) else [path]


def _folder(folder: str) -> list[str]:
    try:
        names = sorted(os.listdir(folder)) if folder else []
    except OSError:
        return []
    return [os.path.join(folder, name) for name in names if name.endswith((".gpg", ".asc"))]
