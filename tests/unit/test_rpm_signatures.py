"""Who signed a package: right signatures of each kind give the fingerprint, all else is refused by the package's name.

tests/system/test_rpm_read.py has signatures that rpmsign made.
"""
# ruff: noqa: E501  (a case is a line)

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosier.distro.openpgp import KeyExpired, Unsigned
from hosier.distro.rpm import signatures
from hosier.distro.rpm.header import Header
from hosier.errors import NotAuthentic
from kit.rpms import (
    BINARY,
    SIGNATURES,
    STRING,
    STRINGS,
    File,
    build,
    certificate,
    changed,
    header,
    join,
    key,
    sign,
    split,
)

DAY = 24 * 3600
YEAR = 365 * DAY
PACKAGE = build(files={"/a": File("x")})


@cache
def keys() -> dict[str, Any]:
    made = {"ed25519": key("one <one@example.org>"), "rsa": key("two <two@example.org>", rsa=True)}
    return made | {"short": key("late <late@example.org>", seconds=YEAR), "other": key("other <other@example.org>")}


def fingerprint(name: str) -> str:
    return str(keys()[name].extract_certificate().fingerprint).upper()


def subkey(name: str) -> str:
    """What signs: the fingerprint that a signature names."""
    from pysequoia import Sig

    made = split(sign(PACKAGE, keys()[name])).signature
    value = next(made[tag][1] for tag in (267, 268) if tag in made)
    assert isinstance(value, bytes)
    return str(Sig.from_bytes(value).issuer_fingerprint).upper()


def verify(package: bytes, *trusted: str, **rest: Any) -> str:
    parts = split(package)
    signature = Header.parse(header(SIGNATURES, parts.signature), region=SIGNATURES)
    return signatures.verify("demo.rpm", parts.main, signature, [certificate(keys()[name]) for name in trusted], **rest)


@pytest.mark.parametrize("tag", [None, 267, 268, 278])
@pytest.mark.parametrize("name", ["ed25519", "rsa"])
def test_a_right_signature_gives_its_fingerprint(name: str, tag: int | None) -> None:
    package = sign(PACKAGE, keys()[name], tag=tag)
    assert verify(package, "other", name) == fingerprint(name)
    assert (268 if name == "rsa" else 267) in split(sign(PACKAGE, keys()[name])).signature


def test_certificates_may_be_armoured() -> None:
    armoured = str(keys()["rsa"].extract_certificate()).encode()
    assert armoured.startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----")
    parts = split(sign(PACKAGE, keys()["rsa"]))
    signature = Header.parse(header(SIGNATURES, parts.signature), region=SIGNATURES)
    assert signatures.verify("demo.rpm", parts.main, signature, [armoured]) == fingerprint("rsa")


def test_one_good_signature_of_several_suffices() -> None:
    package = sign(sign(PACKAGE, keys()["rsa"]), keys()["ed25519"])
    assert verify(package, "rsa") == fingerprint("rsa")
    assert verify(package, "ed25519") == fingerprint("ed25519")
    assert verify(several("other", "other", "rsa"), "rsa") == fingerprint("rsa")


def several(*names: str) -> bytes:
    made = [split(sign(PACKAGE, keys()[name], tag=278)).signature[278][1] for name in names]
    return signed({278: (STRINGS, [each[0] for each in made])})  # type: ignore[index]


def signed(tags: dict[int, Any]) -> bytes:
    parts = split(PACKAGE)
    return join(replace(parts, signature=parts.signature | tags))


@cache  # a signature is made anew each time, and not always of the same length
def packet(name: str = "rsa") -> bytes:
    value = split(sign(PACKAGE, keys()[name], tag=268)).signature[268][1]
    assert isinstance(value, bytes)
    return value


def swapped() -> bytes:
    """Another package with the signature of PACKAGE."""
    other = split(changed(PACKAGE, tags={1000: (STRING, "evil")}))
    return join(replace(other, signature=other.signature | {268: (BINARY, packet())}))


