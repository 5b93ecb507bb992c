"""Upper directories merged: each kind of change by itself, and any sequence of them beside a plain directory."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hosier.build.merge import merge, remove, remove_all
from hosier.build.tree import HardLinks
from hosier.errors import StoreFailed
from hosier.linux import overlay
from hosier.store.manifest import Entry
from kit.unpacked import on_disk, scan

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="whiteouts, owners and overlay mounts")

EPOCH = 1_000_000_000
CAPABILITY = bytes.fromhex("0100000200040000" + "00" * 12)
ACL = bytes.fromhex("0200000001000700ffffffff020004000500000004000500ffffffff10000500ffffffff20000500ffffffff")


def whiteout(path: Path) -> None:
    os.mknod(path, 0o020000, os.makedev(0, 0))


def opaque(path: Path, kind: str = "trusted") -> None:
    path.mkdir()
    os.setxattr(path, f"{kind}.overlay.opaque", b"y")


def write(path: Path, content: str = "new", mode: int = 0o644) -> None:
    path.write_text(content)
    path.chmod(mode)


def socket_at(path: Path) -> None:
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    made.close()


@dataclass
class Case:
    name: str
    make: Callable[[Path], object]
    """Given the upper directory, makes the changes."""
    changed: str
    tree: dict[str, str | None] = field(default_factory=dict)
    """What differs from the tree before: "KIND MODE CONTENT PACKAGE" by path, None for what is gone."""


# The tree before: two names of one file, a folder with a folder in it, a link, a device of the manifest's.
BEFORE = {
    "/": "d 755",
    "/a": "d 755 of pkg",
    "/a/one": "f 644 one of pkg",
    "/a/two": "f 644 one = /a/one of pkg",
    "/a/three": "f 644 one = /a/one of pkg",
    "/a/sub": "d 755 of pkg",
    "/a/sub/x": "f 644 x of pkg",
    "/dev": "d 755",
    "/dev/null": "c 666 of pkg",
    "/l": "l 777 a of pkg",
}


def steps(*actions: Callable[[Path], object]) -> Callable[[Path], None]:
    def make(upper: Path) -> None:
        for action in actions:
            action(upper)

    return make


def below(name: str, action: Callable[[Path], object]) -> Callable[[Path], None]:
    def make(upper: Path) -> None:
        (upper / name).parent.mkdir(parents=True, exist_ok=True)
        action(upper / name)

    return make


def linked(upper: Path) -> None:
    (upper / "a").mkdir()
    write(upper / "a/new", "both")
    os.link(upper / "a/new", upper / "b")
    (upper / "dropped").mkdir()
    os.link(upper / "a/new", upper / "dropped/too")


GONE = {path: None for path in BEFORE if path.startswith("/a/")}

CASES = [
    Case("nothing", lambda upper: None, ""),
    Case("a file removed", below("a/sub/x", whiteout), "/a/sub/x", {"/a/sub/x": None}),
    Case(
        "a folder removed",
        below("a", whiteout),
        "/a",
        {**GONE, "/a": None},
    ),
    Case("a link removed", below("l", whiteout), "/l", {"/l": None}),
    Case("a device of the manifest's removed", below("dev/null", whiteout), "/dev/null", {"/dev/null": None}),
    Case("what never was removed", below("a/never", whiteout), ""),
    Case(
        "the first of three names removed",
        below("a/one", whiteout),
        "/a/one",
        {"/a/one": None, "/a/two": "f 644 one of pkg", "/a/three": "f 644 one = /a/two of pkg"},
    ),
    Case(
        "one of three names written: overlayfs breaks the link, and the entries say so",
        below("a/one", lambda p: write(p, "new")),
        "/a/one",
        {
            "/a/one": "f 644 new of pkg",
            "/a/two": "f 644 one of pkg",
            "/a/three": "f 644 one = /a/two of pkg",
        },
    ),
    Case(
        "a further name written",
        below("a/three", lambda p: write(p, "new", 0o4711)),
        "/a/three",
        {"/a/three": "f 4711 new of pkg"},
    ),
    Case("a new file and a new folder", below("n/f", write), "/n /n/f", {"/n": "d 755", "/n/f": "f 644 new"}),
    Case(
        "hard links among new files; a name that is dropped",
        linked,
        "/a/new /b",
        {"/a/new": "f 644 both = /b", "/b": "f 644 both"},
    ),
    Case(
        "a folder opaque: what was in it is gone, what is made anew keeps its package",
        steps(below("a", opaque), below("a/two", write)),
        "/a /a/two",
        {**GONE, "/a/two": "f 644 new of pkg"},
    ),
    Case(
        "a folder opaque, as an ordinary user's overlay marks it",
        below("a", lambda p: opaque(p, "user")),
        "/a",
        GONE,
    ),
    Case("a file where a folder was", below("a", write), "/a", {**GONE, "/a": "f 644 new of pkg"}),
    Case("a link where a folder was", below("a", lambda p: p.symlink_to("b")), "/a", {**GONE, "/a": "l 777 b of pkg"}),
    Case(
        "a folder where a file was",
        below("a/one", opaque),
        "/a/one",
        {"/a/one": "d 755 of pkg", "/a/two": "f 644 one of pkg", "/a/three": "f 644 one = /a/two of pkg"},
    ),
    Case("a folder where a link was", below("l/f", write), "/l /l/f", {"/l": "d 755 of pkg", "/l/f": "f 644 new"}),
    Case(
        "a folder's mode alone",
        below("a/sub", lambda p: p.mkdir() or p.chmod(0o3711)),
        "/a/sub",
        {"/a/sub": "d 3711 of pkg"},
    ),
    Case(
        "a folder's owner alone",
        below("a/sub", lambda p: p.mkdir() or os.chown(p, 3, 4)),
        "/a/sub",
        {"/a/sub": "d 755 3:4 of pkg"},
    ),
    Case("a folder that was only looked into", below("a/sub", lambda p: p.mkdir()), ""),
    Case(
        "what a file carries: owner, setuid, capabilities, lists of access",
        steps(
            below("f", lambda p: write(p, "f") or os.chown(p, 3, 4) or p.chmod(0o6750)),
            below("f", lambda p: os.setxattr(p, "security.capability", CAPABILITY)),
            below("f", lambda p: os.setxattr(p, "user.note", b"hello")),
            below("f", lambda p: os.setxattr(p, "user.overlay.origin", b"")),
            below("f", lambda p: os.setxattr(p, "trusted.overlay.origin", b"\0\x1b")),
            below("d", lambda p: p.mkdir() or os.setxattr(p, "system.posix_acl_default", ACL)),
            below("d", lambda p: os.setxattr(p, "system.posix_acl_access", ACL)),
            below("d", lambda p: os.setxattr(p, "trusted.overlay.impure", b"y")),
        ),
        "/d /f",
        {
            "/d": "d 755 posix_acl_access posix_acl_default",
            "/f": "f 6750 3:4 f capability note",
        },
    ),
    Case("a fifo and a socket", steps(below("p", os.mkfifo), below("s", socket_at)), "/p", {"/p": "p 644"}),
    Case("a socket where a file was", below("a/two", socket_at), "/a/two", {"/a/two": None}),
    Case(
        "a device: it is in the manifest alone, and not in the tree",
        below("a/two", lambda p: os.mknod(p, 0o020600, os.makedev(1, 3))),
        "/a/two",
        {"/a/two": "c 600 of pkg"},
    ),
    Case("the mode of /", lambda upper: upper.chmod(0o711), "/", {"/": "d 711"}),
    Case(
        "what is dropped",
        steps(below("dropped/x", write), below("a/dropped", write), below("a/sub/y", write)),
        "/a/sub/y",
        {"/a/sub/y": "f 644 new"},
    ),
]


def shown(entries: dict[str, Entry], contents: dict[str, str]) -> dict[str, str]:
    found = {}
    for path, entry in sorted(entries.items()):
        words = [entry.kind, f"{entry.mode:o}"]
        if entry.uid or entry.gid:
            words.append(f"{entry.uid}:{entry.gid}")
        if entry.kind == "f":
            words.append(contents[path])
        words += [name.rpartition(".")[2] for name, _ in entry.xattrs]
        if entry.target:
            words.append(entry.target)
        if entry.hardlink:
            words.append("= " + entry.hardlink)
        if entry.package:
            words.append("of " + entry.package)
        found[path] = " ".join(words)
    return found


def the_tree(root: Path) -> dict[str, Entry]:
    for name in ("", "a", "a/sub", "dev"):
        (root / name).mkdir()
        (root / name).chmod(0o755)
    write(root / "a/one", "one")
    os.link(root / "a/one", root / "a/two")
    os.link(root / "a/one", root / "a/three")
    write(root / "a/sub/x", "x")
    (root / "l").symlink_to("a")
    entries = scan(root)
    for path in ("/a/two", "/a/three"):
        entries[path] = replace(entries[path], hardlink="/a/one")
    entries["/a/one"] = replace(entries["/a/one"], hardlink="")
    entries["/dev/null"] = Entry("/dev/null", "c", 0o666, 0, 0, 1, rdev=(1, 3))
    owned = {path for path, text in BEFORE.items() if text.endswith("of pkg")}
    return {path: replace(entry, package="pkg" if path in owned else "") for path, entry in entries.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_merge(tmp_path: Path, case: Case) -> None:
    root, upper = tmp_path / "root", tmp_path / "upper"
    entries = the_tree(root)
    upper.mkdir()
    upper.chmod(0o755)
    case.make(upper)
    changed = merge(
        str(upper), str(root), entries, epoch=EPOCH, dropped=lambda path: path.rpartition("/")[2] == "dropped"
    )
    contents = {path: (root / path[1:]).read_text() for path, entry in entries.items() if entry.kind == "f"}
    expected = {**BEFORE, **case.tree}
    # The first name by order stands for an inode once the tree is kept; here any may.
    assert shown(first_names(entries), contents) == shown_first({p: t for p, t in expected.items() if t is not None})
    assert scan(root) == on_disk(entries)
    assert " ".join(changed) == case.changed
    assert all(entry.mtime <= EPOCH for path, entry in entries.items() if path in changed)


def first_names(entries: dict[str, Entry]) -> dict[str, Entry]:
    plain = on_disk(entries)
    return {
        path: replace(entries[path], hardlink=plain[path].hardlink) if path in plain else entries[path]
        for path in entries
    }


def shown_first(lines: dict[str, str]) -> dict[str, str]:
    """Expected lines with the first name of an inode standing for it."""
    groups: dict[str, set[str]] = {}
    for path, text in lines.items():
        if " = " in text:
            groups.setdefault(text.split(" = ")[1].split(" ")[0], set()).add(path)
    for leader, others in groups.items():
        names = sorted({leader, *others})
        for name in names:
            text = lines[name].replace(f" = {leader}", "")
            if name != names[0]:
                head, _, tail = text.partition(" of ")
                text = f"{head} = {names[0]}" + (f" of {tail}" if tail else "")
            lines[name] = text
    return dict(sorted(lines.items()))


def test_times(tmp_path: Path) -> None:
    root, upper = tmp_path / "root", tmp_path / "upper"
    entries = the_tree(root)
    (upper / "a").mkdir(parents=True)
    for name, time in (("a/old", 5_999_999_999), ("a/late", (EPOCH + 1) * 10**9 - 1), ("a/two", EPOCH * 10**9 + 1)):
        write(upper / name)
        os.utime(upper / name, ns=(time, time))
    (upper / "a/l").symlink_to("x")
    os.utime(upper / "a", ns=(7_500_000_000, 7_500_000_000))
    merge(str(upper), str(root), entries, epoch=EPOCH, dropped=lambda path: False)
    names = ("/a/old", "/a/late", "/a/two", "/a/l", "/a", "/")
    assert [entries[name].mtime for name in names] == [5, EPOCH, EPOCH, EPOCH, 7, EPOCH]
    exact = {(root / name[1:]).lstat().st_mtime_ns for name in names}
    assert exact == {5 * 10**9, 7 * 10**9, EPOCH * 10**9}


def dig(place: Path, depth: int) -> None:
    here = os.open(place, os.O_RDONLY)
    for _ in range(depth):
        with suppress(FileExistsError):
            os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


def test_a_tree_of_any_depth(tmp_path: Path) -> None:
    root, upper = tmp_path / "root", tmp_path / "upper"
    root.mkdir()
    upper.mkdir()
    entries = scan(root)
    dig(upper, 1500)
    try:
        merge(str(upper), str(root), entries, epoch=EPOCH, dropped=lambda path: False)
        assert len(entries) == 1501
        remove(str(root), "/d", entries)
        assert list(entries) == ["/"] and os.listdir(root) == []
        # Deeper than a path can name: refused in words.
        dig(upper, 2200)
        with pytest.raises(StoreFailed) as caught:
            merge(str(upper), str(root), entries, epoch=EPOCH, dropped=lambda path: False)
        assert str(caught.value).endswith("of a root: file name too long")
    finally:
        subprocess.run(["rm", "-rf", str(upper), str(root)], check=True)


def test_remove_all(tmp_path: Path) -> None:
    root = tmp_path / "root"
    entries = the_tree(root)
    before = entries["/"].mtime
    remove_all(str(root), ["/a/one", "/a/sub", "/a/sub/x", "/dev/null", "/none", "/l"], entries)
    assert sorted(entries) == ["/", "/a", "/a/three", "/a/two", "/dev"]
    assert {entries["/a/two"].hardlink, entries["/a/three"].hardlink} in ({"", "/a/two"}, {"", "/a/three"})
    assert scan(root) == on_disk(entries) and entries["/"].mtime == before
    write(root / "a/unknown")
    with pytest.raises(StoreFailed) as caught:
        remove(str(root), "/a", entries)
    assert str(caught.value) == "cannot remove /a of a root: directory not empty"


def test_a_mode_changed_by_one_name_is_changed_for_all(tmp_path: Path) -> None:
    """The names /a/one, /a/two and /a/three share an inode; a script did `chmod 4755 /a/two`."""
    root, upper = tmp_path / "root", tmp_path / "upper"
    entries = the_tree(root)
    old = (root / "a/one").stat()
    (upper / "a").mkdir(parents=True)
    shutil.copy2(root / "a/two", upper / "a/two")
    (upper / "a/two").chmod(0o4755)
    shutil.copystat(root / "a", upper / "a")
    assert merge(str(upper), str(root), entries, epoch=EPOCH, dropped=lambda path: False) == [
        "/a/one",
        "/a/three",
        "/a/two",
    ]
    names = [root / "a" / name for name in ("one", "two", "three")]
    assert {(n.stat().st_ino, n.stat().st_mode & 0o7777, n.stat().st_nlink) for n in names} == {
        (names[1].stat().st_ino, 0o4755, 3)
    }
    assert names[0].stat().st_ino != old.st_ino
    assert (root / "a").stat().st_mtime == entries["/a"].mtime
    assert scan(root) == on_disk(first_names(entries))


def test_hard_links_that_leave_and_join() -> None:
    def entry(path: str, leader: str = "") -> Entry:
        return Entry(path, "f", 0o644, 0, 0, 0, hardlink=leader)

    entries = {e.path: e for e in (entry("/1"), entry("/2", "/1"), entry("/3", "/1"), entry("/x"))}
    links = HardLinks(entries)
    links.leave("/2")
    entries["/4"] = entry("/4", "/x")
    links.join("/x", "/4")
    links.leave("/1")
    links.leave("/x")
    links.leave("/none")
    assert entries == {"/3": entry("/3"), "/4": entry("/4")}


# Any sequence of changes: done to a directory, and to an overlay of its like that is merged.

PATHS = ("a", "a/x", "a/y", "a/d", "a/d/z", "b", "b/x", "l", "h1", "h2", "n", "n/x")
path = st.sampled_from(PATHS)
OPERATIONS = st.one_of(
    st.tuples(st.sampled_from(("create", "write", "replace", "append")), path, st.sampled_from(("", "1", "22"))),
    st.tuples(st.sampled_from(("mkdir", "unlink", "rmdir", "rmtree", "fifo", "socket", "touch")), path),
    st.tuples(st.sampled_from(("rename", "link", "symlink")), path, path),
    st.tuples(st.just("chmod"), path, st.sampled_from((0o600, 0o755, 0o4755, 0o2770))),
    st.tuples(st.just("chown"), path, st.sampled_from((0, 7))),
    st.tuples(
        st.just("xattr"),
        path,
        st.sampled_from(
            (
                ("user.a", b"1"),
                ("user.a", None),
                ("trusted.t", b"2"),
                ("security.capability", CAPABILITY),
                ("system.posix_acl_access", ACL),
                ("system.posix_acl_default", ACL),
                ("system.posix_acl_access", None),
            )
        ),
    ),
)
IN_PLACE = {"write", "append", "chmod", "chown", "xattr", "touch"}


def apply(base: str, operation: Sequence[object]) -> None:
    kind, name, *rest = operation
    target = f"{base}/{name}"
    value = rest[0] if rest else None
    if kind in ("create", "write", "append"):
        flags = {"create": os.O_CREAT | os.O_EXCL, "write": os.O_TRUNC, "append": os.O_APPEND}[kind]  # type: ignore[index]
        fd = os.open(target, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | flags, 0o644)
        try:
            os.write(fd, str(value).encode())
        finally:
            os.close(fd)
    elif kind == "replace":
        temporary = f"{base}/temporary"
        Path(temporary).write_text(str(value))
        try:
            os.rename(temporary, target)
        finally:
            if os.path.lexists(temporary):
                os.unlink(temporary)
    elif kind == "rename":
        os.rename(target, f"{base}/{value}")
    elif kind == "link":
        os.link(target, f"{base}/{value}", follow_symlinks=False)
    elif kind == "symlink":
        os.symlink(str(value), target)
    elif kind == "chmod":
        os.chmod(target, value) if not os.path.islink(target) else None  # type: ignore[arg-type]
    elif kind == "chown":
        os.chown(target, value, value, follow_symlinks=False)  # type: ignore[arg-type]
    elif kind == "xattr":
        attribute, content = value  # type: ignore[misc]
        if content is None:
            os.lstat(target)
            with suppress(OSError):  # what is not there is an error to overlayfs only
                os.removexattr(target, attribute, follow_symlinks=False)
        else:
            os.setxattr(target, attribute, content, follow_symlinks=False)
    elif kind == "socket":
        socket_at(Path(target))
    else:
        os.utime(target, follow_symlinks=False) if kind == "touch" else SIMPLE[kind](target)  # type: ignore[index]


def remove_folder(target: str) -> None:
    os.rmdir(target) if not os.path.isdir(target) else shutil.rmtree(target)  # which would wait for a fifo's writer


SIMPLE: dict[object, Callable[[str], object]] = {
    "mkdir": os.mkdir,
    "unlink": os.unlink,
    "rmdir": os.rmdir,
    "rmtree": remove_folder,
    "fifo": os.mkfifo,
}


def outcome(base: str, operation: Sequence[object]) -> int | None:
    try:
        apply(base, operation)
    except OSError as exc:
        return exc.errno
    return None


@contextmanager
def detached(lower: Path, upper: Path, work: Path) -> Iterator[str]:
    """An overlay, by a descriptor: it is gone with it."""
    fd = overlay.create((str(lower),), str(upper), str(work), userxattr=False, volatile=True)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def start(root: Path) -> None:
    for name in ("", "a", "a/d", "b"):
        (root / name).mkdir()
    for name in ("a/x", "a/d/z", "b/x"):
        write(root / name, name)
    os.setxattr(root / "a/x", "user.a", b"0")
    os.setxattr(root / "b", "system.posix_acl_default", ACL)
    (root / "l").symlink_to("a")
    write(root / "h1", "h")
    os.link(root / "h1", root / "h2")


def timeless(entries: dict[str, Entry]) -> dict[str, Entry]:
    return {path: replace(entry, mtime=0) for path, entry in entries.items() if entry.kind != "?"}


def breaks(plain: str, operation: Sequence[object], twins: set[int]) -> bool:
    """Whether overlayfs is known to do otherwise: it breaks hard links of the lower tree when it copies one up."""
    kind, name = operation[:2]
    try:
        inode = os.lstat(f"{plain}/{name}").st_ino
    except OSError:
        return False
    return inode in twins and (kind in IN_PLACE or kind in ("rename", "link"))


@given(st.lists(OPERATIONS, max_size=25))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_changes_merge_to_what_a_plain_directory_is(operations: list[Sequence[object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        start(base / "plain")
        start(base / "root")
        for name in ("upper", "work"):
            (base / name).mkdir()
        shutil.copymode(base / "root", base / "upper")
        entries = scan(base / "root")
        shared = base / "shared"
        shutil.copytree(base / "root", shared, copy_function=os.link, symlinks=True)
        before = scan(shared)
        twins = {os.lstat(base / "plain" / name).st_ino for name in ("h1", "h2")}
        plain_fd = os.open(base / "plain", os.O_RDONLY)
        plain = f"/proc/self/fd/{plain_fd}"
        try:
            with detached(base / "root", base / "upper", base / "work") as mounted:
                for operation in operations:
                    if breaks(plain, operation, twins):
                        continue
                    result = outcome(mounted, operation)
                    if result == errno.EXDEV:  # a folder of the lower tree: mv(1) copies
                        continue
                    assert result == outcome(plain, operation), operation
        finally:
            os.close(plain_fd)
        merge(str(base / "upper"), str(base / "root"), entries, epoch=EPOCH, dropped=lambda p: False)
        merged = scan(base / "root")
        assert merged == on_disk(entries)
        assert timeless(merged) == timeless(scan(base / "plain"))
        assert scan(shared) == before
