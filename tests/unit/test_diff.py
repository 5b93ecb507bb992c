from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.distro.deb import version
from hosier.errors import StoreFailed
from hosier.inspect import diff, running, textdiff
from hosier.inspect.installed import Package
from hosier.linux.printable import shown
from hosier.linux.rooted import Root
from hosier.store.manifest import Entry, dumps

HASH = "0" * 64


@dataclass
class Held:
    """A tree in memory: by its manifest, or (as a folder is) by entries whose digests are asked for one by one."""

    found: Mapping[str, Entry]
    folder: bool = False
    epoch: int | None = None
    root: Root = None  # type: ignore[assignment]
    last: str = ""
    asked: int = 0

    def entries(self) -> Iterator[str | Entry]:
        if not self.folder:
            yield from dumps(self.found.values()).splitlines(keepends=True)
            return
        for path in sorted(self.found):
            self.last = path
            yield replace(self.found[path], sha256="")

    def digest(self, entry: Entry) -> str:
        assert not self.folder or entry.path == self.last
        self.asked += 1
        return self.found[entry.path].sha256

    def inode(self) -> tuple[int, int] | None:
        return None

    def size(self) -> int:
        return 0


def held(entries: Iterable[Entry], *, folder: bool = False, epoch: int | None = None) -> Held:
    return Held({entry.path: entry for entry in entries}, folder, epoch)


FILE = Entry("/f", "f", 0o644, 0, 0, 10, size=3, sha256=HASH)
LINK = Entry("/l", "l", 0o777, 0, 0, 10, target="a")
DEVICE = Entry("/c", "c", 0o666, 0, 0, 10, rdev=(1, 3))

FACTS = [
    (FILE, replace(FILE, sha256="1" * 64), ("content",)),
    (FILE, replace(FILE, size=4), ("content",)),
    (FILE, replace(FILE, mode=0o4755), ("mode",)),
    (FILE, replace(FILE, uid=1), ("owner",)),
    (FILE, replace(FILE, gid=1), ("group",)),
    (FILE, replace(FILE, xattrs=(("user.a", "00"),)), ("xattrs",)),
    (FILE, replace(FILE, hardlink="/e"), ("hard links",)),
    (FILE, replace(FILE, package="other"), ()),
    (FILE, replace(FILE, mtime=11), ()),
    (FILE, replace(FILE, size=4, mode=0, uid=1, gid=2), ("content", "mode", "owner", "group")),
    (FILE, Entry("/f", "d", 0o700, 5, 5, 0), ("type",)),
    (LINK, replace(LINK, target="b"), ("link",)),
    (LINK, replace(LINK, mode=0o755), ()),
    (DEVICE, replace(DEVICE, rdev=(1, 5)), ("device",)),
    (None, FILE, ("added",)),
    (FILE, None, ("removed",)),
]


@pytest.mark.parametrize("folders", [(False, False), (False, True), (True, True)])
@pytest.mark.parametrize(("before", "after", "what"), FACTS)
def test_what_differs_of_a_path(
    before: Entry | None, after: Entry | None, what: tuple[str, ...], folders: tuple[bool, bool]
) -> None:
    one, other = (held([each] if each else [], folder=f) for each, f in zip((before, after), folders, strict=True))
    assert [change.what for change in diff.files(one, other)] == ([what] if what else [])


def test_times_count_when_asked_clamped_as_images_have_them() -> None:
    late = replace(FILE, mtime=99)
    assert [c.what for c in diff.files(held([FILE]), held([late]), times=True)] == [("time",)]
    assert list(diff.files(held([FILE], epoch=10), held([late], epoch=10), times=True)) == []
    assert list(diff.files(held([FILE], folder=True), held([late], epoch=10), times=True)) == []


def test_digests_are_asked_for_only_where_sizes_are_equal() -> None:
    one = held([FILE, replace(FILE, path="/g"), replace(FILE, path="/h", size=0)], folder=True)
    other = held([replace(FILE, size=9), replace(FILE, path="/h", size=0)], folder=True)
    assert [(c.path, c.what) for c in diff.files(one, other)] == [("/f", ("content",)), ("/g", ("removed",))]
    assert (one.asked, other.asked) == (0, 0)


