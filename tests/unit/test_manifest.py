from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosier.errors import StoreFailed
from hosier.store import manifest
from hosier.store.manifest import Entry

names = st.binary(min_size=1, max_size=12).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"x").replace(b"/", b"y")))
paths = st.lists(names, max_size=4).map(lambda parts: "/" + "/".join(parts))
ids = st.integers(0, 2**32 - 1)
entries = st.builds(
    Entry,
    path=paths,
    kind=st.sampled_from("fdlcbp"),
    mode=st.integers(0, 0o7777),
    uid=ids,
    gid=ids,
    mtime=st.integers(-(2**40), 2**40),
    size=st.integers(0, 2**60),
    sha256=st.sampled_from(["", "ab" * 32]),
    target=st.one_of(st.just(""), paths),
    rdev=st.one_of(st.none(), st.tuples(ids, ids)),
    xattrs=st.lists(st.tuples(names, st.binary(max_size=6).map(bytes.hex)), max_size=2).map(lambda x: tuple(sorted(x))),
    hardlink=st.one_of(st.just(""), paths),
    package=st.sampled_from(["", "bash", "libc6:i386"]),
)
manifests = st.lists(entries, max_size=8, unique_by=lambda entry: entry.path)


@given(manifests)
def test_what_is_written_is_read_back(written: list[Entry]) -> None:
    text = manifest.dumps(written)
    assert text.isascii()
    read = manifest.loads(text)
    assert list(read.values()) == sorted(written, key=lambda entry: entry.path)
    assert list(read) == [entry.path for entry in read.values()]
    assert manifest.dumps(reversed(list(read.values()))) == text


@given(entries)
def test_a_line_is_what_a_writer_of_json_makes_of_it(entry: Entry) -> None:
    row: list[object] = [entry.path, entry.kind, entry.mode, entry.uid, entry.gid, entry.mtime]
    row += [entry.package, entry.size, entry.sha256, entry.target, entry.rdev, entry.xattrs, entry.hardlink]
    while len(row) > 6 and not row[-1]:
        row.pop()
    assert manifest.line(entry, entry.mtime) == json.dumps(row, separators=(",", ":"))


@given(st.lists(entries, min_size=1, max_size=8, unique_by=lambda entry: entry.path), st.binary(max_size=9))
def test_the_digest_of_a_text_is_that_of_its_entries(found: list[Entry], config: bytes) -> None:
    newest = max(entry.mtime for entry in found)
    text = manifest.dumps(found).encode()
    assert manifest.digest_of(text, config, newest) == manifest.digest(found, config, newest)
    assert manifest.digest_of(text, config, newest) != manifest.digest(found, config, newest - 1)


@given(manifests, st.integers(0, 10**6), st.text(max_size=3))
@settings(max_examples=200)
def test_a_damaged_text_is_refused_or_read_and_nothing_else(written: list[Entry], place: int, put: str) -> None:
    text = manifest.dumps(written)
    where = place % (len(text) + 1)
    damaged = text[:where] + put + text[where + 1 :]
    try:
        read = manifest.loads(damaged)
    except StoreFailed as error:
        assert str(error).startswith("cannot read a manifest: ")
    else:
        manifest.dumps(read.values())


def test_the_text_is_one_line_a_path() -> None:
    text = manifest.dumps(
        [
            Entry("/etc/x", "f", 0o644, 0, 0, 9, size=3, sha256="ab", package="x"),
            Entry("/", "d", 0o755, 0, 0, 0),
            Entry("/dev/null", "c", 0o666, 0, 0, 0, rdev=(1, 3)),
            Entry("/etc/\udcff", "l", 0o777, 0, 0, 9, target="x", xattrs=(("user.a", "00"),)),
        ]
    )
    assert text.splitlines() == [
        '["/","d",493,0,0,0]',
        '["/dev/null","c",438,0,0,0,"",0,"","",[1,3]]',
        '["/etc/x","f",420,0,0,9,"x",3,"ab"]',
        '["/etc/\\udcff","l",511,0,0,9,"",0,"","x",null,[["user.a","00"]]]',
    ]


DAMAGED = [
    ("x", "Expecting value: line 1 column 2 (char 1)"),
    ('["/"]', "['/'] is not an entry"),
    ('["/","d",493,0,0,0]\n["/","d",493,0,0,0]', "'/' is there twice"),
    ('["/","q",493,0,0,0]', "['/', 'q', 493, 0, 0, 0] is not an entry"),
    ('["etc","d",493,0,0,0]', "['etc', 'd', 493, 0, 0, 0] is not an entry"),
    ('["/","d",true,0,0,0]', "['/', 'd', True, 0, 0, 0] is not an entry"),
    ('{"a":1}', "{'a': 1} is not an entry"),
    ("7", "7 is not an entry"),
]


@pytest.mark.parametrize(("text", "reason"), DAMAGED)
def test_what_is_no_manifest_is_refused(text: str, reason: str) -> None:
    with pytest.raises(StoreFailed) as caught:
        manifest.loads(text)
    assert str(caught.value) == f"cannot read a manifest: {reason}"


def test_the_digest_clamps_times_and_knows_everything_else() -> None:
    base = [Entry("/", "d", 0o755, 0, 0, 50), Entry("/a", "f", 0o644, 0, 0, 150, size=1, sha256="ab")]
    name = manifest.digest(base, b"{}", 100)
    assert len(bytes.fromhex(name)) == hashlib.sha256().digest_size
    assert manifest.digest([base[1], base[0]], b"{}", 100) == name
    assert manifest.digest([base[0], replace(base[1], mtime=100)], b"{}", 100) == name
    others = [
        manifest.digest([base[0], replace(base[1], mtime=99)], b"{}", 100),
        manifest.digest([base[0], replace(base[1], mode=0o600)], b"{}", 100),
        manifest.digest(base[:1], b"{}", 100),
        manifest.digest(base, b"{ }", 100),
        manifest.digest(base, b"{}", 101),
    ]
    assert len({name, *others}) == 6


def test_a_desktop_is_read_in_no_time() -> None:
    text = manifest.dumps(
        Entry(f"/usr/share/p{i // 20}/f{i}", "f", 0o644, 0, 0, 1, size=i, sha256=f"{i:064x}", package=f"p{i // 20}")
        for i in range(50_000)
    )
    began = time.process_time()
    assert len(manifest.loads(text)) == 50_000
    assert time.process_time() - began < 1.0  # 0.13 s measured; 150,000 entries must take less than a second
