"""Headers of packages: what the kit writes is read back, and each wrong one is refused for its one wrong thing."""
# ruff: noqa: E501  (a case is a line)

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.distro.rpm import header as headers
from hosier.distro.rpm.header import Header, Malformed
from hosier.pack import rpmheader as writer
from kit.rpms import (
    BINARY,
    IMMUTABLE,
    INT8,
    INT16,
    INT32,
    INT64,
    SIGNATURES,
    STRING,
    STRINGS,
    TRANSLATED,
    Tags,
    header,
    raw_header,
)

ALL: Tags = {
    1000: (STRING, "demo"),
    1001: (INT8, [1, 255]),
    1002: (INT16, [1, 2, 65535]),
    1003: (INT32, 7),
    1004: (TRANSLATED, ["a word", "ein Wort"]),
    1005: (INT64, [2**64 - 1, 0]),
    1006: (BINARY, b"\0\1\2"),
    1007: (STRINGS, ["", "a", "é", b"\xff", "", "z"]),
    1008: (STRINGS, [""]),
    1009: (INT64, 5),
}


def test_all_types_are_read() -> None:
    raw = header(IMMUTABLE, ALL)
    read = Header.parse(raw)
    assert (read.raw, read.region, list(read)) == (raw, IMMUTABLE, sorted(ALL))
    assert read.string(1000) == "demo"
    assert read.strings(1000) == ("demo",)
    assert read.numbers(1001) == (1, 255)
    assert read.numbers(1002) == (1, 2, 65535)
    assert (read.numbers(1003), read.number(1003)) == ((7,), 7)
    assert (read.string(1004), read.strings(1004)) == ("a word", ("a word", "ein Wort"))
    assert read.numbers(1005) == (2**64 - 1, 0)
    assert read.binary(1006) == b"\0\1\2"
    assert read.strings(1007) == ("", "a", "é", "\udcff", "", "z")
    assert read.strings(1008) == ("",)
    assert [read.count(tag) for tag in (1002, 1006, 1007, 1)] == [3, 3, 6, 0]
    assert [read.kind(tag) for tag in (1002, 1006, 1)] == [INT16, BINARY, 0]
    assert 1000 in read
    assert 1 not in read


def test_what_is_not_there_is_empty() -> None:
    read = Header.parse(header(IMMUTABLE, {1000: (STRING, "demo")}))
    assert (
        read.string(1),
        read.string(1, "x"),
        read.strings(1),
        read.numbers(1),
        read.number(1, 3),
        read.binary(1),
    ) == (
        "",
        "x",
        (),
        (),
        3,
        b"",
    )


ASKED: list[tuple[Callable[[Header], object], str]] = [
    (lambda read: read.string(1003), "the value of tag 1003 in its header is not a text"),
    (lambda read: read.strings(1003), "the value of tag 1003 in its header is not texts"),
    (lambda read: read.numbers(1000), "the value of tag 1000 in its header is not numbers"),
    (lambda read: read.binary(1000), "the value of tag 1000 in its header is not bytes"),
]


@pytest.mark.parametrize(("ask", "error"), ASKED)
def test_another_type_than_was_asked_for_is_refused(ask: Callable[[Header], object], error: str) -> None:
    with pytest.raises(Malformed) as refused:
        ask(Header.parse(header(IMMUTABLE, ALL)))
    assert str(refused.value) == error


def test_a_header_without_region_is_read() -> None:
    read = Header.parse(header(0, {1000: (STRING, "demo"), 1003: (INT32, 1)}))
    assert (read.region, read.string(1000), read.number(1003)) == (0, "demo", 1)


def test_a_signature_header_may_go_on_behind_its_region() -> None:
    raw = beyond(SIGNATURES, 1008, b"\0\0\0")
    assert Header.parse(raw, region=SIGNATURES).binary(1008) == b"\0\0\0"
    with pytest.raises(Malformed) as refused:
        Header.parse(beyond(IMMUTABLE, 1008, b"\0\0\0"))
    assert str(refused.value) == "its header goes on behind its region"


