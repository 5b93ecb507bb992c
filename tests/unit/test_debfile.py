"""Unpacking right packages: every fact is recorded, every blob is final."""

# ruff: noqa: E501  (a case is a line)
from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosier.distro.deb import control
from hosier.distro.deb.debfile import read_control, unpack
from hosier.distro.malformed import Malformed
from hosier.errors import PackageInvalid, StoreFailed
from kit.debs import MTIME, Dir, File, HardLink, Link, Node, ar, build_deb, control_blocks, deb_bytes, entry, tar

ME = {"uid": os.geteuid(), "gid": os.getegid()}
COMPRESSIONS = ["xz", "gz", "zst", "none", "bz2", "lzma"]


def sha(content: bytes | str) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def unpacked(folder: Path, content: bytes, expect: tuple[str, str, str] | None = None) -> tuple[Any, Path]:
    """Unpack a package's bytes in `folder`: the record, and where the blobs are."""
    deb, into = folder / "x.deb", folder / "into"
    deb.write_bytes(content)
    into.mkdir()
    unpack(str(deb), str(into), expect=expect)
    return json.loads((into / "meta.json").read_text()), into


FILES: Mapping[str, Node | bytes | str] = {
    "/": Dir(**ME),
    "/etc": Dir(**ME),
    "/etc/demo.conf": File("a = 1\n", **ME),
    "/usr": Dir(**ME),
    "/usr/bin": Dir(0o2755, **ME, gname="staff"),
    "/usr/bin/demo": File(b"\x7fELF", 0o4755, mtime=1_500_000_000, **ME),
    "/usr/bin/again": HardLink("/usr/bin/demo"),
    "/usr/bin/third": HardLink("/usr/bin/again"),
    "/usr/bin/\udcff": File("", 0o600, **ME),
    "/usr/lib": Link("../lib", **ME),
}
OWNER = (ME["uid"], ME["gid"], MTIME)
SCRIPT = "#!/bin/sh\nset -e\n"
CONTROL = "Package: demo\nVersion: 1:2.0~rc1-3\nArchitecture: amd64\nMaintainer: Nobody <nobody@example.org>\nDescription: demo for a test\n"


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_everything_is_recorded(tmp_path: Path, compression: str) -> None:
    parts = control_blocks(CONTROL, conffiles=["/etc/demo.conf"], scripts={"postinst": File(SCRIPT, 0o755, **ME)})
    mine = [
        entry("./control", CONTROL, **ME),
        entry("./conffiles", "/etc/demo.conf\nremove-on-upgrade /etc/old\n", **ME),
    ]
    content = deb_bytes(files=FILES, control=[*mine, parts[-1]], compression=compression)
    meta, into = unpacked(tmp_path, content, ("demo", "1:2.0~rc1-3", "amd64"))
    named = ("root", "root")
    assert meta == {
        "format": 1,
        "name": "demo",
        "version": "1:2.0~rc1-3",
        "architecture": "amd64",
        "control": CONTROL,
        "info": {
            "conffiles": [0, 0o644, 42, sha("/etc/demo.conf\nremove-on-upgrade /etc/old\n")],
            "postinst": [1, 0o755, 17, sha(SCRIPT)],
        },
        "conffiles": {"/etc/demo.conf": hashlib.md5(b"a = 1\n").hexdigest()},
        "members": [
            ["/", "d", 0o755, *OWNER, 0, None, "", "", "", None, *named],
            ["/etc", "d", 0o755, *OWNER, 0, None, "", "", "", None, *named],
            ["/etc/demo.conf", "f", 0o644, *OWNER, 6, 2, sha("a = 1\n"), "", "", None, *named],
            ["/usr", "d", 0o755, *OWNER, 0, None, "", "", "", None, *named],
            ["/usr/bin", "d", 0o2755, *OWNER, 0, None, "", "", "", None, "root", "staff"],
            ["/usr/bin/demo", "f", 0o4755, *OWNER[:2], 1_500_000_000, 4, 3, sha("\x7fELF"), "", "", None, *named],
            ["/usr/bin/again", "f", 0o4755, *OWNER[:2], 1_500_000_000, 4, 3, sha("\x7fELF"), "", "/usr/bin/demo", None, *named],
            ["/usr/bin/third", "f", 0o4755, *OWNER[:2], 1_500_000_000, 4, 3, sha("\x7fELF"), "", "/usr/bin/demo", None, *named],
            ["/usr/bin/\udcff", "f", 0o600, *OWNER, 0, 4, sha(""), "", "", None, *named],
            ["/usr/lib", "l", 0o777, *OWNER, 0, None, "", "../lib", "", None, *named],
        ],
        "through_links": [],
    }  # fmt: skip
    assert sorted(os.listdir(into)) == ["0", "1", "2", "3", "4", "meta.json"]
    for row in [
        *meta["members"],
        *([name, "f", mode, *OWNER, size, blob] for name, (blob, mode, size, _) in meta["info"].items()),
    ]:
        if row[7] is not None:
            at = (into / str(row[7])).stat()
            assert (stat.S_IMODE(at.st_mode), at.st_uid, at.st_gid, at.st_mtime_ns, at.st_size) == (
                *row[2:5],
                row[5] * 10**9,
                row[6],
            )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_files_are_given_away_and_keep_setuid(tmp_path: Path) -> None:
    meta, into = unpacked(tmp_path, deb_bytes(files={"/x": File("x", 0o6755, uid=33, gid=65535)}))
    at = (into / str(meta["members"][-1][7])).stat()
    assert (at.st_uid, at.st_gid, stat.S_IMODE(at.st_mode)) == (33, 65535, 0o6755)