def test_what_cannot_be_read_is_no_difference() -> None:
    assert list(diff.files(held([replace(FILE, sha256="")], folder=True), held([FILE]))) == []


paths = st.sets(
    st.lists(st.sampled_from(["a", "a-", "a.", "b", "é", "\udcff", "\U0001f600"]), min_size=1, max_size=3).map(
        lambda parts: "/" + "/".join(parts)
    ),
    max_size=8,
)


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Entry]:
    found = {}
    for path in draw(paths):
        kind = draw(st.sampled_from("fdl"))
        entry = Entry(
            path, kind, draw(st.sampled_from([0o644, 0o755])), draw(st.integers(0, 1)), 0, draw(st.integers(0, 1))
        )
        if kind == "f":
            number = draw(st.integers(0, 2))
            entry = replace(entry, size=number, sha256=str(number) * 64)
        if kind == "l":
            entry = replace(entry, target=draw(st.sampled_from("xy")))
        found[path] = replace(entry, package=draw(st.sampled_from(["", "p"])))
    return found


MIRROR = {"added": "removed", "removed": "added"}


@given(trees(), trees(), st.booleans(), st.booleans())
def test_a_difference_applied_to_one_tree_gives_the_other(
    a: dict[str, Entry], b: dict[str, Entry], folder: bool, other_folder: bool
) -> None:
    there = list(diff.files(Held(a, folder), Held(b, other_folder)))
    back = list(diff.files(Held(b, other_folder), Held(a, folder)))
    assert [change.path for change in there] == sorted(change.path for change in there)
    assert [(c.path, c.before and c.before.path, tuple(MIRROR.get(w, w) for w in c.what)) for c in there] == [
        (c.path, c.after and c.after.path, c.what) for c in back
    ]
    assert sum(c.growth for c in there) == -sum(c.growth for c in back)
    assert sum(c.growth for c in there) == sum(e.size for e in b.values()) - sum(e.size for e in a.values())
    applied = dict(a)
    for change in there:
        if change.after is None:
            del applied[change.path]
        else:
            applied[change.path] = b[change.path]
    same = [replace(each, mtime=0, package="", mode=0 if each.kind == "l" else each.mode) for each in applied.values()]
    wanted = [replace(each, mtime=0, package="", mode=0 if each.kind == "l" else each.mode) for each in b.values()]
    assert sorted(same, key=lambda e: e.path) == sorted(wanted, key=lambda e: e.path)


@given(trees(), st.booleans(), st.booleans())
def test_nothing_differs_from_itself(a: dict[str, Entry], folder: bool, other_folder: bool) -> None:
    assert list(diff.files(Held(a, folder), Held(dict(a), other_folder), times=True)) == []


@given(
    st.lists(st.text(st.characters(codec="ascii"), max_size=40), max_size=8), st.lists(st.text(max_size=20), max_size=4)
)
def test_a_damaged_manifest_is_an_error_of_ours(lines: list[str], others: list[str]) -> None:
    class Damaged(Held):
        def entries(self) -> Iterator[str | Entry]:
            return iter([line.replace("\n", "") + "\n" for line in lines])

    try:
        list(diff.files(Damaged({}), held([FILE])))
    except StoreFailed as error:
        assert str(error).startswith("cannot read a manifest: ")


def test_a_manifest_out_of_order_is_refused() -> None:
    class Damaged(Held):
        def entries(self) -> Iterator[str | Entry]:
            return iter(dumps([FILE]).splitlines() + dumps([replace(FILE, path="/e")]).splitlines())

    with pytest.raises(StoreFailed, match="'/e' is not in its place"):
        list(diff.files(Damaged({}), held([])))


def package(key: str, number: str = "1", *, sha256: str = "", architecture: str = "all") -> Package:
    return Package(key, key.partition(":")[0], number, architecture, sha256=sha256)


