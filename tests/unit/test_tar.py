"""The tar reader: what dpkg and pax write, and what nobody may."""

# ruff: noqa: E501  (a case is a line)
from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.distro.deb import tar
from hosier.distro.malformed import Malformed
from kit.debs import MTIME, entry, header, pax
from kit.debs import tar as archive

LONG = "d" * 90 + "/" + "e" * 90 + "/" + "f" * 60


def pieces(content: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(content), size):
        yield content[at : at + size]


def read(content: bytes, size: int = 700) -> list[tuple[object, ...]]:
    """Every fact of every member and its content."""
    reader = tar.Reader(pieces(content, size))
    found: list[tuple[object, ...]] = []
    while member := reader.next():
        facts = (
            member.path,
            member.kind,
            member.mode,
            member.uid,
            member.gid,
            member.mtime,
            member.uname,
            member.gname,
        )
        body = b"".join(reader.body())
        assert len(body) == member.size
        found.append((*facts, member.target, member.device, body))
    return found


def row(path: str, kind: str = "f", **facts: object) -> tuple[object, ...]:
    every = {"mode": 0o644, "uid": 0, "gid": 0, "mtime": MTIME, "uname": "root", "gname": "root"}
    every |= {"target": "", "device": None, "body": b""} | facts
    return (path, kind, *every.values())


@dataclass(frozen=True)
class Case:
    name: str
    blocks: tuple[bytes, ...]
    members: tuple[tuple[object, ...], ...] = ()
    error: str = ""
    end: bool = True


