"""Headers of RPM packages, format 4: tags with values, in a region whose digest says that nobody changed them.

Source: rpm's documentation, "RPM V4 Package format", and its rpmtag.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from hosier.distro.rpm import tags
from hosier.distro.rpm.header import MAGIC, Malformed

INT16, INT32, INT64 = tags.INT16, tags.INT32, tags.INT64
STRING, BINARY, STRINGS, TRANSLATED = tags.STRING, tags.BINARY, tags.STRINGS, tags.TRANSLATED
_INTEGERS = {INT16: "H", INT32: "I", INT64: "Q"}
IMMUTABLE, SIGNATURES = tags.HEADERIMMUTABLE, tags.HEADERSIGNATURES

Value = int | str | bytes | Iterable[int] | Iterable[str] | Iterable[bytes]


def build(region: int, values: dict[int, tuple[int, Value]]) -> bytearray:
    """A header of `values`: tag to type and value. A lone value of an array's type is an array of one.

    `values` is empty afterwards: with 100,000 files both would be much at once.
    """
    store = bytearray()
    index = []
    for tag in sorted(values):
        kind, value = values.pop(tag)
        packed, count = _packed(kind, value)
        if kind in _INTEGERS:
            store += bytes(-len(store) % struct.calcsize(_INTEGERS[kind]))
        index.append(struct.pack(">IIII", tag, kind, len(store), count))
        store += packed
    own = struct.pack(">IIII", region, BINARY, len(store), 16)
    store += struct.pack(">IIiI", region, BINARY, -16 * (len(index) + 1), 16)
    store[:0] = MAGIC + struct.pack(">II", len(index) + 1, len(store)) + own + b"".join(index)
    return store


def _packed(kind: int, value: Value) -> tuple[bytes, int]:
    values = [value] if isinstance(value, int | str | bytes) else list(value)
    if kind in _INTEGERS:
        return struct.pack(f">{len(values)}{_INTEGERS[kind]}", *values), len(values)
    texts = [each if isinstance(each, bytes) else str(each).encode("utf-8", "surrogateescape") for each in values]
    if kind == BINARY:
        return texts[0], len(texts[0])
    return b"".join(text + b"\0" for text in texts), len(texts)


def lead(name: str) -> bytes:
    """The first 96 bytes, by which file(1) knows a package; nothing else reads them any more."""
    text = name.encode("utf-8", "surrogateescape")[:65]
    return struct.pack(">4sBBhh66shh16x", b"\xed\xab\xee\xdb", 3, 0, 0, 1, text, 1, 5)


_RSA = 1


def signature_tag(signature: bytes) -> int:
    """Where rpm looks for this OpenPGP signature of a header. Raises Malformed for one that it does not read.

    Source: RFC 9580 §4.2 and §5.2.3, rpmsign(8).
    """
    if signature[0] & 0x40:
        first = signature[1]
        body = 2 if first < 192 else 3 if first < 224 else 6
    else:
        body = 1 + (1, 2, 4, 0)[signature[0] & 3]
    if signature[body] != 4:
        raise Malformed(f"the key makes signatures of version {signature[body]}, and rpm reads version 4")
    return tags.SIG_RSA if signature[body + 2] == _RSA else tags.SIG_DSA