REFUSED: list[tuple[str, Callable[[], bytes], tuple[str, ...], type[NotAuthentic], Callable[[], str]]] = [
    ("no signature", lambda: PACKAGE, ("rsa",), Unsigned, lambda: "it is not signed"),
    (
        "a key that is not trusted",
        lambda: sign(PACKAGE, keys()["other"]),
        ("rsa", "ed25519"),
        Unsigned,
        lambda: f"it is signed by {subkey('other')}, and no such key is in gpgkey",
    ),
    (
        "no key at all",
        lambda: sign(PACKAGE, keys()["other"]),
        (),
        Unsigned,
        lambda: f"it is signed by {subkey('other')}, and no such key is in gpgkey, which holds no key",
    ),
    (
        "the signature of another package",
        swapped,
        ("rsa",),
        NotAuthentic,
        lambda: (
            f"its text is not what {fingerprint('rsa')} signed, or the signature is of a kind no longer accepted"
        ),
    ),
    ("an empty signature", lambda: signed({278: (STRINGS, [""])}), ("rsa",), NotAuthentic, lambda: "its signature is damaged"),
    ("no signature packet", lambda: signed({268: (BINARY, b"\xc8\1\0")}), ("rsa",), NotAuthentic, lambda: "its signature is damaged"),
    ("two packets as one", lambda: signed({268: (BINARY, packet() * 2)}), ("rsa",), NotAuthentic, lambda: "its signature is damaged"),
    ("a signature cut off", lambda: signed({268: (BINARY, packet()[:-1])}), ("rsa",), NotAuthentic, lambda: "its signature is damaged"),
    ("a huge signature", lambda: signed({268: (BINARY, b"\xc2\xff\0\1\0\0" + bytes(65536))}), ("rsa",), NotAuthentic, lambda: "its signature is damaged"),
    ("no base64", lambda: signed({278: (STRINGS, ["!" + base64.b64encode(packet()).decode()])}), ("rsa",), NotAuthentic, lambda: "its signature is damaged"),
    ("another type", lambda: signed({268: (STRINGS, ["x"])}), ("rsa",), NotAuthentic, lambda: "its signature is damaged"),
    ("too many", lambda: several(*["rsa"] * 33), ("rsa",), NotAuthentic, lambda: "it has more than 32 signatures"),
    (
        "only one of header and payload",
        lambda: signed({1002: (BINARY, packet())}),
        ("rsa",),
        NotAuthentic,
        lambda: "its only signature is of header and payload together",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("package", "trusted", "kind", "error"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED])  # fmt: skip
def test_a_wrong_signature_is_refused(
    package: Callable[[], bytes], trusted: tuple[str, ...], kind: type[NotAuthentic], error: Callable[[], str]
) -> None:
    with pytest.raises(NotAuthentic) as refused:
        verify(package(), *trusted)
    assert (str(refused.value), type(refused.value)) == (f"cannot trust demo.rpm: {error()}", kind)


def test_a_key_that_expired_is_refused() -> None:
    package = sign(PACKAGE, keys()["short"])
    assert verify(package, "short") == fingerprint("short")
    end = keys()["short"].extract_certificate().expiration
    with pytest.raises(KeyExpired, match=rf"cannot trust demo\.rpm: .*{fingerprint('short')} on {end:%Y-%m-%d}"):
        verify(package, "short", now=end.timestamp() + 1)


def test_a_key_that_was_revoked_is_refused() -> None:
    from pysequoia.packet import PacketPile

    known = keys()["other"]
    package = sign(PACKAGE, known)
    parts = split(package)
    signature = Header.parse(header(SIGNATURES, parts.signature), region=SIGNATURES)
    primary, *rest = PacketPile.from_bytes(certificate(known))
    revocation = bytes(known.extract_certificate().revoke(known.certifier()))
    revoked = bytes(primary) + revocation + b"".join(map(bytes, rest))
    with pytest.raises(NotAuthentic) as refused:
        signatures.verify("demo.rpm", parts.main, signature, [revoked])
    assert str(refused.value) == (f"cannot trust demo.rpm: the key that signed it, {fingerprint('other')}, is revoked")


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_damaged_signature_is_refused_or_still_one_of_the_trusted(data: st.DataObject) -> None:
    """Bits that nothing signs (a hint in the packet, an unhashed area) may differ; a signature never becomes another's."""
    made = bytearray(packet())
    made[data.draw(st.integers(0, len(made) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = verify(signed({268: (BINARY, bytes(made))}), "rsa", "other")
    except NotAuthentic as refused:
        assert str(refused).startswith("cannot trust demo.rpm: ")
    else:
        assert found == fingerprint("rsa")


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_changed_header_is_refused(data: st.DataObject) -> None:
    parts = split(sign(PACKAGE, keys()["ed25519"]))
    main = bytearray(parts.main)
    main[data.draw(st.integers(0, len(main) - 1))] ^= data.draw(st.integers(1, 255))
    signature = Header.parse(header(SIGNATURES, parts.signature), region=SIGNATURES)
    with pytest.raises(NotAuthentic, match=r"cannot trust demo\.rpm: "):
        signatures.verify("demo.rpm", bytes(main), signature, [certificate(keys()["ed25519"])])


def once(record: Path, package: bytes, *trusted: str, now: float) -> None:
    parts = split(package)
    certificates = [certificate(keys()[name]) for name in trusted]
    signatures.verify_once(
        str(record), "demo.rpm", parts.main, header(SIGNATURES, parts.signature), certificates, now=now
    )


def test_what_was_found_good_is_believed_of_the_same_bytes_for_a_week(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, record, now = sign(PACKAGE, keys()["short"]), tmp_path / "signed", time.time()
    asked: list[float] = []
    genuine = signatures._verified

    def counted(*rest: Any) -> Any:
        asked.append(rest[-1])
        return genuine(*rest)

    monkeypatch.setattr(signatures, "_verified", counted)

    def looks(moment: float, *trusted: str, what: bytes = package) -> bool:
        """Whether the signature itself is looked at."""
        asked.clear()
        once(record, what, *(trusted or ("short",)), now=moment)
        return bool(asked)

    assert looks(now)
    assert [path.name for path in tmp_path.iterdir()] == ["signed"]
    assert not looks(now) and not looks(now + 6 * DAY)
    assert looks(now - 1), "from before it was looked at"
    assert not looks(now)
    assert looks(now + 8 * DAY)
    assert looks(now), "the record is of a later day"
    assert looks(now, "short", "other"), "other certificates"
    assert looks(now, what=sign(build(name="other"), keys()["short"])), "another package"
    assert looks(now)
    for damage in ("", "x", record.read_text()[:-9], "é" * 9, "1 2 3", record.read_text() * 2):
        record.write_text(damage)
        assert looks(now), damage
    record.unlink()
    record.mkdir()
    assert looks(now) and looks(now), "what cannot be written is not believed"
    assert list(tmp_path.iterdir()) == [record]


def test_what_was_found_good_is_not_believed_of_a_key_that_expired(tmp_path: Path) -> None:
    package, now = sign(PACKAGE, keys()["short"]), time.time()
    end = keys()["short"].extract_certificate().expiration.timestamp()
    once(tmp_path / "signed", package, "short", now=end - DAY)
    once(tmp_path / "signed", package, "short", now=end - 1)
    with pytest.raises(KeyExpired):
        once(tmp_path / "signed", package, "short", now=end)
    with pytest.raises(Unsigned):
        once(tmp_path / "signed", package, "other", now=now)
    assert (tmp_path / "signed").exists(), "of the same package, by the same key, it holds still"


def test_what_is_refused_leaves_no_record(tmp_path: Path) -> None:
    with pytest.raises(Unsigned):
        once(tmp_path / "signed", PACKAGE, "rsa", now=time.time())
    assert not list(tmp_path.iterdir())