CASES = [
    Case("a file", (entry("./a", "hello"),), (row("/a", body=b"hello"),)),
    Case("a file longer than a piece", (entry("./a", b"x" * 5000), entry("./b")), (row("/a", body=b"x" * 5000), row("/b"))),
    Case("names are put in one form", (entry("usr//b/./c/"[:-1]), entry("./.x"), entry(".", type=b"5")), (row("/usr/b/c"), row("/.x"), row("/", "d"))),
    Case("a directory loses its slash", (entry("./d/", type=b"5", mode=0o1777),), (row("/d", "d", mode=0o1777),)),
    Case("a file whose name ends with a slash is a directory", (entry("./d/"),), (row("/d", "d"),)),
    Case("links keep their text", (entry("./l", type=b"2", link="../x//y/"),), (row("/l", "l", target="../x//y/"),)),
    Case("hard links have a plain target", (entry("./h", type=b"1", link="usr/x"),), (row("/h", "h", target="/usr/x"),)),
    Case("devices have numbers", (entry("./dev/x", type=b"4", major=8, minor=300),), (row("/dev/x", "b", device=(8, 300)),)),
    Case("setuid and setgid are kept, file types in the mode not", (entry("./s", mode=0o106755),), (row("/s", mode=0o6755),)),
    Case("GNU long names and links", (entry("./" + LONG, "z"), entry("./l", type=b"2", link=LONG)), (row("/" + LONG, body=b"z"), row("/l", "l", target=LONG))),
    Case("ustar prefix", (entry("b", magic=b"ustar\x0000", prefix=b"./" + b"a" * 150),), (row("/" + "a" * 150 + "/b"),)),
    Case("GNU headers have no prefix", (entry("b", prefix=b"atime"),), (row("/b"),)),
    Case("headers from before POSIX", (entry("./a", magic=bytes(8), uname="", gname=""),), (row("/a", uname="", gname=""),)),
    Case("bytes that are not UTF-8", (entry(b"./\xff\xe9"),), (row("/\udcff\udce9"),)),
    Case("base 256", (entry("./a", "x", size=b"\x80" + bytes(10) + b"\x01", uid=b"\x80" + bytes(5) + b"\xff\xfe"),), (row("/a", uid=65534, body=b"x"),)),
    Case("times are moved into range", (entry("./a", mtime=-5), entry("./b", mtime=2**40)), (row("/a", mtime=0), row("/b", mtime=2**32 - 1))),
    Case("a number may begin with blanks and be empty", (entry("./a", uid=b"    12 \0", gid=bytes(8)),), (row("/a", uid=0o12),)),
    Case(
        "pax says it better",
        (
            pax({"path": "./" + LONG, "uid": "70", "gid": "71", "uname": "ü", "gname": "g", "mtime": "12.75", "size": "3", "comment": "a=b\nc"}),
            entry("./short", "abc", size=0),
            entry("./next"),
        ),
        (row("/" + LONG, uid=70, gid=71, uname="ü", gname="g", mtime=12, body=b"abc"), row("/next")),
    ),
    Case("pax link", (pax({"linkpath": LONG}), entry("./l", type=b"2", link="x")), (row("/l", "l", target=LONG),)),
    Case("pax attributes are left out, as dpkg does", (pax({"SCHILY.xattr.user.x": b"\xff\0"}), entry("./a")), (row("/a"),)),
    Case("pax global headers hold until the end", (pax({"uid": "5", "comment": "c"}, type=b"g"), entry("./a"), pax({"uid": "6"}), entry("./b"), entry("./c")), (row("/a", uid=5), row("/b", uid=6), row("/c", uid=5))),
    Case("nothing", ()),
    Case("no end mark", (entry("./a"),), end=False, error="its tar archive has no end mark"),
    Case("no bytes", (), end=False, error="its tar archive has no end mark"),
    Case("cut in a header", (entry("./a")[:300],), end=False, error="its tar archive is cut off"),
    Case("cut in a file", (entry("./a", "hello", size=60000),), error="its tar archive is cut off"),
    Case("something after the end", (bytes(1024), entry("./a")), error="something follows the end of its tar archive"),
    Case("wrong checksum", (header("./a", checksum=b"000001\0 "),), error="a tar header's checksum is wrong"),
    Case("unknown format", (header("./a", magic=b"rats\0\0\0\0"),), error="a tar header is of an unknown format"),
    Case("unknown type", (entry("./a", type=b"Q"),), error="/a is of the type b'Q', which no package may hold"),
    Case("a GNU sparse file", (entry("./a", type=b"S"),), error="/a is of the type b'S', which no package may hold"),
    Case("a pax sparse file", (pax({"GNU.sparse.major": "1"}), entry("./a")), error="it holds a sparse file, which is not taken"),
    Case("no name", (entry(""),), error="a member has no name"),
    Case("climbs", (entry("./a/../../b"),), error="'./a/../../b' climbs out with .."),
    Case("climbs at once", (entry(".."),), error="'..' climbs out with .."),
    Case("climbs after ./", (entry("./.."),), error="'./..' climbs out with .."),
    Case("climbs at the end", (entry("./a/.."),), error="'./a/..' climbs out with .."),
    Case("absolute", (entry("/etc/x"),), error="'/etc/x' is an absolute name"),
    Case("absolute by prefix", (entry("x", magic=b"ustar\x0000", prefix=b"/etc"),), error="'/etc/x' is an absolute name"),
    Case("absolute by pax", (pax({"path": "/etc/x"}), entry("./a")), error="'/etc/x' is an absolute name"),
    Case("climbing hard link", (entry("./a", type=b"1", link="../x"),), error="'../x' climbs out with .."),
    Case("absolute hard link", (entry("./a", type=b"1", link="/x"),), error="'/x' is an absolute name"),
    Case("newline", (entry("./a\nb"),), error="'/a\\nb' has a newline or a NUL in its name"),
    Case("NUL", (pax({"path": b"./a\0b"}), entry("./a")), error="'/a\\x00b' has a newline or a NUL in its name"),
    Case("long component", (entry("./" + "a" * 256),), error="a name is too long: '/" + "a" * 59 + "'…"),
    Case("long path", (entry("./" + "a/" * 2100),), error="a name is too long: '/" + "a/" * 29 + "a'…"),
    Case("empty link", (entry("./l", type=b"2"),), error="/l is a symbolic link to nothing that can be a path"),
    Case("NUL in a link", (pax({"linkpath": b"a\0b"}), entry("./l", type=b"2")), error="/l is a symbolic link to nothing that can be a path"),
    Case("content of a link", (entry("./l", "x", type=b"2", link="a"),), error="/l is not a file and has 1 bytes of content"),
    Case("content of a directory", (entry("./d/", "x", type=b"5"),), error="/d is not a file and has 1 bytes of content"),
    Case("negative size", (entry("./a", size=-1),), error="/a has a negative size"),
    Case("negative pax size", (pax({"size": "-1"}), entry("./a")), error="/a has a negative size"),
    Case("pax size in words", (pax({"size": "1_0"}), entry("./a")), error="the size of /a is not a number"),
    Case("large ids", (entry("./a", uid=65536),), error="/a belongs to 65536:0, and ids reach to 65535"),
    Case("negative ids", (entry("./a", gid=-1),), error="/a belongs to 0:-1, and ids reach to 65535"),
    Case("a number with 8", (entry("./a", mode=b"0000084\0"),), error="a mode in a tar header is not a number"),
    Case("a number with an underscore", (entry("./a", mode=b"00_0644\0"),), error="a mode in a tar header is not a number"),
    Case("a number with a sign", (entry("./a", size=b"+0000000001\0"),), error="a size in a tar header is not a number"),
    Case("a number of another base", (entry("./a", mode=b"\x90000644\0"),), error="a mode in a tar header is not a number"),
    Case("pax without a length", (entry("x", "path=./a\n", type=b"x"), entry("./a")), error="a pax header is damaged"),
    Case("pax with a wrong length", (entry("x", "99 path=./a\n", type=b"x"), entry("./a")), error="a pax header is damaged"),
    Case("pax with length zero", (entry("x", "0 path=./a\n", type=b"x"), entry("./a")), error="a pax header is damaged"),
    Case("pax without =", (entry("x", "8 path.\n", type=b"x"), entry("./a")), error="a pax header is damaged"),
    Case("global path", (pax({"path": "./a"}, type=b"g"), entry("./b")), error="a global header sets path, linkpath or size"),
    Case("a header for nobody", (pax({"path": "./a"}),), error="an extended header is followed by no member"),
    Case("a long name for nobody", (entry("x", "name\0", type=b"L"),), error="an extended header is followed by no member"),
    Case("an endless long name", (header("x", type=b"L", size=8**10),), error=f"an extended header claims {8**10} bytes"),
    Case("a negative long name", (header("x", type=b"L", size=-1),), error="an extended header claims -1 bytes"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reader(case: Case) -> None:
    content = archive(case.blocks, end=case.end)
    for size in (1, 511, 700, 1 << 20):
        if case.error:
            with pytest.raises(Malformed) as caught:
                read(content, size)
            assert str(caught.value) == case.error
        else:
            assert read(content, size) == list(case.members)


def test_content_that_is_not_taken_is_skipped() -> None:
    reader = tar.Reader(pieces(archive([entry("./a", b"x" * 3000), entry("./b", b"y" * 3000), entry("./c")]), 700))
    paths = []
    while member := reader.next():
        paths.append(member.path)
        if member.path == "/b":
            next(reader.body())
    assert paths == ["/a", "/b", "/c"]


def test_members_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    content = archive([entry(f"./{number}") for number in range(6)])
    monkeypatch.setattr(tar, "MEMBERS_MAX", 6)
    assert len(read(content)) == 6
    monkeypatch.setattr(tar, "MEMBERS_MAX", 5)
    with pytest.raises(Malformed, match="it has more than 5 members"):
        read(content)


WORDS = st.text(st.characters(exclude_characters="/\0\n", exclude_categories=["Cs"]), min_size=1, max_size=60).filter(
    lambda word: word not in (".", "..") and len(word.encode()) < 200
)
PATHS = st.lists(WORDS, min_size=1, max_size=5).map("/".join)
FORMATS = st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


@st.composite
def members(draw: st.DrawFn) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo("./" + draw(PATHS))
    info.mode = draw(st.integers(0, 0o7777))
    info.uid, info.gid = draw(st.integers(0, 65535)), draw(st.integers(0, 65535))
    info.mtime = draw(st.integers(0, 2**32 - 1))
    info.uname = draw(st.text("abcxyz-ü", max_size=12))
    info.type = draw(st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE]))
    content = b""
    if info.type == tarfile.REGTYPE:
        content = draw(st.binary(max_size=2000))
    elif info.type == tarfile.SYMTYPE:
        info.linkname = draw(PATHS)
    info.size = len(content)
    return info, content


