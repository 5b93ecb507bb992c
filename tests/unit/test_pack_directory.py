from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest

from hosier.errors import StoreFailed
from hosier.linux import beside
from hosier.pack import directory
from hosier.store.manifest import Entry

EPOCH = 1_700_000_000
UID, GID = os.geteuid(), os.getegid()
BIG = b"b" * 300_000


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


TREE = [
    Entry("/", "d", 0o711, UID, GID, 7),
    Entry("/closed", "d", 0o500, UID, GID, 8),
    Entry("/closed/big", "f", 0o4755, UID, GID, EPOCH + 50, size=len(BIG), sha256=sha(BIG)),
    Entry("/closed/twin", "f", 0o4755, UID, GID, EPOCH + 50, size=len(BIG), sha256=sha(BIG), hardlink="/closed/big"),
    Entry("/empty", "f", 0o600, UID, GID, 9, xattrs=(("user.hosier", "00ff"),)),
    Entry("/link", "l", 0o777, UID, GID, 10, target="/closed/big"),
    Entry("/pipe", "p", 0o640, UID, GID, 11),
]


@pytest.fixture
def root(tmp_path: Path) -> str:
    root = tmp_path / "root"
    (root / "closed").mkdir(parents=True)
    (root / "closed/big").write_bytes(BIG)
    (root / "empty").write_bytes(b"")
    return str(root)


def described(base: str, tree: list[Entry]) -> list[tuple[object, ...]]:
    found = []
    for entry in tree:
        path = base + entry.path
        status = os.lstat(path)
        found.append(
            (
                entry.path,
                stat.S_IMODE(status.st_mode),
                status.st_uid,
                status.st_gid,
                status.st_mtime,
                status.st_size if stat.S_ISREG(status.st_mode) else 0,
                os.readlink(path) if stat.S_ISLNK(status.st_mode) else "",
            )
        )
    return found


def test_a_folder_is_what_the_manifest_says(root: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    told: list[int] = []
    written = directory.write(str(out), root, list(reversed(TREE)), epoch=EPOCH, advance=told.append)
    assert (written.paths, written.size) == (7, len(BIG))
    assert sum(told) == len(BIG)
    wanted = [
        (each.path, each.mode, each.uid, each.gid, min(each.mtime, EPOCH), each.size, each.target) for each in TREE
    ]
    assert described(str(out), TREE) == wanted
    assert (out / "closed/big").read_bytes() == BIG
    assert (out / "closed/big").stat().st_ino == (out / "closed/twin").stat().st_ino
    assert (out / "closed/big").stat().st_ino != os.stat(root + "/closed/big").st_ino
    if not written.notes:
        assert os.getxattr(out / "empty", "user.hosier") == b"\0\xff"
    assert stat.S_ISFIFO((out / "pipe").lstat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["out", "root"]


def missing_file(root: str, out: Path) -> list[Entry]:
    os.unlink(root + "/closed/big")
    return TREE


def not_empty(root: str, out: Path) -> list[Entry]:
    out.mkdir()
    (out / "letter").write_text("dear")
    return TREE


def a_file(root: str, out: Path) -> list[Entry]:
    out.write_text("dear")
    return TREE


def no_parent(root: str, out: Path) -> list[Entry]:
    return [*TREE, Entry("/link/x", "p", 0o644, UID, GID, 0)]


REFUSED = [
    (missing_file, "cannot pack web: its file /closed/big is not what was built: no such file or directory"),
    (not_empty, "cannot pack web to {out}: the folder is not empty"),
    (a_file, "cannot pack web to {out}: {out}: not a directory"),
    (no_parent, "cannot pack web: its manifest has /link/x without its folder"),
]


@pytest.mark.parametrize(("prepare", "error"), REFUSED)
def test_refusals_leave_the_target_as_it_was(root: str, tmp_path: Path, prepare, error: str) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "out"
    tree = prepare(root, out)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(StoreFailed) as caught:
        directory.write(str(out), root, tree, epoch=EPOCH, name="web")
    assert str(caught.value) == error.format(out=out)
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user, then becomes one")
def test_what_a_killed_run_left_goes_and_what_a_live_one_has_stays(root: str, tmp_path: Path) -> None:
    target = tmp_path / "copies/out"
    dead = tmp_path / "copies/.out.0123abcd"
    (dead / "etc").mkdir(parents=True)
    (dead / "etc/part").touch()
    held, live = beside.made(str(target), directory._folder)
    try:
        directory.write(str(target), root, TREE, epoch=EPOCH)
        assert sorted(os.listdir(target.parent)) == sorted([os.path.basename(live), "out"])
    finally:
        os.close(held)


def test_an_ordinary_user_is_told_what_is_not_kept(root: str, tmp_path: Path) -> None:
    tree = [
        Entry("/", "d", 0o755, 0, 0, 0),
        Entry("/empty", "f", 0o644, 0, 5, 0),
        Entry("/null", "c", 0o666, 0, 0, 0, rdev=(1, 3)),
    ]
    for folder in [tmp_path, *tmp_path.parents]:
        if str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o755)
    place = tmp_path / "place"
    place.mkdir()
    os.chown(place, 12345, 12345)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(12345)
            os.setuid(12345)
            notes = directory.write(str(place / "out"), root, tree, epoch=EPOCH).notes
            os.write(writer, "\n".join(notes).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as said:
        notes = said.read().splitlines()
    os.waitpid(child, 0)
    assert notes == [
        "the owners of 2 paths are not kept: only root can give files away",
        "device nodes are not made: /null: only root can make them",
    ]
