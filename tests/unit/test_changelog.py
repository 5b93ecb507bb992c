from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.distro.deb import version
from hosier.inspect import changelog
from hosier.inspect.changelog import News, Span

TEXT = """\
tool (3.0-2) bookworm-security; urgency=high

  * Fix an overflow (CVE-2025-1234, CVE-2024-99999).
    More about CVE-2025-1234.

  [ Somebody ]
  * Refresh patches

 -- Some Body <some@example.org>  Tue, 04 Mar 2025 10:00:00 +0100

tool (3.0-1) unstable experimental; urgency=Medium, binary-only=no

  * New upstream

 -- Some Body <some@example.org>  not a date

tool (2.9-1) unstable; urgency=low
  * Closes a hole: CVE-2019-0001
 -- Some Body <some@example.org>  Thu, 01 Jan 1970 00:01:00 +0000
"""
SECURITY = News(
    "3.0-2",
    "bookworm-security",
    "high",
    1741078800,
    "* Fix an overflow (CVE-2025-1234, CVE-2024-99999).\n  More about CVE-2025-1234.\n\n"
    "[ Somebody ]\n* Refresh patches",
)
UPSTREAM = News("3.0-1", "unstable experimental", "medium", None, "* New upstream")
OLD = News("2.9-1", "unstable", "low", 60, "* Closes a hole: CVE-2019-0001")
REBUILD = "tool (2.9-1+b1) sid; urgency=low, binary-only=yes\n\n  * Rebuilt\n\n -- A <a@example.org>  x\n"
REBUILT = News("2.9-1+b1", "sid", "low", None, "* Rebuilt", True)


def test_a_changelog_is_read() -> None:
    assert list(changelog.read(TEXT.split("\n"))) == [SECURITY, UPSTREAM, OLD]
    assert list(changelog.read(REBUILD.split("\n"))) == [REBUILT]


DAMAGED = [
    ("", []),
    ("tool (1) x; urgency=low\n", []),
    (" -- A <a@b>  x\n", []),
    ("tool 1 unstable; urgency=low\n  * x\n -- A <a@b>  x\n", []),
    ("tool (1 2) unstable; urgency=low\n  * x\n -- A <a@b>  x\n", []),
    ("tool (1); urgency=low\n  * x\n -- A <a@b>  x\n", []),
    ("Local Variables:\ntool (1) a;\n -- no date at all\n", [News("1", "a", "", None, "")]),
]


@pytest.mark.parametrize(("text", "found"), DAMAGED)
def test_what_is_no_changelog_is_passed_over(text: str, found: list[News]) -> None:
    assert list(changelog.read(text.split("\n"))) == found


BETWEEN = [
    ("an update", Span("2.9-1", "3.0-2", "2.9-1", "3.0-2"), ["3.0-2", "3.0-1", "2.9-1+b1"]),
    ("one step", Span("3.0-1", "3.0-2", "3.0-1", "3.0-2"), ["3.0-2"]),
    ("the newer side has a longer changelog", Span("2.9-1", "3.0-1", "2.9-1", "3.0-1"), ["3.0-1", "2.9-1+b1"]),
    ("from before all of it", Span("1", "3.0-2", "1", "3.0-2"), ["3.0-2", "3.0-1", "2.9-1+b1", "2.9-1"]),
    ("a rebuild", Span("2.9-1", "2.9-1+b1", "2.9-1", "2.9-1"), ["2.9-1+b1"]),
    ("a rebuild that both have", Span("2.9-1+b1", "3.0-1", "2.9-1", "3.0-1"), ["3.0-1"]),
    ("versions of another source", Span("4:1.0", "4:1.1", "3.0-1", "3.0-2"), ["3.0-2"]),
]


@pytest.mark.parametrize(("what", "span", "found"), BETWEEN, ids=[case[0] for case in BETWEEN])
def test_the_entries_between_two_versions(what: str, span: Span, found: list[str]) -> None:
    head, tail = TEXT.split("tool (2.9-1)")
    text = f"{head}{REBUILD}tool (2.9-1){tail}"
    entries = changelog.read(text.split("\n"))
    assert [each.version for each in changelog.between(entries, span, order=version.key)] == found


def test_reading_ends_at_the_older_version() -> None:
    read: list[str] = []

    def lines():  # type: ignore[no-untyped-def]
        for line in TEXT.split("\n"):
            read.append(line)
            yield line

    changelog.between(changelog.read(lines()), Span("3.0-1", "3.0-2", "3.0-1", "3.0-2"), order=version.key)
    assert not any(line.startswith("tool (2.9-1)") for line in read)


def test_cves_are_told_once_by_year() -> None:
    assert changelog.cves([SECURITY, UPSTREAM, OLD]) == ["CVE-2019-0001", "CVE-2024-99999", "CVE-2025-1234"]


def test_many_entries_are_cut() -> None:
    entries = [News(f"{n}", "x", "", None, "") for n in range(2000, 0, -1)]
    assert len(changelog.between(entries, Span("0", "2000", "0", "2000"), order=version.key)) == changelog.MOST_ENTRIES


@given(st.binary(max_size=3000), st.integers(1, 700))
def test_what_was_compressed_is_read_back(content: bytes, at: int) -> None:
    assert b"".join(changelog.inflate(gzip.compress(content))) == content
    two = gzip.compress(content[:at]) + gzip.compress(content[at:])
    assert b"".join(changelog.inflate(two)) == content
    text = content.decode("utf-8", "replace").replace("\r", "").replace("\n\n", "\n")
    pieces = [text.encode()[start : start + at] for start in range(0, len(text.encode()), at)]
    assert "\n".join(changelog.lines(pieces)) == text.removesuffix("\n")


@given(st.binary(max_size=400), st.integers(0, 200), st.integers(0, 255))
def test_damage_ends_a_text_and_nothing_else(content: bytes, at: int, value: int) -> None:
    packed = bytearray(gzip.compress(content))
    packed[at % len(packed)] = value
    b"".join(changelog.inflate(bytes(packed)))
    b"".join(changelog.inflate(bytes(packed[:at])))
    list(changelog.read(changelog.lines([content])))


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(64 << 20))
    assert len(bomb) < 100_000
    sizes = [len(piece) for piece in changelog.inflate(bomb)]
    assert max(sizes) <= 1 << 15
    assert sum(sizes) <= changelog.MOST_BYTES + (1 << 15)
    assert list(changelog.read(changelog.lines(changelog.inflate(bomb)))) == []
