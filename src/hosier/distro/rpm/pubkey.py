"""Certificates as rpm's database keeps them: each as a package called gpg-pubkey, by which rpm knows whom to trust.

Source: rpm 4.18 (rpmts.c, makePubkeyHeader) in words, and RFC 9580 for the packets.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterator

from hosier.dataclasses import dataclass
from hosier.distro.rpm import database, tags
from hosier.distro.rpm.database import Drip
from hosier.distro.rpm.header import MAGIC, Malformed

RPM = "4.18.0"
"""The version of rpm that the entry says to be by."""

_PRIMARY, _SUBKEY, _USER_ID, _SIGNATURE = 6, 14, 13, 2
_KEY_FLAGS = 27
_CAN_SIGN = 2
_KEYRING = (1 << 26) | tags.SENSE_EQUAL


@dataclass(slots=True)
class _Key:
    """A key of a certificate: its id (16 hex digits), when it was made, and whether it may sign."""

    id: str
    made: int
    signs: bool

    @property
    def evr(self) -> str:
        """The version of what it provides."""
        return f"4:{self.id}-{self.made:x}"


_Tags = dict[int, tuple[int, list[str] | list[int]]]


def installed(certificate: bytes, *, time: int) -> bytes:
    """The database's header of a certificate (binary, without armour) that was imported at `time`.

    Raises Malformed for what is no certificate with keys of version 4.
    """
    keys, user = _read(certificate)
    first = keys[0]
    provides, versions = [f"gpg({user})"], [first.evr]
    for key in (first, *(key for key in keys[1:] if key.signs)):
        provides += [f"gpg({key.id[8:]})", f"gpg({key.id})"]
        versions += [key.evr, key.evr]
    main: _Tags = {
        tags.PUBKEYS: (tags.STRINGS, ["".join(f"{line}\n" for line in _lines(certificate))]),
        tags.NAME: (tags.STRING, ["gpg-pubkey"]),
        tags.VERSION: (tags.STRING, [first.id[8:]]),
        tags.RELEASE: (tags.STRING, [f"{first.made:x}"]),
        tags.SUMMARY: (tags.TRANSLATED, [f"{user} public key"]),
        tags.DESCRIPTION: (tags.TRANSLATED, [_armoured(certificate)]),
        tags.BUILDTIME: (tags.INT32, [first.made]),
        tags.BUILDHOST: (tags.STRING, ["localhost"]),
        tags.SIZE: (tags.INT32, [0]),
        tags.LICENSE: (tags.STRING, ["pubkey"]),
        tags.PACKAGER: (tags.STRING, [user]),
        tags.GROUP: (tags.TRANSLATED, ["Public Keys"]),
        tags.SOURCERPM: (tags.STRING, ["(none)"]),
        tags.PROVIDENAME: (tags.STRINGS, provides),
        tags.RPMVERSION: (tags.STRING, [RPM]),
        tags.PROVIDEFLAGS: (tags.INT32, [_KEYRING] * len(provides)),
        tags.PROVIDEVERSION: (tags.STRINGS, versions),
    }
    header = _immutable(main)
    drips = [
        _text(tags.SHA1HEADER, hashlib.sha1(header, usedforsecurity=False).hexdigest()),
        _text(tags.SHA256HEADER, hashlib.sha256(header).hexdigest()),
        Drip(tags.INSTALLTIME, tags.INT32, 1, struct.pack(">I", time)),
        Drip(tags.INSTALLTID, tags.INT32, 1, struct.pack(">I", time)),
    ]
    return database.with_drips(header, drips)


def _text(tag: int, value: str) -> Drip:
    return Drip(tag, tags.STRING, 1, value.encode() + b"\0")


def _immutable(main: _Tags) -> bytes:
    """A header of these tags and an immutable region over them, with its magic."""
    index, data = bytearray(), bytearray()
    for tag, (kind, values) in sorted(main.items()):
        if kind == tags.INT32:
            data += bytes(-len(data) % 4)
        index += struct.pack(">IIII", tag, kind, len(data), len(values))
        for value in values:
            data += struct.pack(">I", value) if isinstance(value, int) else value.encode("utf-8", "replace") + b"\0"
    count = len(main) + 1
    index[:0] = struct.pack(">IIII", tags.HEADERIMMUTABLE, tags.BINARY, len(data), 16)
    data += struct.pack(">IIiI", tags.HEADERIMMUTABLE, tags.BINARY, -16 * count, 16)
    return MAGIC + struct.pack(">II", count, len(data)) + bytes(index) + bytes(data)


def _armoured(certificate: bytes) -> str:
    """RFC 9580, 6.2, with the checksum that older programs ask for (6.1)."""
    crc = 0xB704CE
    for byte in certificate:
        crc ^= byte << 16
        for _ in range(8):
            crc = (crc << 1) ^ (0x1864CFB if crc & 0x800000 else 0)
    check = base64.b64encode(crc.to_bytes(3, "big")).decode()
    head, foot = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"
    return "\n".join([head, f"Version: rpm-{RPM}", "", *_lines(certificate), f"={check}", foot, ""])


def _lines(certificate: bytes) -> list[str]:
    text = base64.b64encode(certificate).decode()
    return [text[at : at + 64] for at in range(0, len(text), 64)]


def _read(certificate: bytes) -> tuple[list[_Key], str]:
    keys: list[_Key] = []
    user = ""
    for tag, body in _packets(certificate):
        if tag in (_PRIMARY, _SUBKEY):
            if len(body) < 6 or body[0] != 4:
                raise Malformed("a key of the certificate is of another version than 4")
            fingerprint = hashlib.sha1(b"\x99" + struct.pack(">H", len(body)) + body, usedforsecurity=False).hexdigest()
            keys.append(_Key(fingerprint[24:], int.from_bytes(body[1:5], "big"), tag == _PRIMARY))
        elif tag == _USER_ID and not user:
            user = body.decode("utf-8", "replace")
        elif tag == _SIGNATURE and len(keys) > 1 and _may_sign(body):
            keys[-1].signs = True
    if not keys:
        raise Malformed("it is no certificate")
    return keys, user


def _packets(content: bytes) -> Iterator[tuple[int, bytes]]:
    """RFC 9580, 4.2; of unknown length none."""
    at = 0
    while at < len(content):
        first = content[at]
        if first & 0x40:
            tag, size = first & 0x3F, 1
            length = content[at + 1] if at + 1 < len(content) else 0
            if 192 <= length < 224 and at + 2 < len(content):
                length, size = ((length - 192) << 8) + content[at + 2] + 192, 2
            elif length == 255:
                length, size = int.from_bytes(content[at + 2 : at + 6], "big"), 5
            elif length >= 224:
                raise Malformed("a packet of the certificate is in parts")
        else:
            tag, size = first >> 2 & 0xF, 1 << (first & 3)
            if size > 4:
                raise Malformed("a packet of the certificate has no length")
            length = int.from_bytes(content[at + 1 : at + 1 + size], "big")
        at += 1 + size
        if not first & 0x80 or at + length > len(content):
            raise Malformed("it is no certificate")
        yield tag, content[at : at + length]
        at += length


def _may_sign(signature: bytes) -> bool:
    """Whether a binding signature of version 4 gives its subkey the right to sign (5.2.3.29)."""
    if len(signature) < 6 or signature[0] != 4:
        return False
    hashed = signature[6 : 6 + int.from_bytes(signature[4:6], "big")]
    at = 0
    while at < len(hashed):
        length, size = hashed[at], 1
        if 192 <= length < 255 and at + 1 < len(hashed):
            length, size = ((length - 192) << 8) + hashed[at + 1] + 192, 2
        elif length == 255:
            length, size = int.from_bytes(hashed[at + 1 : at + 5], "big"), 5
        body = hashed[at + size : at + size + length]
        if len(body) > 1 and body[0] & 0x7F == _KEY_FLAGS:
            return bool(body[1] & _CAN_SIGN)
        at += size + length
    return False
