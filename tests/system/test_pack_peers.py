"""What is packed, read by the programs that people read it with."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from hosier.pack import tar
from hosier.store.manifest import Entry

EPOCH = 1_700_000_000
ROOT = os.geteuid() == 0
CAPABILITY = "0100000200040000000000000000000000000000"
ACL = "0200000001000600ffffffff02000400e803000004000400ffffffff10000600ffffffff20000400ffffffff"
LONG = "/d/" + "n" * 200


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def tree() -> list[Entry]:
    return [
        Entry("/", "d", 0o755, 0, 0, 5),
        Entry("/d", "d", 0o2755, 0, 50, 6),
        Entry("/d/acl", "f", 0o664, 0, 0, 7, size=3, sha256=sha(b"acl"), xattrs=(("system.posix_acl_access", ACL),)),
        Entry(
            "/d/cap",
            "f",
            0o755,
            0,
            0,
            7,
            size=3,
            sha256=sha(b"cap"),
            xattrs=(("security.capability", CAPABILITY), ("user.hosier", "00ff0a")),
        ),
        Entry(LONG, "f", 0o600, 1000, 3_000_000, 7, size=100_000, sha256=sha(b"l" * 100_000)),
        Entry("/d/null", "c", 0o666, 0, 0, 7, rdev=(1, 3)),
        Entry("/d/pipe", "p", 0o640, 0, 0, 7),
        Entry("/d/su", "f", 0o4755, 0, 0, EPOCH + 9, size=2, sha256=sha(b"su")),
        Entry("/d/su2", "f", 0o4755, 0, 0, EPOCH + 9, size=2, sha256=sha(b"su"), hardlink="/d/su"),
        Entry("/d/\udcff\u00e9", "f", 0o644, 0, 0, 7, size=1, sha256=sha(b"x")),
        Entry("/l", "l", 0o777, 0, 0, 8, target="d/" + "t" * 150),
    ]


CONTENTS = {"/d/acl": b"acl", "/d/cap": b"cap", LONG: b"l" * 100_000, "/d/su": b"su", "/d/\udcff\u00e9": b"x"}


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    for path, content in CONTENTS.items():
        Path(str(root) + path).write_bytes(content)
    for ending in ("", ".gz", ".xz", ".zst"):
        with open(tmp_path / f"t.tar{ending}", "wb") as out:
            tar.write(out.fileno(), str(root), tree(), epoch=EPOCH, compression=ending[1:])
    return tmp_path / "t.tar"


def facts(base: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for entry in tree():
        status = os.lstat(str(base) + entry.path)
        kind = next(k for k, test in KINDS.items() if test(status.st_mode))
        path = str(base) + entry.path
        attributes = tuple(sorted((n, os.getxattr(path, n, follow_symlinks=False).hex()) for n in names(path)))
        found[entry.path] = (
            kind,
            stat.S_IMODE(status.st_mode),
            status.st_uid,
            status.st_gid,
            status.st_mtime,
            status.st_size if kind == "f" else 0,
            os.readlink(path) if kind == "l" else "",
            (os.major(status.st_rdev), os.minor(status.st_rdev)) if kind in "cb" else None,
            attributes,
            sha(Path(path).read_bytes()) if kind == "f" else "",
        )
    return found


KINDS = {
    "f": stat.S_ISREG,
    "d": stat.S_ISDIR,
    "l": stat.S_ISLNK,
    "c": stat.S_ISCHR,
    "b": stat.S_ISBLK,
    "p": stat.S_ISFIFO,
}


def names(path: str) -> list[str]:
    return [name for name in os.listxattr(path, follow_symlinks=False) if not name.startswith("security.selinux")]


def wanted() -> dict[str, tuple[object, ...]]:
    return {
        each.path: (
            each.kind,
            each.mode,
            each.uid,
            each.gid,
            min(each.mtime, EPOCH),
            each.size,
            each.target,
            each.rdev,
            each.xattrs,
            each.sha256,
        )
        for each in tree()
    }


@pytest.mark.skipif(not ROOT, reason="owners and device nodes take root")
def test_gnu_tar_gives_the_same_tree(packed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    command = ["tar", "--numeric-owner", "-p", "--xattrs", "--xattrs-include=*", "--acls", "-C", str(out), "-xf"]
    done = subprocess.run([*command, str(packed)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert facts(out) == wanted()
    assert os.lstat(out / "d/su").st_ino == os.lstat(out / "d/su2").st_ino


@pytest.mark.skipif(not ROOT or shutil.which("bsdtar") is None, reason="owners take root; bsdtar is not there")
def test_libarchive_gives_the_same_tree(packed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    command = ["bsdtar", "--numeric-owner", "-p", "-C", str(out), "-xf", str(packed)]
    subprocess.run(command, check=True, env={"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]})
    # libarchive sets the time of a folder that was there at once, and then fills it
    os.utime(out, (5, 5))
    assert facts(out) == wanted()


def test_gnu_tar_lists_it_without_a_word(packed: Path) -> None:
    for ending in ("", ".gz", ".xz", ".zst"):
        done = subprocess.run(["tar", "-tf", f"{packed}{ending}"], capture_output=True)
        assert (done.returncode, done.stderr) == (0, b""), ending
        assert len(done.stdout.splitlines()) == len(tree())
