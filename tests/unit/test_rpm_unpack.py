"""Packages become numbered files and a record; those that mean harm are refused with their name, and write nothing.

Each hostile case has its twin, the same package with the one wrong thing put right, which must unpack.
"""
# ruff: noqa: E501  (a case is a line)

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hosier.distro.rpm import facts, rpmfile
from hosier.distro.rpm.header import Header
from hosier.distro.rpm.unpack import unpack
from hosier.errors import PackageInvalid, StoreFailed
from kit import rpms
from kit.rpms import (
    BINARY,
    CONFIG,
    DOC,
    GHOST,
    IMMUTABLE,
    INT16,
    INT32,
    MTIME,
    NOREPLACE,
    STRING,
    STRINGS,
    TRAILER,
    Dir,
    File,
    HardLink,
    Link,
    Node,
    Parts,
    Special,
    build,
    changed,
    compress,
    header,
    join,
    newc,
    signed,
    split,
    stripped,
)

COMPRESSIONS = ("none", "gzip", "bzip2", "xz", "lzma", "zstd")
FILES: dict[str, Node] = {
    "/dev/x": Special("b", 8, 17, 0o660, group="disk"),
    "/etc/demo.conf": File("x = 1\n", flags=CONFIG | NOREPLACE, mode=0o640, group="demo"),
    "/run/demo": Special("p", mode=0o600),
    "/run/demo.socket": Special("s", flags=GHOST),
    "/usr/bin/a": File("#!/bin/sh\n", 0o4755, caps="cap_net_raw=ep"),
    "/usr/bin/b": HardLink("/usr/bin/a"),
    "/usr/bin/empty": File(""),
    "/usr/bin/games": File("x", 0o6755, user="games"),
    "/usr/bin/l": Link("../bin/a"),
    "/usr/share/doc/a\nb": File("x"),
    "/usr/share/doc/é": File(b"\0" * 70_000, flags=DOC, lang="de"),
    "/usr/share/doc/\udcff": Dir(0o1777, mtime=5),
    "/var/log/g": File(flags=GHOST, mode=0o600),
}
MEMBERS = [
    ["/dev/x", "b", 0o660, "root", "disk", MTIME, 0, None, "", "", "", [8, 17], 0, "", ""],
    ["/etc/demo.conf", "f", 0o640, "root", "demo", MTIME, 6, 0, hashlib.sha256(b"x = 1\n").hexdigest(), "", "", None, 17, "", ""],
    ["/run/demo", "p", 0o600, "root", "root", MTIME, 0, None, "", "", "", None, 0, "", ""],
    ["/run/demo.socket", "s", 0o666, "root", "root", MTIME, 0, None, "", "", "", None, 64, "", ""],
    ["/usr/bin/a", "f", 0o4755, "root", "root", MTIME, 10, 1, hashlib.sha256(b"#!/bin/sh\n").hexdigest(), "", "", None, 0, "cap_net_raw=ep", ""],
    ["/usr/bin/b", "f", 0o4755, "root", "root", MTIME, 10, 1, hashlib.sha256(b"#!/bin/sh\n").hexdigest(), "", "/usr/bin/a", None, 0, "cap_net_raw=ep", ""],
    ["/usr/bin/empty", "f", 0o644, "root", "root", MTIME, 0, 2, hashlib.sha256(b"").hexdigest(), "", "", None, 0, "", ""],
    ["/usr/bin/games", "f", 0o6755, "games", "root", MTIME, 1, 3, hashlib.sha256(b"x").hexdigest(), "", "", None, 0, "", ""],
    ["/usr/bin/l", "l", 0o777, "root", "root", MTIME, 0, None, "", "../bin/a", "", None, 0, "", ""],
    ["/usr/share/doc/a\nb", "f", 0o644, "root", "root", MTIME, 1, 4, hashlib.sha256(b"x").hexdigest(), "", "", None, 0, "", ""],
    ["/usr/share/doc/é", "f", 0o644, "root", "root", MTIME, 70_000, 5, hashlib.sha256(bytes(70_000)).hexdigest(), "", "", None, 2, "", "de"],
    ["/usr/share/doc/\udcff", "d", 0o1777, "root", "root", 5, 0, None, "", "", "", None, 0, "", ""],
    ["/var/log/g", "f", 0o600, "root", "root", MTIME, 0, None, "", "", "", None, 64, "", ""],
]  # fmt: skip