def test_a_header_of_the_database_has_tags_behind_its_region() -> None:
    read = Header.parse_installed(beyond(IMMUTABLE, 1008, b"\0\0\0")[8:])
    assert (list(read), read.binary(1008)) == ([1000, 1008], b"\0\0\0")


def test_a_tag_behind_the_region_takes_the_place_of_the_one_in_it() -> None:
    assert Header.parse_installed(beyond(IMMUTABLE, 1000, b"other")[8:]).binary(1000) == b"other"


def beyond(region: int, tag: int, value: bytes) -> bytes:
    raw = header(region, {1000: (STRING, "demo")})
    entries, length = struct.unpack_from(">II", raw, 8)
    index = [raw[16 + 16 * each : 32 + 16 * each] for each in range(entries)]
    return raw_header([*index, entry(tag, BINARY, length, len(value))], raw[16 + 16 * entries :] + value)


def entry(tag: int, kind: int, offset: int, count: int) -> bytes:
    return struct.pack(">IIiI", tag, kind, offset, count)


def trailer(back: int, tag: int = IMMUTABLE, kind: int = BINARY, count: int = 16) -> bytes:
    return struct.pack(">IIiI", tag, kind, back, count)


def regioned(*entries: bytes, store: bytes, back: int | None = None, first: bytes | None = None, last: bytes | None = None) -> bytes:  # fmt: skip
    """A header with its region around `entries` and `store`, which may be wrong in one place."""
    count = len(entries) + 1
    first = entry(IMMUTABLE, BINARY, len(store), 16) if first is None else first
    last = trailer(-16 * count if back is None else back) if last is None else last
    return raw_header([first, *entries], store + last)


@dataclass(frozen=True)
class Case:
    name: str
    wrong: bytes
    right: bytes
    error: str


