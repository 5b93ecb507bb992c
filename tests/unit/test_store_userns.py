from __future__ import annotations

import encodings.ascii
import json
import os
import stat
from pathlib import Path

import pytest

from hosier.linux import syscalls
from hosier.pack import directory
from hosier.store import settling, sweeping
from hosier.store.manifest import Entry
from hosier.store.objects import Store

FIRST = 300_000
# Whom the namespace maps may not be able to read the interpreter's folder: what is imported late is imported now.
LATE = (encodings.ascii, json, settling, sweeping)


def as_mapped_root(step, folder: Path) -> str:  # type: ignore[no-untyped-def]
    """Call `step` as root of a user namespace whose ids are FIRST and up outside; "" or what went wrong."""
    for parent in [folder, *folder.parents]:
        if str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o711)
    os.chown(folder, FIRST, FIRST)
    in_read, in_write = os.pipe()
    go_read, go_write = os.pipe()
    out_read, out_write = os.pipe()
    child = os.fork()
    if child == 0:
        said = "did not end"
        try:
            syscalls.unshare(syscalls.CLONE_NEWUSER)
            os.write(in_write, b"1")
            os.read(go_read, 1)
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            said = step(folder) or ""
        except BaseException as error:
            said = repr(error)
        finally:
            os.write(out_write, f"said {said}".encode())
            os._exit(0)
    for fd in (in_write, go_read, out_write):
        os.close(fd)
    os.read(in_read, 1)
    for kind in ("uid_map", "gid_map"):
        Path(f"/proc/{child}/{kind}").write_text(f"0 {FIRST} 65536\n")
    os.write(go_write, b"1")
    os.waitpid(child, 0)
    answer = os.read(out_read, 4000).decode().removeprefix("said ")
    for fd in (in_read, go_write, out_read):
        os.close(fd)
    return answer


def keep_and_remove(folder: Path) -> None:
    store = Store.open(str(folder / "store"))
    with store.work("tree") as work:
        root = Path(work, "t/root")
        (root / "closed").mkdir(parents=True)
        (root / "closed/file").write_text("x")
        for path in (root / "closed/file", root / "closed"):
            os.chown(path, 1000, 33)
            path.chmod(0)
        Path(work, "t/manifest").write_text("")
        store.add_tree(os.path.join(work, "t"), "a" * 64)
        (Path(work) / "left").mkdir()
        os.chown(Path(work, "left"), 5, 5)
        Path(work, "left").chmod(0o2000)
    assert os.listdir(os.path.join(store.path, "tmp")) == []
    status = os.stat(os.path.join(store.tree("a" * 64), "root/closed"))
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1000, 33, 0)
    store.discard(store.tree("a" * 64))
    assert not os.path.exists(store.tree("a" * 64))


def pack_with_owners(folder: Path) -> str:
    root = folder / "root"
    root.mkdir()
    (root / "file").write_text("x")
    tree = [
        Entry("/", "d", 0o755, 0, 0, 0),
        Entry("/file", "f", 0o4750, 1000, 33, 7, size=1),
        Entry("/null", "c", 0o666, 0, 0, 0, rdev=(1, 3)),
    ]
    notes = directory.write(str(folder / "out"), str(root), tree, epoch=100).notes
    status = os.stat(folder / "out/file")
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1000, 33, 0o4750)
    assert not (folder / "out/null").exists()
    return "|".join(notes)


@pytest.mark.skipif(os.geteuid() != 0, reason="maps ids as newuidmap would")
def test_root_of_a_user_namespace_keeps_a_store(tmp_path: Path) -> None:
    assert as_mapped_root(keep_and_remove, tmp_path) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="maps ids as newuidmap would")
def test_root_of_a_user_namespace_gives_files_away_and_makes_no_devices(tmp_path: Path) -> None:
    assert as_mapped_root(pack_with_owners, tmp_path) == ("device nodes are not made: /null: only root can make them")