def test_the_umask_has_no_say(tmp_path: Path) -> None:
    before = os.umask(0o777)
    try:
        unpack_to = tmp_path / "into"
        os.mkdir(unpack_to)
        os.chmod(unpack_to, 0o700)
        build = tmp_path / "x.deb"
        build_deb(
            build, files={"/": Dir(**ME), "/x": File("x", 0o666, **ME)}, control=[entry("./control", CONTROL, **ME)]
        )
        os.chmod(build, 0o600)
        unpack(str(build), str(unpack_to), expect=None)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(unpack_to / "0").st_mode) == 0o666


def test_members_that_begin_with_an_underscore_are_ignored(tmp_path: Path) -> None:
    blocks = [entry("./control", CONTROL)]
    members = [
        ("debian-binary", b"2.1\nnew\n"),
        ("_a", b"x"),
        ("control.tar", tar(blocks)),
        ("_b", b""),
        ("data.tar", tar([])),
        ("later", b""),
    ]
    meta, _ = unpacked(tmp_path, ar(members))
    assert (meta["name"], meta["members"]) == ("demo", [])


def test_several_streams_one_after_the_other_are_one(tmp_path: Path) -> None:
    from kit.debs import compress

    content = tar([entry("./a", b"x" * 3000, **ME)])
    for number, compression in enumerate(["xz", "gz", "zst", "bz2"]):
        split = compress(content[:700], compression) + compress(content[700:], compression)
        members = [
            ("debian-binary", b"2.0\n"),
            ("control.tar", tar([entry("./control", CONTROL)])),
            (f"data.tar.{compression}", split),
        ]
        folder = tmp_path / str(number)
        folder.mkdir()
        meta, _ = unpacked(folder, ar(members))
        assert [(row[0], row[6], row[8]) for row in meta["members"]] == [("/a", 3000, sha("x" * 3000))]


def test_a_conffile_that_is_a_hard_link(tmp_path: Path) -> None:
    files = {"/": Dir(**ME), "/etc/a": File("a", **ME), "/etc/b": HardLink("/etc/a")}
    control = [entry("./control", CONTROL, **ME), entry("./conffiles", "/etc/b\n/etc/missing\n", **ME)]
    meta, _ = unpacked(tmp_path, deb_bytes(files=files, control=control))
    assert meta["conffiles"] == {"/etc/b": hashlib.md5(b"a").hexdigest()}


def test_read_control(tmp_path: Path) -> None:
    deb = tmp_path / "x.deb"
    build_deb(deb, "demo", "1.0", fields={"Depends": "a (>= 1),\n b", "Installed-Size": "7"})
    found = read_control(str(deb))
    assert (found.name, found.version, found.architecture, found.installed_size) == ("demo", "1.0", "all", 7)
    assert found["DEPENDS"] == "a (>= 1),\n b"
    assert found.get("Recommends") is None
    assert found.raw.startswith("Package: demo\nVersion: 1.0\n")