def unpacked(folder: Path, package: bytes, *, plain: bool = False, name: str = "demo.rpm", **expect: Any) -> Path:
    file, into = folder / name, folder / "into"
    file.write_bytes(package)
    into.mkdir(exist_ok=True)
    unpack(str(file), str(into), expect=expect.get("expect"), plain=plain)
    return into


def refused(folder: Path, package: bytes, **rest: Any) -> str:
    with pytest.raises(PackageInvalid) as reason:
        unpacked(folder, package, **rest)
    assert os.listdir(folder / "into") == []
    assert sorted(os.listdir(folder)) == ["demo.rpm", "into"]
    return str(reason.value)


@pytest.mark.parametrize("large", [False, True], ids=["new ascii", "large"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_package_becomes_numbered_files(tmp_path: Path, compression: str, large: bool) -> None:
    package = build(epoch=2, files=FILES, compression=compression, large=large)
    into = unpacked(tmp_path, package, expect=("demo", "2:1.0-1", "noarch"))
    meta = json.loads((into / "meta.json").read_text())
    parts = split(package)
    kept = {"header": parts.main, "signature": header(rpms.SIGNATURES, parts.signature)}
    assert meta == {
        "format": 1,
        "family": "rpm",
        "name": "demo",
        "version": "2:1.0-1",
        "architecture": "noarch",
        "info": {name: [name, 0o644, len(raw), hashlib.sha256(raw).hexdigest()] for name, raw in kept.items()},
        "members": MEMBERS,
    }
    assert {name: (into / name).read_bytes() for name in kept} == kept
    assert sorted(os.listdir(into)) == ["0", "1", "2", "3", "4", "5", "header", "meta.json", "signature"]
    modes = {row[7]: row[2] for row in MEMBERS if row[7] is not None} | {3: 0o755}  # not setuid for a wrong owner
    for number, mode in modes.items():
        at = os.lstat(into / str(number))
        assert (stat.S_IMODE(at.st_mode), at.st_mtime, at.st_uid) == (mode, MTIME, os.geteuid())
    assert (into / "5").read_bytes() == bytes(70_000)


def test_in_a_plain_store_all_can_be_read(tmp_path: Path) -> None:
    into = unpacked(tmp_path, build(files=FILES), plain=True)
    modes = {path: stat.S_IMODE(os.lstat(into / path).st_mode) for path in "012345"}
    assert modes == {"0": 0o644, "1": 0o755, "2": 0o644, "3": 0o755, "4": 0o644, "5": 0o644}
    assert json.loads((into / "meta.json").read_text())["members"] == MEMBERS


@pytest.mark.parametrize("digest", ["md5", "sha1", "sha256", "sha512"])
def test_files_are_compared_with_digests_of_any_kind(tmp_path: Path, digest: str) -> None:
    right = {"/a": File("x")}
    unpacked(tmp_path, build(files=right, digest=digest))
    wrong = build(files=right, digest=digest, tags={1035: (STRINGS, ["0" * 64])})
    with pytest.raises(PackageInvalid, match=r"/a is damaged: its digest is not what the header says"):
        unpack_again(tmp_path, wrong)


def unpack_again(folder: Path, package: bytes) -> None:
    (folder / "again").mkdir()
    (folder / "again.rpm").write_bytes(package)
    unpack(str(folder / "again.rpm"), str(folder / "again"), expect=None)


def test_a_package_without_files_is_one(tmp_path: Path) -> None:
    into = unpacked(tmp_path, build())
    assert json.loads((into / "meta.json").read_text())["members"] == []


def test_the_root_itself_can_be_in_a_package(tmp_path: Path) -> None:
    files: dict[str, Node] = {"/": Dir(0o555), "/etc": Dir()}
    into = unpacked(tmp_path, build(files=files))
    assert [row[0] for row in json.loads((into / "meta.json").read_text())["members"]] == ["/", "/etc"]


def test_files_of_old_are_listed_by_whole_names(tmp_path: Path) -> None:
    without: dict[int, Any] = {1116: None, 1117: None, 1118: None, 1027: (STRINGS, ["/a", "/b/c"])}
    package = build(files={"/a": File("x"), "/b/c": File("y")}, tags=without)
    into = unpacked(tmp_path, package)
    assert [row[0] for row in json.loads((into / "meta.json").read_text())["members"]] == ["/a", "/b/c"]


def test_members_come_in_any_order_and_hard_links_with_content_first(tmp_path: Path) -> None:
    files: dict[str, Node] = {"/a": File("x"), "/b": HardLink("/a"), "/c": File("y")}
    payload = newc("./c", b"y") + newc("./a", b"x", inode=2, links=2) + newc("/b", inode=2, links=2) + TRAILER
    into = unpacked(tmp_path, build(files=files, payload=payload))
    rows = json.loads((into / "meta.json").read_text())["members"]
    assert [(row[0], row[7], row[10]) for row in rows] == [("/a", 1, ""), ("/b", 1, "/a"), ("/c", 0, "")]


def test_a_package_with_only_md5_is_read_as_of_old(tmp_path: Path) -> None:
    package = build(
        files={"/a": File("x")},
        digest="md5",
        tags={5092: None, 5093: None, 5097: None},
        signature={269: None, 273: None},
    )
    unpacked(tmp_path, package)
    damaged = bytearray(package)
    damaged[-3] ^= 1
    (tmp_path / "into2").mkdir()
    with pytest.raises(PackageInvalid, match="its MD5 is not what its signature header says"):
        unpack_again(tmp_path, bytes(damaged))


def payload(*members: bytes, files: Mapping[str, Node] | None = None, **rest: Any) -> bytes:
    return build(files={"/a": File("x")} if files is None else files, payload=b"".join((*members, TRAILER)), **rest)


def paths(names: list[str], folders: list[str], places: list[int]) -> dict[int, Any]:
    return {1116: (INT32, places), 1117: (STRINGS, names), 1118: (STRINGS, folders)}


def named(path: str, **tags: Any) -> bytes:
    """A package whose only file has this path, split at its last slash."""
    above, _, name = path.rpartition("/")
    return payload(newc("." + path, b"x"), tags=paths([name], [above + "/"], [0]) | tags)


def resized(package: bytes, size: int) -> bytes:
    return changed(package, tags={1028: (INT32, [size])})


@dataclass(frozen=True)
class Case:
    name: str
    wrong: bytes
    right: bytes
    error: str


A = newc("./a", b"x")
ONE = payload(A)
TWO: dict[str, Node] = {"/a": File("x"), "/b": File("y")}
BOTH = payload(A, newc("./b", b"y"), files=TWO)
LINKED: dict[str, Node] = {"/a": File("x"), "/b": HardLink("/a")}
LINKS = payload(newc("./a"), newc("./b", b"x"), files=LINKED)
PARTS = split(ONE)
BOMB = bytes(80 * 1024 * 1024)


def parts(**changes: Any) -> bytes:
    return join(replace(PARTS, **changes))


def padded() -> bytes:
    """ONE with a signature header that ends in the middle of eight bytes."""
    room = next(
        size for size in range(1, 9) if len(header(62, PARTS.signature | {999: (BINARY, bytes(size))})) % 8 == 4
    )
    return parts(signature=PARTS.signature | {999: (BINARY, bytes(room))})


PADDED = padded()
HOSTILE = [
    # paths
    Case("climbing out", named("/../x"), named("/x"), "'/../' climbs out with .."),
    Case("climbing out from below", named("/a/../../x"), named("/a/x"), "'/a/../../' climbs out with .."),
    Case("a relative folder", payload(A, tags=paths(["a"], ["usr/"], [0])), named("/usr/a"), "'usr/' is not an absolute path"),
    Case("no folder", payload(A, tags=paths(["a"], [""], [0])), named("/a"), "'' is not an absolute path"),
    Case("a folder without end", payload(A, tags=paths(["a"], ["/usr"], [0])), named("/usr/a"), "'/usr' is not an absolute path"),
    Case("a doubled slash", named("//a"), named("/a"), "'//' is not a plain path"),
    Case("a dot", named("/./a"), named("/a"), "'/./' is not a plain path"),
    Case("a name that climbs", payload(A, tags=paths([".."], ["/usr/"], [0])), ONE, "a file of its folder '/usr/' has the name '..'"),
    Case("a name that is a path", payload(A, tags=paths(["b/../../a"], ["/usr/"], [0])), ONE, "a file of its folder '/usr/' has the name 'b/../../a'"),
    Case("no name", payload(A, tags=paths([""], ["/usr/"], [0])), ONE, "a file of its folder '/usr/' has the name ''"),
    Case("a folder that is not listed", payload(A, tags=paths(["a"], ["/"], [1])), ONE, "the folder of one of its files is none that it lists"),
    Case("a name too long", named("/" + "é" * 128), named("/" + "é" * 127), f"a name is too long: '/{'é' * 59}'…"),
    Case("an old name that climbs", payload(A, tags={1116: None, 1117: None, 1118: None, 1027: (STRINGS, ["/../a"])}), payload(A, tags={1116: None, 1117: None, 1118: None, 1027: (STRINGS, ["/a"])}), "'/../a/' climbs out with .."),
    Case("a file twice", payload(A, newc("./b", b"y"), files=TWO, tags=paths(["a", "a"], ["/"], [0, 0])), BOTH, "/a is there twice"),
    Case("a file twice, in folders of one name", payload(A, newc("./b", b"y"), files=TWO, tags=paths(["a", "a"], ["/", "/"], [0, 1])), BOTH, "/a is there twice"),
    Case("below a link", build(files={"/a": Link("/etc"), "/a/b": File("x")}), build(files={"/a": Dir(), "/a/b": File("x")}), "/a/b is below /a, which is a symbolic link"),
    Case("far below a link", build(files={"/a": Link("/etc"), "/a/b/c/d": File("x")}), build(files={"/a": Dir(), "/a/b/c/d": File("x")}), "/a/b/c/d is below /a, which is a symbolic link"),
    Case("a link through a link", build(files={"/a": Link("b"), "/a/c": Link("/etc"), "/b": Dir()}), build(files={"/a": Link("b"), "/b": Dir(), "/b/c": Link("/etc")}), "/a/c is below /a, which is a symbolic link"),
    Case("a folder through a link", build(files={"/a": Link("/etc"), "/a/b": Dir()}), build(files={"/a": Dir(), "/a/b": Dir()}), "/a/b is below /a, which is a symbolic link"),
    Case("below a file", build(files={"/a": File("x"), "/a/b": File("x")}), build(files={"/a": Dir(), "/a/b": File("x")}), "/a/b is below /a, which is not a directory"),
    Case("the root as a link", build(files={"/": Link("/etc")}), build(files={"/": Dir()}), "/ is not a directory"),
    # types and facts
    Case("a socket", build(files={"/a": Special("s")}), build(files={"/a": Special("s", flags=GHOST)}), "/a is of a type that no package may hold, 140000"),
    Case("no type", payload(A, tags={1030: (INT16, [0o644])}), ONE, "/a is of a type that no package may hold, 0"),
    Case("a link to nothing", build(files={"/a": Link("")}), build(files={"/a": Link("b")}), "/a is a symbolic link to nothing that can be a path"),
    Case("a link that is too long", build(files={"/a": Link("b" * 4096)}), build(files={"/a": Link("b" * 4095)}), "/a is a symbolic link to nothing that can be a path"),
    Case("a user of no name", build(files={"/a": File(user="")}), build(files={"/a": File(user="x")}), "/a belongs to ''"),
    Case("a user of a strange name", build(files={"/a": File(group="x:0")}), build(files={"/a": File(group="x")}), "/a belongs to 'x:0'"),
    Case("fewer modes than files", payload(A, newc("./b", b"y"), files=TWO, tags={1030: (INT16, [0o100644])}), BOTH, "it has 2 files and 1 values of tag 1030"),
    Case("fewer users than files", payload(A, newc("./b", b"y"), files=TWO, tags={1039: (STRINGS, ["root"])}), BOTH, "it has 2 files and 1 values of tag 1039"),
    Case("no modes", payload(A, tags={1030: None}), ONE, "it lacks the modes or folders of its files"),
    Case("modes of another type", payload(A, tags={1030: (STRINGS, ["x"])}), ONE, "the value of tag 1030 in its header is not numbers"),
    Case("an absurd count of files", payload(A, tags={1030: (INT16, [0o100644] * 400_001), 1116: (INT32, [0] * 400_001), 1117: (STRINGS, ["a"] * 400_001)}), ONE, "it has more than 400000 files"),
    Case("digests of an unknown kind", payload(A, tags={5011: (INT32, 99)}), ONE, "the digests of its files are of the unknown kind 99"),
    Case("a name that is a path of its own", changed(ONE, tags={1000: (STRING, "../demo")}), ONE, "its name is '../demo'"),
    Case("no name of its own", changed(ONE, tags={1000: None}), ONE, "its name is ''"),
    Case("a version with a slash", changed(ONE, tags={1001: (STRING, "1/2")}), ONE, "its version is '1/2'"),
    Case("a release with a dash", changed(ONE, tags={1002: (STRING, "1-2")}), ONE, "its release is '1-2'"),
    Case("an architecture with a dot", changed(ONE, tags={1022: (STRING, "x.y")}), ONE, "its architecture is 'x.y'"),
    Case("relations without versions", changed(ONE, tags={1050: (STRINGS, ["1"])}), ONE, "its requires are 3 names with 1 versions"),
    Case("a relation without a name", build(files={"/a": File("x")}, requires=[""]), ONE, "it requires what has no name"),
    Case("a relation of an absurd epoch", build(files={"/a": File("x")}, requires=["a >= 4294967296:1"]), ONE, "the epoch of '4294967296:1' is beyond 4294967295"),
    # the archive against the header
    Case("a member that is not listed", payload(A, newc("./b", b"y")), ONE, "its archive has './b', which the header does not list"),
    Case("a member that climbs", payload(A, newc("./../b", b"y")), ONE, "its archive has './../b', which the header does not list"),
    Case("a member that is missing", payload(A, files=TWO), BOTH, "its archive lacks /b"),
    Case("a member twice", payload(A, A), ONE, "its archive has /a twice"),
    Case("a ghost with content", payload(A, files={"/a": File("x", flags=GHOST)}), payload(files={"/a": File("x", flags=GHOST)}), "its archive has /a, which is a ghost"),
    Case("a longer member", payload(newc("./a", b"xy")), ONE, "/a has 2 bytes, and the header says 1"),
    Case("a shorter member", payload(newc("./a", b"")), ONE, "/a has 0 bytes, and the header says 1"),
    Case("other content", payload(newc("./a", b"y")), ONE, "/a is damaged: its digest is not what the header says"),
    Case("another type", payload(newc("./a", b"x", mode=0o120777)), ONE, "/a is of another type in the archive than in the header"),
    Case("a link elsewhere", payload(newc("./a", b"/etc/x", mode=0o120777), files={"/a": Link("/etc/y")}), payload(newc("./a", b"/etc/y", mode=0o120777), files={"/a": Link("/etc/y")}), "/a leads elsewhere in the archive than in the header"),
    Case("a folder with content", payload(newc("./a", b"x", mode=0o40755), files={"/a": Dir()}), payload(newc("./a", mode=0o40755), files={"/a": Dir()}), "/a is not a file and has 1 bytes of content"),
    Case("hard links without content", payload(newc("./a"), newc("./b"), files=LINKED), LINKS, "its archive lacks the content of /a"),
    Case("hard links with content twice", payload(newc("./a", b"x"), newc("./b", b"x"), files=LINKED), LINKS, "the content of /b is in the archive twice"),
    Case("hard links of two files", payload(A, newc("./b", b"y"), files=TWO, tags={1096: (INT32, [1, 1])}), BOTH, "/b is a hard link to /a, and is not the same file"),
    Case("a number beyond the files", payload(stripped(1, b"x")), payload(stripped(0, b"x")), "its archive has a file of the number 1, and the header lists 1"),
    Case("a number that is a ghost", payload(stripped(0), files={"/a": File(flags=GHOST)}), payload(files={"/a": File(flags=GHOST)}), "its archive has /a, which is a ghost"),
    Case("a number that is none", payload(b"07070X-0000001\0\0" + b"x\0\0\0"), payload(stripped(0, b"x")), "a member of its archive is damaged"),
    # the archive itself
    Case("another magic", payload(b"070707" + A[6:]), ONE, "a member of its archive does not begin as one"),
    Case("a number with a sign", payload(A[:54] + b"+0000001" + A[62:]), ONE, "a member of its archive is damaged"),
    Case("no name in the archive", payload(newc("", b"x")), ONE, "a member of its archive has a name of 1 bytes"),
    Case("a name of 4 GiB", payload(A[:94] + b"ffffffff" + A[102:]), ONE, "a member of its archive has a name of 4294967295 bytes"),
    Case("a name without an end", payload(A[:110] + b"./ab" + A[114:]), ONE, "the name of a member of its archive is damaged"),
    Case("a name with an end in it", payload(A[:110] + b".\0a\0" + A[114:]), ONE, "the name of a member of its archive is damaged"),
    Case("a member of 4 GiB", payload(A[:54] + b"ffffffff" + A[62:]), ONE, "/a has 4294967295 bytes, and the header says 1"),
    Case("padding that says something", payload(A[:-1] + b"!"), ONE, "a member of its archive is damaged"),
    Case("no end", build(files={"/a": File("x")}, payload=A), ONE, "its archive is cut off"),
    Case("cut off in a member", build(files={"/a": File("x")}, payload=A[:-4]), ONE, "its archive is cut off"),
    Case("something behind the end", build(files={"/a": File("x")}, payload=A + TRAILER + b"x"), build(files={"/a": File("x")}, payload=A + TRAILER + bytes(512)), "something follows the end of its archive"),
    Case("an end with content", build(files={"/a": File("x")}, payload=A + newc("TRAILER!!!", b"x")), ONE, "the end of its archive has content"),
    # compression
    Case("an unknown compression", changed(ONE, tags={1125: (STRING, "zip")}), ONE, "its payload is compressed by 'zip', which rpm does not know"),
    Case("another compression", changed(ONE, tags={1125: (STRING, "xz")}), ONE, "its compressed data is damaged: input format not supported by decoder"),
    Case("something behind the compressed", changed(ONE, payload=lambda packed: packed + b"x"), ONE, "its compressed data ends early"),
    Case("compressed and cut off", changed(ONE, payload=lambda packed: packed[:-5]), ONE, "its compressed data ends early"),
    Case("a bomb", resized(payload(newc("./a", BOMB), compression="xz"), len(BOMB)), payload(newc("./a", BOMB[: 1 << 20]), files={"/a": File(BOMB[: 1 << 20])}, compression="xz"), "it unpacks to more than 70 MiB, the most that its own fields allow"),
    Case("a bomb behind the end", build(files={"/a": File("x")}, payload=A + TRAILER + BOMB), build(files={"/a": File("x")}, payload=A + TRAILER + BOMB[:9999]), "it unpacks to more than 64 MiB, the most that its own fields allow"),
    # what kind of package
    Case("an archive of another kind", changed(ONE, tags={1124: (STRING, "tar")}), ONE, "its payload is a 'tar' archive, and only cpio is known"),
    Case("a delta", changed(ONE, tags={1124: (STRING, "drpm")}), ONE, "it is a delta of a package, not a package"),
    Case("a source package", build(files={"/a": File("x")}, source=True), ONE, "it is a source package, which cannot be installed"),
    # the file
    Case("empty", b"", ONE, "it is cut off in its lead"),
    Case("a delta with its own lead", b"drpm" + ONE[4:], ONE, "it is a delta of a package, not a package"),
    Case("another magic of the file", b"x" + ONE[1:], ONE, "it is not an RPM package"),
    Case("format 2", ONE[:4] + b"\x02" + ONE[5:], ONE, "its format is 2, and only 3 and 4 are known"),
    Case("a signature of old", ONE[:78] + b"\0\1" + ONE[80:], ONE, "its signature is of a kind before that of rpm 3"),
    Case("cut off in its signature header", ONE[:100], ONE, "it is cut off in its signature header"),
    Case("a signature header larger than the file", ONE[:300], ONE, f"its signature header says to have {len(header(62, PARTS.signature))} bytes, and the file has 204 more"),
    Case("an absurd signature header", ONE[:108] + b"\x7f" + ONE[109:], ONE, f"its signature header says to hold {0x7F000000 + int.from_bytes(ONE[108:112])} bytes"),
    Case("a header larger than the file", parts(main=PARTS.main[:16]), ONE, f"its header says to have {len(PARTS.main)} bytes, and the file has {16 + len(PARTS.payload)} more"),
    Case("an absurd header", parts(main=PARTS.main[:8] + b"\x7f" + PARTS.main[9:]), ONE, f"its header counts {0x7F000000 + int.from_bytes(PARTS.main[8:12])} entries"),
    Case("something between the headers", PADDED.replace(bytes(2) + PARTS.main[:8], b"x\0" + PARTS.main[:8]), PADDED, "something stands between its headers"),
    Case("cut off", ONE[:-1], ONE, f"it is cut off: {len(PARTS.main) + len(PARTS.payload)} bytes were to follow its signature header, and {len(PARTS.main) + len(PARTS.payload) - 1} do"),
    Case("something behind the end of the file", ONE + b"x", ONE, f"it has something behind its end: {len(PARTS.main) + len(PARTS.payload)} bytes were to follow its signature header, and {len(PARTS.main) + len(PARTS.payload) + 1} do"),
    Case("a wrong SHA-256 of the header", parts(signature=PARTS.signature | {273: (STRING, "0" * 64)}), ONE, "its header is damaged: its SHA-256 is not what its signature header says"),
    Case("a wrong SHA-1 of the header", parts(signature=PARTS.signature | {269: (STRING, "0" * 40)}), ONE, "its header is damaged: its SHA-1 is not what its signature header says"),
    Case("no digest of the header", parts(signature={1000: PARTS.signature[1000]}), ONE, "it carries no digest of its header"),
    Case("a wrong digest of the payload", changed(ONE, tags={5092: (STRINGS, ["0" * 64])}), ONE, "its payload is damaged: its SHA-256 is not what its header says"),
    Case("a weak digest of the payload", changed(ONE, tags={5093: (INT32, 2)}), ONE, "the digest of its payload is of the unknown kind 2"),
    Case("no digest of the payload", join(signed(split(changed(ONE, tags={5092: None})), changes={1004: None})), changed(ONE, tags={5092: None}), "it carries no digest of its payload"),
]  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case.name)
def test_a_hostile_package_is_refused_and_writes_nothing(tmp_path: Path, case: Case) -> None:
    (tmp_path / "right").mkdir()
    unpacked(tmp_path / "right", case.right)
    (tmp_path / "wrong").mkdir()
    assert refused(tmp_path / "wrong", case.wrong) == f"cannot unpack demo.rpm: {case.error}"


def test_another_package_than_was_expected_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, ONE, expect=("demo", "1.0-2", "noarch"))
    assert error == "cannot unpack demo.rpm: it is demo 1.0-1 noarch, and demo 1.0-2 noarch was expected"


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda path: None, "no such file or directory"),
        (lambda path: os.mkdir(path), "it is not a regular file"),
        (lambda path: os.mkfifo(path), "it is not a regular file"),
    ],
    ids=["missing", "a folder", "a pipe"],
)
def test_what_is_no_file_is_refused(tmp_path: Path, make: Callable[[str], object], error: str) -> None:
    path = str(tmp_path / "demo.rpm")
    make(path)
    with pytest.raises(PackageInvalid, match=f"cannot unpack .*demo.rpm: {error}"):
        unpack(path, str(tmp_path), expect=None)


