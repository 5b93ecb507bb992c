"""Causes of differences: each explains what it should, and nothing more."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.inspect import causes

DOCS = Path(__file__).parents[2] / "docs/verify.md"

GZIP = [gzip.compress(b"a" * 99, mtime=mtime) for mtime in (1, 2)]
UUIDS = b"id=6c79a3a0-0a3c-4dc4-8f6c-2e0f5e5b7a11\n", b"id=00aa31b4-9f0f-4e9c-b3f0-ac13e58a8ac2\n"
PYC = b"\xa7\r\r\n" + bytes(4)

CASES = [
    ("a known path, whatever is in it", "/etc/ssl/private/ssl-cert-snakeoil.key", b"a", b"\0b", "random-key"),
    ("a path below a known pattern is not it", "/var/lib/postgresql/15/main/base/pg_wal/1/2", b"a", b"b", None),
    ("a log of a known cluster", "/var/lib/postgresql/15/main/pg_wal/000001", b"\0a", b"\0b", "database-cluster"),
    ("lines in another order", "/x", b"a\nb\nc\n", b"c\na\nb\n", "order"),
    ("a line more is no order", "/x", b"a\nb\n", b"a\nb\nb\n", None),
    (
        "gzip of another time",
        "/x.gz",
        gzip.compress(b"a" * 99, mtime=1),
        gzip.compress(b"a" * 99, mtime=2),
        "gzip-time",
    ),
    ("gzip of another content", "/x.gz", gzip.compress(b"a", mtime=1), gzip.compress(b"b", mtime=1), None),
    ("damaged gzip", "/x.gz", b"\x1f\x8b\x08\0", b"\x1f\x8b\x08\0\0", None),
    ("byte code of another time", "/x.pyc", PYC + b"12345678code", PYC + b"87654321code", "pyc-time"),
    ("other byte code", "/x.pyc", PYC + b"12345678code", PYC + b"12345678edoc", None),
    ("seconds since 1970", "/x", b"made 1760000000 by\n", b"made 1763700000 by\n", "time"),
    ("a date and a time", "/x", b"# Fri Nov 21 07:02:32 2026\n", b"# Sat Nov 22 17:40:01 2026\n", "time"),
    ("a date in ISO 8601", "/x", b"2026-11-21T07:02:32Z a", b"2026-11-22T08:03:33Z a", "time"),
    ("a time, and more than that", "/x", b"2026-11-21 a", b"2026-11-22 b", None),
    (
        "a UUID",
        "/x",
        b"id=6c79a3a0-0a3c-4dc4-8f6c-2e0f5e5b7a11\n",
        b"id=00aa31b4-9f0f-4e9c-b3f0-ac13e58a8ac2\n",
        "random",
    ),
    ("a version is no random number", "/x", b"1.2.3\n", b"1.2.4\n", None),
    ("binary", "/x", b"\x001760000000", b"\x001763700000", None),
]


@pytest.mark.parametrize(("name", "path", "before", "after", "code"), CASES, ids=[case[0] for case in CASES])
def test_causes(name: str, path: str, before: bytes, after: bytes, code: str | None) -> None:
    for one, other in ((before, after), (after, before)):
        found = causes.of(path, one, other)
        assert (found.code if found else None) == code


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_content_is_looked_into(before: bytes, after: bytes) -> None:
    for path in ("/x", "/x.pyc", "/x.gz"):
        found = causes.of(path, before, after)
        assert found is None or found in causes.CAUSES


def test_the_page_has_every_cause() -> None:
    page = DOCS.read_text()
    told = re.findall(r"^\| `(/[^`]+)` \| ([a-z-]+) \| (.+) \|$", page, re.MULTILINE)
    assert told == [(place.pattern, place.cause.code, place.cause.why) for place in causes.PLACES]
    marks = re.findall(r"^\| ([a-z-]+) \| (.+) \|$", page, re.MULTILINE)[2:]
    by_path = {place.cause for place in causes.PLACES}
    assert marks == [(cause.code, cause.why) for cause in causes.CAUSES if cause not in by_path]