@given(FORMATS, st.lists(members(), max_size=5), st.integers(1, 3000))
def test_what_the_library_writes_is_read_back(
    form: int, wanted: list[tuple[tarfile.TarInfo, bytes]], size: int
) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as out:
        for info, content in wanted:
            out.addfile(info, io.BytesIO(content))
    kinds = {tarfile.REGTYPE: "f", tarfile.DIRTYPE: "d", tarfile.SYMTYPE: "l"}
    expected = [
        row(
            info.name[1:], kinds[info.type], mode=info.mode, uid=info.uid, gid=info.gid, mtime=int(info.mtime),
            uname=info.uname, gname="", target=info.linkname, body=content,
        )
        for info, content in wanted
    ]  # fmt: skip
    assert read(file.getvalue(), size) == expected


WHOLE = archive([entry("./a", "hello"), pax({"path": "./b" + LONG}), entry("./x", b"y" * 600), entry("./" + LONG)])


@given(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=20))
def test_damage_is_read_or_refused_and_nothing_else(at: int, new: bytes) -> None:
    try:
        read(WHOLE[:at] + new + WHOLE[at + len(new) :])
    except Malformed:
        pass


@given(st.integers(0, len(WHOLE)))
def test_a_cut_is_refused(at: int) -> None:
    # The end mark is one block; what is cut from the padding behind it is no loss.
    end = len(WHOLE.rstrip(b"\0")) // 512 * 512 + 1024
    if at >= end:
        assert read(WHOLE[:at]) == read(WHOLE)
    else:
        with pytest.raises(Malformed):
            read(WHOLE[:at])
