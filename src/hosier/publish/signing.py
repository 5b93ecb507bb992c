"""Sign what is published, with an OpenPGP key in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hosier.dataclasses import dataclass
from hosier.errors import UsageError

if TYPE_CHECKING:
    from pysequoia import PySigner

RSA = 1
"""The number of the algorithm (RFC 9580 §9.1)."""


@dataclass(frozen=True, slots=True)
class Signing:
    """A key that signs. `certificate` is its public half in ASCII armour, `fingerprint` in upper-case hex."""

    fingerprint: str
    certificate: str
    _signer: PySigner

    def detached(self, message: bytes) -> bytes:
        """A detached signature in ASCII armour."""
        return self._sign(message, "DETACHED", armor=True)

    def binary(self, message: bytes) -> bytes:
        """A detached signature as packets."""
        return self._sign(message, "DETACHED", armor=False)

    def clear(self, message: bytes) -> bytes:
        """The message with its signature, by the cleartext framework (RFC 9580 §7)."""
        return self._sign(message, "CLEAR", armor=True)

    def _sign(self, message: bytes, mode: str, *, armor: bool) -> bytes:
        import pysequoia

        made = pysequoia.sign(self._signer, message, mode=getattr(pysequoia.SignatureMode, mode), armor=armor)
        return bytes(made)


def load(path: str, *, password: str | None = None) -> Signing:
    """The key in the file `path`, armoured or not. Raises UsageError for a file that has none that can sign."""
    import pysequoia

    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise UsageError(f"cannot sign with {path}: {(error.strerror or '').lower()}") from None
    try:
        key = pysequoia.Tsk.from_bytes(content)
        certificate = key.extract_certificate()
        if not pysequoia.Cert.from_bytes(content).has_secret_keys:
            raise ValueError("it is a certificate")
    except Exception as error:  # pysequoia has no narrower one
        mend = "gpg --armor --export-secret-keys KEY writes one"
        raise UsageError(f"cannot sign with {path}: it holds no secret key: {_first(error)}", hint=mend) from None
    try:
        signer = key.signer(password)
    except Exception as error:
        hint = "name the file that holds its password: --password-file FILE" if password is None else None
        raise UsageError(f"cannot sign with {path}: {_first(error)}", hint=hint) from None
    return Signing(str(certificate.fingerprint).upper(), str(certificate), signer)


def _first(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].strip().rstrip(".").lower()