def test_reading_the_control_file_needs_no_data(tmp_path: Path) -> None:
    deb = tmp_path / "x.deb"
    members = [
        ("debian-binary", b"2.0\n"),
        ("control.tar", tar([entry("./control", CONTROL)])),
        ("data.tar.xz", b"rubbish"),
    ]
    deb.write_bytes(ar(members))
    assert read_control(str(deb)).name == "demo"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    deb = tmp_path / "x.deb"
    build_deb(deb)
    with pytest.raises(StoreFailed) as caught:
        unpack(str(deb), str(tmp_path / "missing"), expect=None)
    assert str(caught.value) == f"cannot unpack x.deb: {tmp_path}/missing: No such file or directory"


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(descriptor: int, content: memoryview) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    content = deb_bytes(files={"/": Dir(**ME), "/x": File("x", **ME)})
    deb, into = tmp_path / "x.deb", tmp_path / "into"
    deb.write_bytes(content)
    into.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(StoreFailed) as caught:
            unpack(str(deb), str(into), expect=None)
    assert (str(caught.value), caught.value.hint) == (
        "cannot unpack x.deb: No space left on device",
        "make room, or run `hosier gc`",
    )
    assert not (into / "meta.json").exists()


def test_packages_are_built_the_same_twice() -> None:
    assert deb_bytes(files=FILES, conffiles=["/etc/demo.conf"]) == deb_bytes(files=FILES, conffiles=["/etc/demo.conf"])


CONTROLS = [
    ("fields", b"Package: a\nVersion: 1\nArchitecture: all\nX: 1\n 2\n", {"package": "a", "version": "1", "architecture": "all", "x": "1\n 2"}),
    ("blank lines around", b"\n\nPackage: a\nVersion: 1\nArchitecture: all\n\n\n", {"package": "a", "version": "1", "architecture": "all"}),
    ("comments", b"# x\nPackage: a\nVersion: 1\nArchitecture: all", {"package": "a", "version": "1", "architecture": "all"}),
    ("bytes that are not UTF-8", b"Package: a\nVersion: 1\nArchitecture: all\nX: \xff", {"package": "a", "version": "1", "architecture": "all", "x": "\udcff"}),
    ("empty", b"", "its control file has no field Package"),
    ("two paragraphs", b"Package: a\nVersion: 1\nArchitecture: all\n\nPackage: b\n", "its control file has a second paragraph in line 5"),
    ("a continuation of nothing", b" x\n", "its control file begins with a continuation in line 1"),
    ("no colon", b"Package: a\nVersion\n", "its control file is damaged in line 2"),
    ("a field that begins with -", b"-Package: a\n", "its control file is damaged in line 1"),
    ("twice", b"Package: a\nPACKAGE: b\n", "its control file has the field PACKAGE twice"),
    ("NUL", b"Package: a\0\n", "its control file holds a NUL"),
    ("no version", b"Package: a\nArchitecture: all\n", "its control file has no field Version"),
    ("no architecture", b"Package: a\nVersion: 1\n", "its control file has no field Architecture"),
    ("a name with a slash", b"Package: ../a\nVersion: 1\nArchitecture: all\n", "its Package cannot be '../a'"),
    ("a name with a blank", b"Package: a b\nVersion: 1\nArchitecture: all\n", "its Package cannot be 'a b'"),
    ("a name over two lines", b"Package: a\n b\nVersion: 1\nArchitecture: all\n", "its Package cannot be 'a\\n b'"),
    ("a version with a slash", b"Package: a\nVersion: 1/2\nArchitecture: all\n", "its Version cannot be '1/2'"),
    ("an architecture with dots", b"Package: a\nVersion: 1\nArchitecture: ..\n", "its Architecture cannot be '..'"),
    ("a size in words", b"Package: a\nVersion: 1\nArchitecture: all\nInstalled-Size: much\n", "its Installed-Size cannot be 'much'"),
    ("a negative size", b"Package: a\nVersion: 1\nArchitecture: all\nInstalled-Size: -1\n", "its Installed-Size cannot be '-1'"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "raw", "expected"), CONTROLS, ids=[case[0] for case in CONTROLS])