X = entry(1000, STRING, 0, 1)
RIGHT = regioned(X, store=b"x\0")
NUMBERS = regioned(entry(1000, INT32, 0, 1), store=bytes(4))
CASES = [
    Case("nothing", b"", RIGHT, "its header is cut off"),
    Case("cut off in its intro", RIGHT[:15], RIGHT, "its header is cut off"),
    Case("another magic", b"\x8e\xad\xe9" + RIGHT[3:], RIGHT, "its header does not begin as one"),
    Case("another version", b"\x8e\xad\xe8\x02" + RIGHT[4:], RIGHT, "its header does not begin as one"),
    Case("cut off", RIGHT[:-1], RIGHT, "its header has another length than it says"),
    Case("something behind", RIGHT + b"\0", RIGHT, "its header has another length than it says"),
    Case("no entries", raw_header([], b"x\0"), RIGHT, "its header counts 0 entries"),
    Case("no values", raw_header([X], b""), RIGHT, "its header says to hold 0 bytes"),
    Case("an absurd count of entries", raw_header([X], b"x\0", entries=0x10000), RIGHT, "its header counts 65536 entries"),
    Case("a negative count of entries", raw_header([X], b"x\0", entries=0xFFFFFFFF), RIGHT, "its header counts 4294967295 entries"),
    Case("an absurd length", raw_header([X], b"x\0", length=0x10000000), RIGHT, "its header says to hold 268435456 bytes"),
    Case("a value outside", regioned(entry(1000, STRING, 40, 1), store=b"x\0"), RIGHT, "the value of tag 1000 in its header lies outside, or over another"),
    Case("a value before", regioned(entry(1000, STRING, -1, 1), store=b"x\0"), RIGHT, "the value of tag 1000 in its header lies outside, or over another"),
    Case("a value over the trailer", regioned(entry(1000, BINARY, 0, 3), store=b"x\0"), regioned(entry(1000, BINARY, 0, 2), store=b"x\0"), "the value of tag 1000 in its header counts 3"),
    Case("a value over the next", regioned(entry(1000, BINARY, 0, 2), entry(1001, BINARY, 1, 1), store=b"x\0"), regioned(entry(1000, BINARY, 0, 1), entry(1001, BINARY, 1, 1), store=b"x\0"), "the value of tag 1000 in its header counts 2"),
    Case("values in another order", regioned(entry(1000, BINARY, 1, 1), entry(1001, BINARY, 0, 1), store=b"x\0"), regioned(entry(1000, BINARY, 0, 1), entry(1001, BINARY, 1, 1), store=b"x\0"), "the value of tag 1000 in its header lies outside, or over another"),
    Case("a text without an end", regioned(X, store=b"xy"), regioned(X, store=b"x\0"), "a text of tag 1000 in its header has no end"),
    Case("texts without an end", regioned(entry(1000, STRINGS, 0, 3), store=b"a\0b\0c"), regioned(entry(1000, STRINGS, 0, 3), store=b"a\0b\0c\0"), "a text of tag 1000 in its header has no end"),
    Case("a text that ends in the next value", regioned(X, entry(1001, STRING, 1, 1), store=b"xy\0"), regioned(X, entry(1001, STRING, 2, 1), store=b"x\0y\0"), "a text of tag 1000 in its header has no end"),
    Case("several of a lone text", regioned(entry(1000, STRING, 0, 2), store=b"x\0y\0"), regioned(entry(1000, STRINGS, 0, 2), store=b"x\0y\0"), "the value of tag 1000 in its header counts 2"),
    Case("none of a value", regioned(entry(1000, STRINGS, 0, 0), store=b"x\0"), RIGHT, "the value of tag 1000 in its header counts 0"),
    Case("an absurd count of a value", regioned(entry(1000, INT32, 0, 0x40000001), store=bytes(4)), NUMBERS, "the value of tag 1000 in its header counts 1073741825"),
    Case("a count that would overflow", regioned(entry(1000, INT64, 0, 0x20000001), store=bytes(8)), regioned(entry(1000, INT64, 0, 1), store=bytes(8)), "the value of tag 1000 in its header counts 536870913"),
    Case("more numbers than bytes", regioned(entry(1000, INT32, 0, 2), store=bytes(4)), NUMBERS, "the value of tag 1000 in its header counts 2"),
    Case("a number that is not aligned", regioned(entry(1000, INT32, 1, 1), store=bytes(5)), NUMBERS, "the value of tag 1000 in its header is not aligned"),
    Case("no type", regioned(entry(1000, 0, 0, 1), store=b"x\0"), RIGHT, "the value of tag 1000 in its header has the unknown type 0"),
    Case("an unknown type", regioned(entry(1000, 10, 0, 1), store=b"x\0"), RIGHT, "the value of tag 1000 in its header has the unknown type 10"),
    Case("a tag of the format itself", regioned(entry(99, STRING, 0, 1), store=b"x\0"), RIGHT, "its header has an entry with the tag 99"),
    Case("a second region", regioned(entry(63, STRING, 0, 1), store=b"x\0"), RIGHT, "its header has an entry with the tag 63"),
    Case("a tag twice", regioned(X, entry(1000, STRING, 2, 1), store=b"x\0y\0"), regioned(X, entry(1001, STRING, 2, 1), store=b"x\0y\0"), "its header has the tag 1000 twice"),
    Case("another region", regioned(X, store=b"x\0", first=entry(62, BINARY, 2, 16)), RIGHT, "its header has a wrong region"),
    Case("a region of another type", regioned(X, store=b"x\0", first=entry(63, STRING, 2, 16)), RIGHT, "its header has a wrong region"),
    Case("a region of another size", regioned(X, store=b"x\0", first=entry(63, BINARY, 2, 32)), RIGHT, "its header has a wrong region"),
    Case("a region outside", regioned(X, store=b"x\0", first=entry(63, BINARY, 3, 16)), RIGHT, "its header has a wrong region"),
    Case("a region before", regioned(X, store=b"x\0", first=entry(63, BINARY, -16, 16)), RIGHT, "its header has a wrong region"),
    Case("a trailer of another region", regioned(X, store=b"x\0", last=trailer(-32, tag=62)), RIGHT, "the region of its header has a wrong trailer"),
    Case("a trailer of another type", regioned(X, store=b"x\0", last=trailer(-32, kind=STRING)), RIGHT, "the region of its header has a wrong trailer"),
    Case("a trailer that counts forwards", regioned(X, store=b"x\0", back=32), RIGHT, "the region of its header has a wrong trailer"),
    Case("a trailer that counts nothing", regioned(X, store=b"x\0", back=0), RIGHT, "the region of its header has a wrong trailer"),
    Case("a trailer between entries", regioned(X, store=b"x\0", back=-31), RIGHT, "the region of its header has a wrong trailer"),
    Case("a trailer that counts too many", regioned(X, store=b"x\0", back=-48), RIGHT, "the region of its header counts more entries than there are"),
    Case("a trailer that counts too few", regioned(X, store=b"x\0", back=-16), RIGHT, "its header goes on behind its region"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_wrong_header_is_refused(case: Case) -> None:
    Header.parse(case.right)
    with pytest.raises(Malformed) as refused:
        Header.parse(case.wrong)
    assert str(refused.value) == case.error


def test_a_signature_header_has_smaller_limits() -> None:
    Header.parse(header(SIGNATURES, {1000 + each: (INT32, 1) for each in range(31)}), region=SIGNATURES)
    many = header(SIGNATURES, {1000 + each: (INT32, 1) for each in range(32)})
    long = raw_header([X], b"x\0", length=64 * 1024 * 1024 + 1)
    for raw, error in ((many, "counts 33 entries"), (long, "says to hold 67108865 bytes")):
        with pytest.raises(Malformed) as refused:
            Header.parse(raw, region=SIGNATURES)
        assert str(refused.value) == f"its signature header {error}"


def test_the_length_is_known_from_the_first_bytes() -> None:
    raw = header(IMMUTABLE, ALL)
    assert headers.size(raw[:16]) == len(raw)


def test_what_the_packers_header_writer_writes_is_read() -> None:
    tags = {tag: value for tag, value in ALL.items() if value[0] != INT8}  # which it has no use for
    written = bytes(writer.build(writer.IMMUTABLE, dict(tags)))
    assert Header.parse(written).raw == header(IMMUTABLE, tags)


texts = st.binary(max_size=8).filter(lambda text: b"\0" not in text)
values = st.one_of(
    st.tuples(st.just(STRING), texts),
    st.tuples(st.just(STRINGS), st.lists(texts, min_size=1, max_size=9)),
    st.tuples(st.just(BINARY), st.binary(min_size=1, max_size=9)),
    st.tuples(st.just(INT8), st.lists(st.integers(0, 2**8 - 1), min_size=1, max_size=5)),
    st.tuples(st.just(INT16), st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=5)),
    st.tuples(st.just(INT32), st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5)),
    st.tuples(st.just(INT64), st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5)),
)
tables = st.dictionaries(st.integers(100, 6000), values, min_size=1, max_size=12)


