from __future__ import annotations

import hashlib
import os
import socket
import stat
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosier.inspect.scan import LONGEST, Scan, _parts, scan
from hosier.inspect.tree import FolderTree, names, owners
from hosier.linux.rooted import Root
from hosier.pack import directory
from hosier.store.manifest import Entry, dumps, loads, read_line
from kit import unpacked
from kit.cli import SOURCES

UID, GID = os.geteuid(), os.getegid()
ROOT = UID == 0


def test_a_packed_image_is_scanned_as_its_manifest_has_it(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    files: dict[str, Entry] = {"/": Entry("/", "d", 0o755, UID, GID, 1000)}

    def add(path: str, kind: str, mode: int, content: bytes = b"", **more: object) -> None:
        uid, gid = (33, 44) if ROOT and "own" in path else (UID, GID)
        if kind == "f":
            more |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        files[path] = Entry(path, kind, mode, uid, gid, 1000, **more)  # type: ignore[arg-type]

    add("/a", "d", 0o750)
    add("/a-b", "f", 0o644, b"between a and what is in it")
    add("/a/b", "d", 0o1777)
    add("/a/b/own", "f", 0o4755, b"setuid")
    add("/a/b/zero", "f", 0o600)
    add("/a.c", "l", 0o777, target="/nowhere")
    add("/a/pipe", "p", 0o640)
    add("/name\n\x1b[31m", "f", 0o644, b"odd")
    add(os.fsdecode(b"/not\xffutf8"), "f", 0o644, b"bytes")
    add("/other", "f", 0o755, b"one inode")
    add("/x/own", "d", 0o700)
    add("/x", "d", 0o755)
    if ROOT:
        add("/null", "c", 0o666, rdev=(1, 3))
        add("/caps", "f", 0o755, b"x", xattrs=(("user.a", "00ff"), ("user.b", "")))
    add("/x/linked", "f", 0o755, b"one inode", hardlink="/other")
    for path in sorted(files):
        entry = files[path]
        real = source / path[1:]
        if entry.kind == "d" and path != "/":
            real.mkdir()
        elif entry.kind == "f":
            real.write_bytes({27: b"between a and what is in it", 6: b"setuid"}.get(entry.size, b""))
    contents = {"/a-b": b"between a and what is in it", "/a/b/own": b"setuid", "/other": b"one inode"}
    contents |= {"/x/linked": b"one inode", "/caps": b"x", "/name\n\x1b[31m": b"odd"}
    contents[os.fsdecode(b"/not\xffutf8")] = b"bytes"
    for path, content in contents.items():
        if path in files:
            (source / path[1:]).write_bytes(content)
    entries = [files[path] for path in sorted(files)]
    written = directory.write(str(tmp_path / "out"), str(source), entries, epoch=500)
    assert written.notes == ()
    found = list(scan(str(tmp_path / "out")))
    assert found == [replace(entry, mtime=500) for entry in entries]
    assert list(loads(dumps(found)).values()) == found == [read_line(line) for line in dumps(found).splitlines()]
    with Scan(str(tmp_path / "out")) as reading:
        assert [replace(each, sha256="") for each in found] == list(reading)
        assert reading.size == sum(e.size for e in entries if not e.hardlink)
        assert (reading.unreadable, reading.vanished, reading.mounts) == ([], [], [])


@settings(max_examples=40, deadline=None)
@given(
    st.sets(
        st.lists(st.sampled_from(["a", "a-", "a.b", "b", "-", "\x01", "é", "\udc80"]), min_size=1, max_size=4).map(
            tuple
        ),
        max_size=12,
    )
)
def test_any_folder_is_read_in_the_order_of_a_manifest(paths: set[tuple[str, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for parts in sorted(paths):
            os.makedirs(os.path.join(folder, *parts[:-1]), exist_ok=True)
            place = os.path.join(folder, *parts)
            if any(other[: len(parts)] == parts for other in paths - {parts}):
                os.makedirs(place, exist_ok=True)
            else:
                Path(place).write_text(str(len(parts)))
        found = list(scan(folder))
        assert [entry.path for entry in found] == sorted(entry.path for entry in found)
        assert {entry.path: entry for entry in found} == unpacked.scan(folder)


def hostile(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (root / "out").symlink_to(outside)
    (root / "up").symlink_to("../outside/secret")
    (root / "loop").symlink_to("loop")
    (root / "etc/passwd").symlink_to(outside / "secret")
    os.mkfifo(root / "pipe")
    os.mkfifo(root / "etc/group")
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.open(root, os.O_RDONLY)
        try:
            bound.bind(f"/proc/self/fd/{here}/socket")
        finally:
            os.close(here)
    with open(root / "sparse", "wb") as file:
        file.truncate(1 << 43)
    return root


def test_a_hostile_folder_is_not_left_and_nothing_waits(tmp_path: Path) -> None:
    root = hostile(tmp_path)
    with Scan(str(root)) as reading:
        found = {entry.path: entry for entry in reading}
    assert {path: entry.kind for path, entry in found.items()} == {
        "/": "d",
        "/etc": "d",
        "/etc/group": "p",
        "/etc/passwd": "l",
        "/loop": "l",
        "/out": "l",
        "/pipe": "p",
        "/socket": "s",
        "/sparse": "f",
        "/up": "l",
    }
    assert found["/sparse"].size == 1 << 43
    with Root.at(str(root)) as opened:
        assert names(opened, "/etc/passwd") == names(opened, "/etc/group") == {}
        assert owners(opened) == {}


@pytest.mark.parametrize("depth", [100, 600])
def test_deep_folders_are_read_to_their_end(tmp_path: Path, depth: int) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d" * 8, dir_fd=here)
        below = os.open("d" * 8, os.O_RDONLY, dir_fd=here)
        for name in ("a", "z"):
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.close(here)
        here = below
    os.close(here)
    with Scan(str(tmp_path)) as reading:
        found = [entry.path for entry in reading]
        count = len(os.listdir("/proc/self/fd"))
        assert reading.vanished == [] and reading.mounts == [] and reading.unreadable == []
    assert found == sorted(found)
    assert len(found) == 3 * depth + 1
    assert count < 200


def test_nesting_without_end_is_told(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    name = "n" * 250
    for _ in range(LONGEST // 250 + 3):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with Scan(str(tmp_path)) as reading:
        assert max(len(entry.path) for entry in reading) < LONGEST + 300
        assert [each.reason for each in reading.unreadable] == ["folders are nested too deep"]


def test_pieces_of_a_path_are_short_and_whole() -> None:
    path = "/".join(["", *("é" * 100 for _ in range(100))])
    pieces = list(_parts(path))
    assert "/" + "/".join(pieces) == path
    assert max(len(piece.encode()) for piece in pieces) < 2300
    assert list(_parts("")) == []


def test_what_vanishes_while_it_is_read_is_noted(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text(name)
    found = []
    with Scan(str(tmp_path)) as reading:
        for entry in reading:
            found.append(entry.path)
            if entry.path == "/a":
                subprocess.run(["rm", "-r", tmp_path / "b", tmp_path / "c"], check=True)
                (tmp_path / "c").symlink_to("d")
            if entry.path == "/d/x":
                (tmp_path / "d/x").unlink()
                assert reading.digest(entry) == ""
    assert found == ["/", "/a", "/a/x", "/c", "/d", "/d/x"]
    assert reading.vanished == ["/b", "/b", "/c", "/d/x"]
    assert reading.unreadable == []


def test_a_file_that_is_written_while_it_is_read_is_noted(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("one")
    with Scan(str(tmp_path)) as reading:
        for entry in reading:
            if entry.kind == "f":
                with open(tmp_path / "log", "a") as file:
                    file.write("two")
                reading.digest(entry)
    assert reading.vanished == ["/log"]


def test_a_folder_that_was_swapped_is_not_read_as_the_one_before(tmp_path: Path) -> None:
    here = tmp_path
    for _ in range(80):
        here = here / "d"
        here.mkdir()
        (here / "z").write_text("inside")
    with Scan(str(tmp_path)) as reading:
        for entry in reading:
            if entry.path.count("/d") == 80 and entry.path.endswith("/d"):
                (tmp_path / "d/d").rename(tmp_path / "gone")
                (tmp_path / "d/d").mkdir()
                (tmp_path / "d/d/z").write_text("another")
    # the outer ones had been closed; those whose way leads through the swapped folder are told
    assert f"/d/d{'/d' * 3}/z" in reading.vanished


@pytest.mark.skipif(not ROOT, reason="mounts need root")
def test_what_is_mounted_inside_is_not_entered(tmp_path: Path) -> None:
    script = """
import sys
from hosier.inspect.scan import Scan
with Scan(sys.argv[1]) as reading:
    print([(e.path, reading.digest(e) if e.kind == "f" else "") for e in reading], reading.mounts)
"""
    (tmp_path / "r/proc").mkdir(parents=True)
    (tmp_path / "r/same").mkdir()
    (tmp_path / "r/file").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/inside").write_text("y")
    shell = 'mount -t proc proc "$1/r/proc" && mount --bind "$1/other" "$1/r/same" && '
    shell += 'mount --bind /etc/passwd "$1/r/file" && exec "$2" -c "$3" "$1/r"'
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", shell, "sh", tmp_path, sys.executable, script],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ("[('/', ''), ('/file', ''), ('/proc', ''), ('/same', '')] ['/file', '/proc', '/same']\n")


@pytest.mark.skipif(ROOT, reason="root may read everything")
def test_what_may_not_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    (tmp_path / "file").write_text("x")
    (tmp_path / "file").chmod(0)
    with Scan(str(tmp_path)) as reading:
        for entry in reading:
            if entry.kind == "f":
                assert reading.digest(entry) == ""
    (tmp_path / "closed").chmod(0o700)
    assert [(each.path, each.reason) for each in reading.unreadable] == [
        ("/closed", "permission denied"),
        ("/file", "permission denied"),
    ]


def test_the_folder_named_may_be_reached_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r/x").write_text("x")
    (tmp_path / "l").symlink_to("r")
    assert [entry.path for entry in scan(str(tmp_path / "l"))] == ["/", "/x"]
    with pytest.raises(OSError):
        Scan(str(tmp_path / "r/x"))


def test_owners_come_from_dpkgs_lists(tmp_path: Path) -> None:
    info = tmp_path / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/sh").write_text("")
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "lib").symlink_to("/usr/lib")
    (info / "dash.list").write_text("/.\n/bin\n/bin/sh\n/etc/moved\n")
    (info / "tool:amd64.list").write_text("/.\n/lib/tool\n/etc/moved\n")
    (info / "odd.conffiles").write_text("/etc/x\n")
    (info.parent / "diversions").write_text("/etc/moved\n/etc/moved.real\ntool\n")
    with Root.at(str(tmp_path)) as root:
        assert owners(root) == {  # not /bin: dash ships a folder, and a link stands for it
            "/usr/bin/sh": "dash",
            "/etc/moved.real": "dash",
            "/usr/lib/tool": "tool:amd64",
            "/etc/moved": "tool:amd64",
        }
    with ExitStack() as stack:
        tree = FolderTree(str(tmp_path), stack=stack)
        found = [e for e in tree.entries() if isinstance(e, Entry)]
        assert {e.path: e.package for e in found if e.package} == {"/usr/bin/sh": "dash"}
        assert tree.epoch is None


def test_modes_and_kinds(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("")
    (tmp_path / "s").chmod(0o6711)
    entry = next(e for e in scan(str(tmp_path)) if e.path == "/s")
    assert (entry.mode, stat.S_IMODE(os.stat(tmp_path / "s").st_mode)) == (0o6711, 0o6711)
    assert (entry.size, entry.sha256) == (0, hashlib.sha256(b"").hexdigest())
