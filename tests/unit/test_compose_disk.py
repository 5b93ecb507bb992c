"""What `perform` does on a disk, and that nothing which trees share is ever written to."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hosier.build import finish, merge
from hosier.build.compose import plan
from hosier.build.place import Filter, Op, copy, perform
from hosier.build.site import Site
from hosier.build.site import clone as clone_tree
from hosier.build.tree import Tree
from hosier.distro.deb.dpkgdb import Diversion
from hosier.errors import StoreFailed
from hosier.fetch.progress import reporter
from hosier.spec.model import Device as SpecDevice
from hosier.spec.model import File as SpecFile
from hosier.spec.model import Group, Spec, User
from hosier.store.manifest import Entry
from kit.debs import Device, Dir, File, HardLink, Link
from kit.unpacked import on_disk, scan, snapshot, unpacked

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners are given away")

EPOCH = 1_700_000_000


@pytest.fixture(autouse=True)
def strange_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def packages(blobs: Path):  # type: ignore[no-untyped-def]
    base = {
        "/": Dir(),
        "/usr": Dir(mtime=5),
        "/usr/bin": Dir(mtime=6),
        "/usr/bin/su": File("su", 0o4755),
        "/usr/bin/wall": File("wall", 0o2755, gid=5, gname="tty"),
        "/usr/bin/perl": File("perl", 0o755, mtime=7),
        "/usr/bin/perl5": HardLink("/usr/bin/perl"),
        "/etc": Dir(),
        "/etc/passwd": "root:*:0:0:root:/root:/bin/sh\n",
        "/etc/group": "root:*:0:\ntty:*:9:\n",
        "/etc/shadow": File("root:*:1::::::\n", 0o640, gid=42),
        "/etc/mine": File("secret", 0o600, 1, 2, 8),
        "/etc/alias": HardLink("/etc/mine"),
        "/tmp": Dir(0o1777),
        "/var": Dir(),
        "/var/mail": Dir(0o2775, 0, 8, uname="root", gname=""),
        "/var/link": Link("/srv/far", uid=3, mtime=9),
        "/dev/null": Device(),
        "/dev/was": "a file",
    }
    more = {
        "/bin/x": "x",
        "/bin/perl": File("other perl", 0o755),
        "/dev/was": Device("c", 1, 5),
        "/usr/bin/wall2": File("wall", 0o2755, gid=5, gname="tty"),
        "/usr/bin/wall3": HardLink("/usr/bin/wall2"),
        "/deep/er/implied": File("i", mtime=11),
    }
    return (
        unpacked("base", base, folder=blobs),
        unpacked("more", more, folder=blobs, fields={"Replaces": "base"}),
    )


def composed(root: Path, blobs: Path) -> Tree:
    root.mkdir()
    tree = Tree(entries={"/": Entry("/", "d", 0o755, 0, 0, EPOCH)})
    perform(str(root), [Op(tree.entries["/"])], tree.entries)
    link = Entry("/bin", "l", 0o777, 0, 0, EPOCH, target="usr/bin")
    tree.entries["/bin"] = link
    perform(str(root), [Op(link)], tree.entries)
    tree.groups = {"tty": 9}
    for package in packages(blobs):
        perform(str(root), plan(tree, [package], Filter()), tree.entries)
    return tree


def test_the_disk_is_what_the_entries_say(tmp_path: Path) -> None:
    tree = composed(tmp_path / "root", tmp_path)
    assert scan(tmp_path / "root") == on_disk(tree.entries)
    entries = tree.entries
    assert [entries[p].mode for p in ("/usr/bin/su", "/usr/bin/wall2", "/var/mail")] == [0o4755, 0o2755, 0o2775]
    assert [entries[p].gid for p in ("/usr/bin/wall", "/usr/bin/wall3")] == [9, 9]
    assert entries["/usr/bin/perl5"].hardlink == "" and entries["/usr/bin/wall3"].hardlink == "/usr/bin/wall2"
    assert entries["/etc/alias"].hardlink == "/etc/mine"
    assert [entries[p].mtime for p in ("/usr", "/usr/bin", "/deep", "/deep/er")] == [5, 6, 11, 11]
    assert {p for p in entries if p not in on_disk(entries)} == {"/dev/null", "/dev/was"}


def site(tmp_path: Path, root: Path, tree: Tree) -> Site:
    return Site(
        folder=str(tmp_path),
        root=str(root),
        state=tree,
        architecture="amd64",
        log=str(tmp_path / "log"),
        reporter=reporter(quiet=True, verbose=False),
        epoch=EPOCH,
    )


def upper(folder: Path) -> Path:
    """Changes as an overlay leaves them, to most of what there is."""
    for name in ("etc", "usr/bin", "var"):
        (folder / name).mkdir(parents=True)
    (folder / "etc/passwd").write_text("root:*:0:0:root:/root:/bin/sh\nnew:*:1:1::/:/bin/sh\n")
    (folder / "etc/mine").write_text("changed")
    (folder / "usr/bin/su").write_text("su2")
    (folder / "usr/bin/su").chmod(0o755)
    os.mknod(folder / "usr/bin/perl", 0o600 | 0o020000, os.makedev(0, 0))
    (folder / "var/link").symlink_to("elsewhere")
    (folder / "var/mail").mkdir(mode=0o755)
    os.setxattr(folder / "var/mail", "trusted.overlay.opaque", b"y")
    return folder


def test_nothing_that_trees_share_is_written_to(tmp_path: Path) -> None:
    source = tmp_path / "root"
    tree = composed(source, tmp_path)
    shared = [p for p in tmp_path.rglob("*") if (p.is_file() or p.is_symlink())]
    before, tree_before = snapshot(shared), scan(source)
    # A clone shares even the links' inodes.
    clone = tmp_path / "clone"
    clone.mkdir()
    clone_tree(str(source), str(clone), tree.entries)
    assert scan(clone) == on_disk(tree.entries)
    again = Tree(entries=dict(tree.entries), groups={"tty": 9, "man": 12}, users={"man": 6})
    # The same packages over themselves, owners told otherwise, and a third that takes most of it.
    third = unpacked(
        "third",
        {
            "/usr/bin/su": File("su", 0o755, uname="man"),
            "/usr/bin/perl5": File("", 0o644),
            "/etc/mine": Link("x"),
            "/var/link": File("y"),
            "/etc/shadow": HardLink("/var/link"),
        },
        folder=tmp_path,
        fields={"Replaces": "base, more"},
    )
    shared.append(tmp_path / "third/0")
    before |= snapshot([tmp_path / "third/0"])
    perform(str(clone), plan(again, [*packages_again(tmp_path), third]), again.entries)
    assert scan(clone) == on_disk(again.entries)
    # What scripts did.
    merge.merge(str(upper(tmp_path / "upper")), str(clone), again.entries, epoch=EPOCH, dropped=lambda p: False)
    assert scan(clone) == on_disk(again.entries)
    # What a spec adds.
    host = tmp_path / "host"
    (host / "usr/bin").mkdir(parents=True)
    (host / "usr/bin/perl5").write_text("mine")
    before |= snapshot([host / "usr/bin/perl5"])
    spec = Spec(
        "x",
        groups=(Group("team"),),
        users=(User("ann", groups=("team", "tty"), home="/home/ann", create_home=True),),
        files=(
            SpecFile("/etc/mine", content="a", mode=0o4755, owner="ann"),
            SpecFile("/etc/alias", target="mine"),
            SpecFile("/usr", source=str(host / "usr"), owner="ann", mode=0o711),
            SpecFile("/var/mail", directory=True, mode=0o700, owner="7"),
            SpecFile("/usr/bin/wall2", content=""),
        ),
        devices=(SpecDevice("/usr/bin/wall", "c", 1, 3),),
    )
    finish.finish(site(tmp_path, clone, again), spec)
    assert scan(clone) == on_disk(again.entries)
    # And what is removed.
    merge.remove_all(str(clone), ["/usr", "/etc/alias", "/nothing"], again.entries)
    assert scan(clone) == on_disk(again.entries)
    assert snapshot(before_paths(before)) == before
    assert scan(source) == tree_before


def packages_again(blobs: Path):  # type: ignore[no-untyped-def]
    """The packages as the store holds them: nothing is unpacked anew."""
    again = blobs / "again"
    again.mkdir()
    found = packages(again)
    return [replace(package, folder=str(blobs / package.control.name)) for package in found]


def before_paths(before: dict[str, tuple[object, ...]]) -> list[Path]:
    return [Path(path) for path in before]


def test_nothing_outside_the_root_is_touched(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("kept")
    before = scan(outside)
    root = tmp_path / "root"
    tree = composed(root, tmp_path)
    for path, target in (("/abs", str(outside)), ("/up", "../outside"), ("/etc/over", f"{outside}/file")):
        entry = Entry(path, "l", 0o777, 0, 0, EPOCH, target=target)
        tree.entries[path] = entry
        perform(str(root), [Op(entry)], tree.entries)
    tree.diversions = {"/d": Diversion("/d", f"/../..{outside}/d", ":")}
    hostile = unpacked(
        "hostile",
        {
            "/abs/file": "1",
            "/abs/sub": Dir(0o777),
            "/abs/sub/x": HardLink("/abs/file"),
            "/up/file": "2",
            "/up/device": Device(),
            "/../outside/file": "3",
            "/up/../outside/y": "4",
            "/etc/over": "5",
            "/d": "6",
        },
        folder=tmp_path,
    )
    perform(str(root), plan(tree, [hostile]), tree.entries)
    assert scan(root) == on_disk(tree.entries)
    source = tmp_path / "source"
    for name in ("abs", "up"):
        (source / name).mkdir(parents=True)
        (source / name / "file").write_text("7")
    spec = Spec(
        "x",
        users=(User("ann", home="/abs/ann", create_home=True),),
        files=(
            SpecFile("/", source=str(source)),
            SpecFile("/abs/../../outside/z", content="8"),
            SpecFile("/up", directory=True, mode=0o700),
            SpecFile("/etc/over", content="9"),
        ),
        devices=(SpecDevice("/abs/null", "c", 1, 3),),
    )
    finish.finish(site(tmp_path, root, tree), spec)
    assert scan(root) == on_disk(tree.entries)
    assert scan(outside) == before


def test_too_many_links_to_a_shared_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.link

    def link(source: str, target: str, **rest: object) -> None:
        if not source.startswith(str(tmp_path / "root")):
            raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    tree = composed(tmp_path / "root", tmp_path)
    assert scan(tmp_path / "root") == on_disk(tree.entries)


def test_a_copy_keeps_capabilities_and_says_when_there_is_too_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(b"x" * 100_000)
    capability = "0100000200040000" + "00" * 12
    entry = Entry("/x", "f", 0o4755, 1, 2, 3, 100_000, xattrs=(("security.capability", capability),))
    copy(Op(entry, blob=str(blob)), str(tmp_path / "one"))

    def refused(*arguments: object) -> int:
        raise OSError(errno.EXDEV, "")

    monkeypatch.setattr(os, "copy_file_range", refused)
    copy(Op(entry, blob=str(blob)), str(tmp_path / "two"))
    for name in ("one", "two"):
        made = tmp_path / name
        st = made.stat()
        assert (st.st_mode & 0o7777, st.st_uid, st.st_gid, st.st_mtime) == (0o4755, 1, 2, 3)
        assert os.getxattr(made, "security.capability").hex() == capability
        assert made.read_bytes() == blob.read_bytes()
    root = tmp_path / "root"
    root.mkdir()
    wrong = replace(entry, size=100_001)
    with pytest.raises(StoreFailed) as caught:
        perform(str(root), [Op(wrong, blob=str(blob), own=True)], {"/x": wrong})
    assert str(caught.value) == "cannot write /x of a root: its content ends 1 bytes early"


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **rest: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(StoreFailed) as caught:
        composed(tmp_path / "root", tmp_path)
    assert str(caught.value) == "cannot write /usr/bin/su of a root: no space left on device"
    assert caught.value.hint == "make room, or run `hosier gc`"