@given(tables, st.sampled_from([IMMUTABLE, 0]))
def test_what_is_written_is_read_back(tags: Tags, region: int) -> None:
    read = Header.parse(header(region, tags))
    assert list(read) == sorted(tags)
    for tag, (kind, value) in tags.items():
        assert read.kind(tag) == kind
        if kind == BINARY:
            assert read.binary(tag) == value
        elif kind in (STRING, STRINGS):
            expected = [value] if isinstance(value, bytes) else list(value)  # type: ignore[arg-type]
            assert [text.encode("utf-8", "surrogateescape") for text in read.strings(tag)] == expected
        else:
            assert list(read.numbers(tag)) == value


def read_all(read: Header) -> None:
    for tag in read:
        kind = read.kind(tag)
        if kind == BINARY:
            assert len(read.binary(tag)) == read.count(tag)
        elif kind in (STRING, STRINGS, TRANSLATED):
            assert len(read.strings(tag)) == read.count(tag)
            assert read.string(tag) == read.strings(tag)[0]
        else:
            assert len(read.numbers(tag)) == read.count(tag)


@given(tables, st.sampled_from([IMMUTABLE, 0]), st.data())
def test_a_damaged_header_is_read_or_refused(tags: Tags, region: int, data: st.DataObject) -> None:
    raw = bytearray(header(region, tags))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(8, len(raw) - 1))] = data.draw(st.integers(0, 255))
    for parse in (lambda: Header.parse(bytes(raw)), lambda: Header.parse_installed(bytes(raw[8:]))):
        try:
            read = parse()
        except Malformed:
            continue
        read_all(read)
