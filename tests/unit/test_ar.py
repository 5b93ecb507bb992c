"""The members of a package file, deb(5), right and wrong."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.distro.deb import ar
from kit import debs

RIGHT = debs.ar([("debian-binary", b"2.0\n"), ("control.tar", b"abc"), ("data.tar", b"defg")])


@dataclass(frozen=True)
class Case:
    name: str
    content: bytes
    members: tuple[tuple[str, bytes], ...] = ()
    error: str = ""


def changed(at: int, new: bytes) -> bytes:
    return RIGHT[:at] + new + RIGHT[at + len(new) :]


CASES = [
    Case(
        "members are in order, and padding is no content",
        RIGHT,
        (("debian-binary", b"2.0\n"), ("control.tar", b"abc"), ("data.tar", b"defg")),
    ),
    Case(
        "what follows data.tar is not read",
        RIGHT + b"rubbish",
        (("debian-binary", b"2.0\n"), ("control.tar", b"abc"), ("data.tar", b"defg")),
    ),
    Case("GNU ar ends a name with a slash", debs.ar([("data.tar/", b"x")]), (("data.tar", b"x"),)),
    Case("an empty archive has no members", debs.ar([])),
    Case("an empty file", b"", error="it is not an ar archive"),
    Case("another kind of file", b"\x7fELF" + bytes(80), error="it is not an ar archive"),
    Case("cut in a header", RIGHT[:30], error="it is cut off in the header of member 1"),
    Case("cut in a member", RIGHT[:70], error="it is cut off in member debian-binary"),
    Case("a header without its end", changed(8 + 58, b"xx"), error="the header of member 1 is damaged"),
    Case("a size that is no number", changed(8 + 48, b"4x"), error="the size of member debian-binary is not a number"),
    Case("a negative size", changed(8 + 48, b"-4"), error="the size of member debian-binary is not a number"),
    Case(
        "a size with an underscore", changed(8 + 48, b"1_0"), error="the size of member debian-binary is not a number"
    ),
    Case("a size beyond the end", changed(8 + 48, b"9999999999"), error="it is cut off in member debian-binary"),
    Case("no name", changed(8, b" " * 16), error="member 1 has no readable name"),
    Case("a name that is not text", changed(8, b"\xff\x00"), error="member 1 has no readable name"),
    Case(
        "padding that is something", changed(8 + 64 + 63, b"x"), error="the padding after member control.tar is damaged"
    ),
    Case("a thousand members", debs.ar([("_x", b"")] * 1000), error="it has more than 64 members before data.tar"),
]


def read(content: bytes) -> tuple[tuple[str, bytes], ...]:
    descriptor = os.memfd_create("ar")
    try:
        os.write(descriptor, content)
        found = ar.members(descriptor)
        return tuple((member.name, os.pread(descriptor, member.size, member.offset)) for member in found)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_members(case: Case) -> None:
    if case.error:
        with pytest.raises(ar.Malformed) as caught:
            read(case.content)
        assert str(caught.value) == case.error
    else:
        assert read(case.content) == case.members


NAMES = st.text("abcdefghijklmnop_.-", min_size=1, max_size=15).filter(lambda name: not name.startswith("data.tar"))


@given(st.lists(st.tuples(NAMES, st.binary(max_size=40)), max_size=10))
def test_what_was_written_is_read_back(members: list[tuple[str, bytes]]) -> None:
    assert read(debs.ar(members)) == tuple(members)


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_or_read(content: bytes) -> None:
    for whole in (content, ar.MAGIC + content):
        try:
            read(whole)
        except ar.Malformed:
            pass