def test_a_folder_that_cannot_be_written_is_the_stores_failure(tmp_path: Path) -> None:
    (tmp_path / "demo.rpm").write_bytes(ONE)
    with pytest.raises(StoreFailed, match=r"cannot unpack demo\.rpm: .*: no such file or directory"):
        unpack(str(tmp_path / "demo.rpm"), str(tmp_path / "into"), expect=None)


def test_what_a_header_says_is_read_without_the_payload(tmp_path: Path) -> None:
    path = rpms.write(
        tmp_path, epoch=1, arch="x86_64", files=FILES, requires=["a >= 1:2-3", "(b or c)"], recommends=["d"]
    )
    with open(path, "r+b") as file:  # which is not looked at
        file.seek(-4, os.SEEK_END)
        file.write(b"\xff\xff\xff\xff")
    main, _ = rpmfile.read(path)
    assert str(facts.nevra(main)) == "demo-1:1.0-1.x86_64"
    assert list(map(str, facts.relations(main, "requires")))[:2] == ["a >= 1:2-3", "(b or c)"]
    assert list(map(str, facts.relations(main, "provides"))) == ["demo = 1:1.0-1", "demo(x86-64) = 1:1.0-1"]
    assert list(map(str, facts.relations(main, "recommends"))) == ["d"]
    assert facts.relations(main, "suggests") == ()
    assert [file.path for file in facts.files(main)] == [row[0] for row in MEMBERS]
    assert [file.path for file in facts.files(main) if file.ghost] == ["/run/demo.socket", "/var/log/g"]