def test_control_files(name: str, raw: bytes, expected: dict[str, str] | str) -> None:
    if isinstance(expected, str):
        with pytest.raises(Malformed) as caught:
            control.parse(raw)
        assert str(caught.value) == expected
    else:
        assert dict(control.parse(raw)) == expected


SMALL = {name: deb_bytes(files=FILES, scripts={"postinst": SCRIPT}, conffiles=["/etc/demo.conf"], compression=name) for name in COMPRESSIONS}  # fmt: skip


@pytest.fixture(autouse=True)
def _anyone(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user may not give files away; the owners are looked at by tests of root."""
    if os.geteuid() != 0:
        monkeypatch.setattr(os, "fchown", lambda descriptor, uid, gid: None)


def result(folder: Path, content: bytes) -> str | None:
    """The record of a package, None when it was refused; any other exception is the test's failure."""
    import tempfile

    with tempfile.TemporaryDirectory(dir=folder) as place:
        try:
            meta, into = unpacked(Path(place), content)
        except PackageInvalid as refused:
            assert str(refused).startswith("cannot unpack x.deb: ")
            assert sorted(os.listdir(place)) == ["into", "x.deb"]
            assert not os.path.exists(f"{place}/into/meta.json")
            return None
        blobs = {name: sha((into / name).read_bytes()) for name in sorted(os.listdir(into)) if name != "meta.json"}
        return json.dumps([meta, blobs])


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_cut_at_any_offset_is_refused(tmp_path_factory: pytest.TempPathFactory, compression: str) -> None:
    folder = tmp_path_factory.mktemp("cut")
    whole = SMALL[compression]
    step = 1 if len(whole) < 3000 else 97
    for at in range(0, len(whole) - 1, step):
        assert result(folder, whole[:at]) is None, at


# With no checksum of its own (none, lzma) a changed content cannot be seen; the package's digest is there for that.
@given(st.sampled_from(COMPRESSIONS), st.data())
@settings(deadline=None, max_examples=300)
def test_damage_is_refused_or_does_no_harm(
    tmp_path_factory: pytest.TempPathFactory, compression: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    whole = SMALL[compression]
    at = data.draw(st.integers(0, len(whole) - 1))
    bits = data.draw(st.integers(1, 255))
    found = result(folder, whole[:at] + bytes([whole[at] ^ bits]) + whole[at + 1 :])
    if found is not None and compression not in ("none", "lzma"):
        assert found == result(folder, whole)


@given(st.sampled_from(COMPRESSIONS), st.data())
@settings(deadline=None, max_examples=200)
def test_larger_damage_raises_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, compression: str, data: st.DataObject
) -> None:
    whole = SMALL[compression]
    begin = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(begin, len(whole)))
    new = data.draw(st.binary(max_size=80))
    result(tmp_path_factory.getbasetemp(), whole[:begin] + new + whole[end:])


NAMES = st.text("abcXYZ.-_ü~ ", min_size=1, max_size=8).filter(lambda name: name not in (".", ".."))


@given(
    st.dictionaries(
        NAMES.map("/".__add__),
        st.one_of(
            st.builds(File, st.binary(max_size=3000), st.sampled_from([0o644, 0o755, 0o4755, 0o400]), st.just(ME["uid"]), st.just(ME["gid"])),
            st.builds(Link, st.text("abc/.", min_size=1, max_size=200)),
            st.builds(Dir, st.sampled_from([0o755, 0o1777])),
        ),
        max_size=6,
    ),
    st.sampled_from(COMPRESSIONS),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_what_was_packed_is_unpacked(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, Node], compression: str
) -> None:
    found = result(tmp_path_factory.getbasetemp(), deb_bytes(files=files, compression=compression))
    assert found is not None
    meta, blobs = json.loads(found)
    expected: dict[str, tuple[object, ...]] = {"/": ("d", 0o755, "", "")}
    for path, node in files.items():
        match node:
            case File(content=content):
                assert isinstance(content, bytes)
                expected[path] = ("f", node.mode, sha(content), "")
            case Link(target=target):
                expected[path] = ("l", node.mode, "", target)
            case _:
                expected[path] = ("d", node.mode, "", "")  # type: ignore[union-attr]
    assert {row[0]: (row[1], row[2], row[8], row[9]) for row in meta["members"]} == expected
    assert all(blobs[str(row[7])] == row[8] for row in meta["members"] if row[7] is not None)
