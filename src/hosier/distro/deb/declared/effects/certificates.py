"""openssl rehash: the links by which certificates are found (X509_LOOKUP_hash_dir(3))."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator

from hosier.distro.deb.declared.calls import Call, Effect

_MARK = rb"-----%b (?:X509 |TRUSTED )?CERTIFICATE-----"
_PEM = re.compile(_MARK % b"BEGIN" + rb"\s(.*?)" + _MARK % b"END", re.DOTALL)
_LINK = re.compile(r"[0-9a-f]{8}\.r?\d+")
_SEQUENCE, _SET, _UTF8 = 0x30, 0x31, 0x0C
_ENCODINGS = {12: "utf-8", 19: "ascii", 20: "latin-1", 22: "ascii", 26: "ascii", 28: "utf-32-be", 30: "utf-16-be"}
"""Tags of ASN.1's strings that are compared as text (X.690; OpenSSL: crypto/x509/x_name.c)."""


def _items(der: bytes) -> Iterator[tuple[int, bytes]]:
    """The tag and content of each element (X.690 8.1). Raises ValueError."""
    at = 0
    while at < len(der):
        if at + 2 > len(der):
            raise ValueError("cut off")
        tag, length = der[at], der[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(der[at : at + size])
            at += size
        if at + length > len(der):
            raise ValueError("cut off")
        yield tag, der[at : at + length]
        at += length


def _element(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(octets))) + octets + content


def subject_hash(der: bytes) -> str:
    """What `openssl x509 -hash` says of a certificate. Raises ValueError for what is none."""
    ((_, certificate),) = _items(der)
    (_, body) = next(iter(_items(certificate)))
    fields = list(_items(body))
    subject = fields[5 if fields[0][0] == 0xA0 else 4][1]
    canonical = b""
    for tag, names in _items(subject):
        if tag != _SET:
            raise ValueError("no name")
        canonical += _element(_SET, b"".join(sorted(_attribute(content) for _, content in _items(names))))
    return f"{int.from_bytes(hashlib.sha1(canonical, usedforsecurity=False).digest()[:4], 'little'):08x}"


def _attribute(content: bytes) -> bytes:
    """One attribute with its value in lower case, blanks as one."""
    (kind, name), (tag, value) = _items(content)
    if tag in _ENCODINGS:
        text = re.sub(rb"[ \t\n\v\f\r]+", b" ", value.decode(_ENCODINGS[tag]).encode()).strip(b" ")
        tag, value = _UTF8, text.lower()
    return _element(_SEQUENCE, _element(kind, name) + _element(tag, value))


def _only(content: bytes) -> bytes | None:
    """The certificate of a file that holds just one."""
    found = _PEM.findall(content)
    return base64.b64decode(found[0]) if len(found) == 1 else None


def openssl(call: Call) -> int:
    """openssl-rehash(1) of one directory of certificates; no other command of openssl"""
    words = [w for w in call.arguments if w != "-v"]
    if len(words) != 2 or words[0] != "rehash":
        raise call.refusal()
    view, folder = call.view, call.at(words[1])
    old = [n for n in view.names(folder) if _LINK.fullmatch(n) and _is_link(call, f"{folder}/{n}")]
    wanted: dict[str, str] = {}
    seen: dict[str, set[bytes]] = {}
    for name in view.names(folder):
        node = view.node(f"{folder}/{name}")
        if name in old or not name.endswith((".pem", ".crt", ".cer", ".crl")) or node is None or node.kind != "f":
            continue
        content = view.read(f"{folder}/{name}")
        if b"-----BEGIN X509 CRL-----" in content:
            raise call.refusal()
        try:
            certificate = _only(content)
            key = subject_hash(certificate) if certificate is not None else ""
        except (ValueError, IndexError, StopIteration, binascii.Error):
            raise call.shell.refusal(f"openssl rehash of {name} is not known") from None
        if certificate is None or certificate in seen.setdefault(key, set()):
            continue
        wanted[f"{key}.{len(seen[key])}"] = name
        seen[key].add(certificate)
    for name in old:
        if name not in wanted:
            view.remove(f"{folder}/{name}")
    for name, target in wanted.items():
        there = view.node(f"{folder}/{name}", follow=False)
        if there is not None and there.target != target:
            view.remove(f"{folder}/{name}")
        if there is None or there.target != target:
            view.symlink(target, f"{folder}/{name}")
    return 0


def _is_link(call: Call, path: str) -> bool:
    node = call.view.node(path, follow=False)
    return node is not None and node.kind == "l"


EFFECTS: dict[str, Effect] = {"openssl": openssl}