@pytest.mark.parametrize(
    "case", [each for each in HOSTILE if each.wrong[96:104] == rpms.MAGIC], ids=lambda case: case.name
)
def test_what_is_wrong_in_a_header_is_refused_by_a_reader_too(tmp_path: Path, case: Case) -> None:
    (tmp_path / "demo.rpm").write_bytes(case.wrong)
    try:
        rpmfile.read(str(tmp_path / "demo.rpm"))
    except PackageInvalid as reason:
        assert str(reason) == f"cannot read demo.rpm: {case.error}"


def test_a_package_with_its_own_lead_only_is_a_package(tmp_path: Path) -> None:
    """Nothing but its magic, format and kind of signature counts in a lead."""
    lead = bytearray(PARTS.lead)
    lead[10:76] = b"\xff" * 66
    unpacked(tmp_path, join(Parts(bytes(lead), PARTS.signature, PARTS.main, PARTS.payload)))


WHOLE = {compression: build(files=FILES, compression=compression) for compression in COMPRESSIONS}
fuzzed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)


@fuzzed
@given(st.sampled_from(COMPRESSIONS), st.data())
def test_a_damaged_package_is_refused(tmp_path: Path, compression: str, data: st.DataObject) -> None:
    """Whatever byte is another: it is refused, or it was in the lead, or in what nothing was ever said about."""
    package = bytearray(WHOLE[compression])
    how = data.draw(st.sampled_from(["flip", "cut", "extend"]))
    if how == "flip":
        at = data.draw(st.integers(0, len(package) - 1))
        package[at] ^= data.draw(st.integers(1, 255))
    elif how == "cut":
        del package[data.draw(st.integers(0, len(package) - 1)) :]
    else:
        package += data.draw(st.binary(min_size=1, max_size=20))
    (tmp_path / "demo.rpm").write_bytes(package)
    into = tmp_path / "into"
    into.mkdir(exist_ok=True)
    try:
        unpack(str(tmp_path / "demo.rpm"), str(into), expect=None)
    except PackageInvalid as reason:
        assert str(reason).startswith("cannot unpack demo.rpm: ")
        assert os.listdir(into) == []
    else:
        assert how == "flip"
        assert at < len(package) - len(split(WHOLE[compression]).main) - len(split(WHOLE[compression]).payload)
        assert json.loads((into / "meta.json").read_text())["members"] == MEMBERS
        for path in into.iterdir():
            path.unlink()