PACKAGES = [
    (None, package("a"), "added"),
    (package("a"), None, "removed"),
    (package("a", "1.0~rc1"), package("a", "1.0"), "upgraded"),
    (package("a", "1:1"), package("a", "2"), "downgraded"),
    (package("a", "1", sha256="1"), package("a", "1", sha256="2"), "rebuilt"),
    (package("a", "1", sha256="1"), package("a", "1"), None),
    (package("a", "1"), package("a", "1", architecture="amd64"), "rebuilt"),
    (package("a", "1.0"), package("a", "0:1.0-0"), "rebuilt"),
]


@pytest.mark.parametrize(("before", "after", "change"), PACKAGES)
def test_what_became_of_a_package(before: Package | None, after: Package | None, change: str | None) -> None:
    sides = [{each.key: each} if each else {} for each in (before, after)]
    found = diff.packages(*sides, order=version.key)
    assert [each.change for each in found] == ([change] if change else [])


@given(*[st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["1", "2", "1~"]), max_size=4)] * 2)
def test_packages_mirror(a: dict[str, str], b: dict[str, str]) -> None:
    one, other = ({name: package(name, number) for name, number in each.items()} for each in (a, b))
    mirror = {**MIRROR, "upgraded": "downgraded", "downgraded": "upgraded"}
    there = [(each.key, each.change) for each in diff.packages(one, other, order=version.key)]
    back = [(each.key, mirror[each.change]) for each in diff.packages(other, one, order=version.key)]
    assert there == back
    assert diff.packages(one, one, order=version.key) == []


RUNNING = [
    ("/run/x", True),
    ("/run", False),
    ("/var/log/apt/history.log", True),
    ("/etc/machine-id", True),
    ("/etc/ssh/ssh_host_ed25519_key", True),
    ("/etc/passwd", False),
    ("/usr/lib/python3/x/__pycache__/y.cpython-311.pyc", True),
    ("/usr/lib/python3/x/__pycache__", True),
    ("/usr/lib/run/x", False),
    ("/", False),
    ("/runx", False),
]


@pytest.mark.parametrize(("path", "expected"), RUNNING)
def test_what_a_running_root_changes_by_nature(path: str, expected: bool) -> None:
    assert bool(running.expected(path)) == expected


SHOWN = [
    ("/usr/bin/é", "/usr/bin/é"),
    ("a\x1b[31mb\n\r\x07", "a\\x1b[31mb\\x0a\\x0d\\x07"),
    ("\udcff", "\\xff"),
    ("\u202etxt", "\\u202etxt"),
    ("\x9b0m", "\\x9b0m"),
    ("\U000e0001", "\\U000e0001"),
    ("\ud800", "\\ud800"),
]


@pytest.mark.parametrize(("text", "said"), SHOWN)
def test_nothing_a_terminal_would_act_on_is_printed(text: str, said: str) -> None:
    assert shown(text) == said


@given(st.text())
def test_whatever_is_shown_can_be_printed(text: str) -> None:
    assert shown(text).isprintable()


TEXTS = [
    (b"a\nb\n", b"a\nc\n", ["@@ -1,2 +1,2 @@", " a", "-b", "+c"], ""),
    (b"a", b"a\n", ["\\ no newline at the end before"], ""),
    (b"", b"a\n", ["@@ -0,0 +1 @@", "+a"], ""),
    (b"a\0", b"a", [], "binary"),
    (b"\xff\n", b"a\n", [], "binary"),
    (b"a" * (textdiff.MOST_BYTES + 1), b"", [], "too large"),
    (b"\n" * (textdiff.MOST_LINES + 1), b"", [], "too many lines"),
    (b"", b"", [], ""),
]


@pytest.mark.parametrize(("before", "after", "lines", "why"), TEXTS)
def test_lines_that_differ(before: bytes, after: bytes, lines: list[str], why: str) -> None:
    assert textdiff.unified(before, after) == (lines, why)