@fuzzed
@given(st.data())
def test_damage_under_right_digests_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    """Who makes a package makes its digests too: header and archive stand by themselves."""
    whole = split(WHOLE["none"])
    main, body = bytearray(whole.main), bytearray(whole.payload)
    for _ in range(data.draw(st.integers(1, 3))):
        part = data.draw(st.sampled_from([main, body]))
        part[data.draw(st.integers(16 if part is main else 0, len(part) - 1))] = data.draw(st.integers(0, 255))
    try:
        tags = {tag: value for tag, value in rpms.read(bytes(main)).items() if tag != IMMUTABLE}
        tags[5092] = (STRINGS, [hashlib.sha256(bytes(body)).hexdigest()])
        main = bytearray(header(IMMUTABLE, tags))
    except Exception:  # the kit reads only what is right
        pass
    package = join(signed(Parts(whole.lead, {}, bytes(main), bytes(body))))
    (tmp_path / "demo.rpm").write_bytes(package)
    into = tmp_path / "into"
    into.mkdir(exist_ok=True)
    try:
        unpack(str(tmp_path / "demo.rpm"), str(into), expect=None)
    except PackageInvalid as reason:
        assert str(reason).startswith("cannot unpack demo.rpm: ")
        assert os.listdir(into) == []
    else:
        meta = json.loads((into / "meta.json").read_text())
        Header.parse((into / "header").read_bytes())
        for row in meta["members"]:
            if row[7] is not None:
                assert hashlib.sha256((into / str(row[7])).read_bytes()).hexdigest() == row[8]
        for path in into.iterdir():
            path.unlink()


def test_the_kit_compresses_as_it_says() -> None:
    magics = {"gzip": b"\x1f\x8b", "bzip2": b"BZh", "xz": b"\xfd7zXZ", "lzma": b"\x5d\0\0", "zstd": b"\x28\xb5\x2f\xfd"}
    assert all(compress(b"x", name).startswith(magic) for name, magic in magics.items())
