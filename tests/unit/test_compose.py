from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from textwrap import dedent

import pytest

from hosier.build.compose import Unpacked, plan, replaces
from hosier.build.place import Filter, Op
from hosier.build.tree import Tree
from hosier.distro.deb import control
from hosier.distro.deb.dpkgdb import Diversion, Override
from hosier.errors import BuildFailed
from hosier.store.manifest import Entry
from kit.debs import MTIME, Device, Dir, File, HardLink, Link, control_text
from kit.unpacked import unpacked

WORDS = ("", "old", "new", "one", "two", "three", "mine")
TEXTS = {hashlib.sha256(word.encode()).hexdigest(): word for word in WORDS}
USUAL = {"d": 0o755, "f": 0o644, "l": 0o777}


def line(entry: Entry) -> str:
    """One entry; mode, owner and package only where they are not the usual ones."""
    words = [entry.path, entry.kind]
    if entry.mode != USUAL.get(entry.kind):
        words.append(f"{entry.mode:o}")
    if entry.uid or entry.gid:
        words.append(f"{entry.uid}:{entry.gid}")
    if entry.kind == "f":
        words.append(repr(TEXTS[entry.sha256]))
    if entry.kind == "l":
        words.append("-> " + entry.target)
    if entry.rdev:
        words.append(f"{entry.rdev[0]},{entry.rdev[1]}")
    if entry.hardlink:
        words.append("= " + entry.hardlink)
    if entry.package:
        words.append("of " + entry.package)
    return " ".join(words)


def operation(op: Op) -> str:
    blob = "" if op.blob is None else (" copy " if op.own else " link ") + op.blob
    return f"{op.entry.path} {op.entry.kind}{blob}"


def folder(path: str, package: str = "") -> Entry:
    return Entry(path, "d", 0o755, 0, 0, MTIME, package=package)


def link(path: str, target: str, package: str = "") -> Entry:
    return Entry(path, "l", 0o777, 0, 0, MTIME, target=target, package=package)


def file(path: str, content: str, package: str = "", hardlink: str = "") -> Entry:
    digest = hashlib.sha256(content.encode()).hexdigest()
    return Entry(path, "f", 0o644, 0, 0, MTIME, len(content), digest, package=package, hardlink=hardlink)


def device(path: str) -> Entry:
    return Entry(path, "c", 0o666, 0, 0, MTIME, rdev=(1, 3))


MERGED = (folder("/"), folder("/usr"), folder("/usr/bin"), link("/bin", "usr/bin"))


@dataclass
class Case:
    name: str
    packages: Sequence[Unpacked]
    tree: str = ""
    """The whole tree expected; it holds what was there before, too."""
    before: Sequence[Entry] = (folder("/"),)
    lists: Mapping[str, str] | None = None
    """Where given, each package's list, the paths taken from it not yet off."""
    taken: Mapping[str, set[str]] = field(default_factory=dict)
    beside: Mapping[str, set[str]] = field(default_factory=dict)
    ops: str | None = None
    diversions: Sequence[Diversion] = ()
    overrides: Sequence[Override] = ()
    users: Mapping[str, int] = field(default_factory=dict)
    filter: Filter = field(default_factory=Filter)
    installed: Mapping[str, str] = field(default_factory=dict)
    """Packages of an earlier stage: info name to the text of their control file."""
    error: str = ""


def same(name: str, architecture: str, files: Mapping[str, File | str], conffiles: Sequence[str] = ()) -> Unpacked:
    return unpacked(name, files, architecture=architecture, fields={"Multi-Arch": "same"}, conffiles=conffiles)


CASES = [
    Case(
        "a package into nothing: members in order, content by link",
        [
            unpacked(
                "a",
                {
                    "/": Dir(),
                    "/etc": Dir(),
                    "/etc/x": File("one", 0o640, 0, 42, gname=""),
                    "/etc/l": Link("x"),
                    "/etc/y": "two",
                },
            )
        ],
        """\
        / d
        /etc d of a
        /etc/l l -> x of a
        /etc/x f 640 0:42 'one' of a
        /etc/y f 'two' of a
        """,
        lists={"a": "/ /etc /etc/x /etc/l /etc/y"},
        ops="""\
        /etc d
        /etc/x f link /0
        /etc/l l
        /etc/y f link /1
        """,
    ),
    Case(
        "folders that no package ships are root's, 0755",
        [unpacked("a", {"/opt/deep/er/x": "one", "/opt/deep/y": "two"})],
        """\
        / d
        /opt d
        /opt/deep d
        /opt/deep/er d
        /opt/deep/er/x f 'one' of a
        /opt/deep/y f 'two' of a
        """,
        ops="""\
        /opt d
        /opt/deep d
        /opt/deep/er d
        /opt/deep/er/x f link /0
        /opt/deep/y f link /1
        """,
    ),
    Case(
        "a link to a directory stands for it, also under several links",
        [unpacked("a", {"/bin": Dir(0o700), "/bin/x": "one", "/far/y": "two", "/far/in/z": "three"})],
        """\
        / d
        /bin l -> usr/bin
        /far l -> /near/../bin
        /near d
        /usr d
        /usr/bin d
        /usr/bin/in d
        /usr/bin/in/z f 'three' of a
        /usr/bin/x f 'one' of a
        /usr/bin/y f 'two' of a
        """,
        before=[*MERGED, folder("/near"), link("/far", "/near/../bin")],
        lists={"a": "/bin /bin/x /far/y /far/in/z"},
    ),
    Case(
        "a directory that is there keeps its mode and owner",
        [unpacked("a", {"/etc": Dir(0o700, 5, 5)})],
        "/ d\n/etc d of base",
        before=[folder("/"), folder("/etc", "base")],
        ops="",
    ),
    Case(
        "a link out of the root stays in it",
        [unpacked("a", {"/out": Dir(), "/out/passwd": "one", "/up/x": "two", "/self/y": "three"})],
        """\
        / d
        /etc d
        /etc/passwd f 'one' of a
        /out l -> ../../../etc
        /self l -> .
        /up l -> ..
        /x f 'two' of a
        /y f 'three' of a
        """,
        before=[folder("/"), folder("/etc"), link("/out", "../../../etc"), link("/up", ".."), link("/self", ".")],
    ),
    Case(
        "names that climb stay in the root, even if an archive's reader let them pass",
        [unpacked("a", {"/../../etc/x": "one", "/etc/../../y": "two", "/etc/./z": "three"})],
        """\
        / d
        /etc d
        /etc/x f 'one' of a
        /etc/z f 'three' of a
        /y f 'two' of a
        """,
        before=[folder("/"), folder("/etc")],
    ),
    Case(
        "a directory over a link to nothing makes what the link names",
        [unpacked("a", {"/var/lock": Dir(0o1777), "/var/lock/x": "one"})],
        """\
        / d
        /run d
        /run/lock d 1777 of a
        /run/lock/x f 'one' of a
        /var d
        /var/lock l -> /run/lock
        """,
        before=[folder("/"), folder("/var"), link("/var/lock", "/run/lock")],
    ),
    Case(
        "a directory over a file that is nobody's",
        [unpacked("a", {"/x": Dir(), "/x/y": "one"})],
        "/ d\n/x d of a\n/x/y f 'one' of a",
        before=[folder("/"), file("/x", "old")],
    ),
    Case(
        "a directory over a link to a file that is nobody's",
        [unpacked("a", {"/x": Dir()})],
        "/ d\n/f f 'old'\n/x d of a",
        before=[folder("/"), file("/f", "old"), link("/x", "f")],
    ),
    Case(
        "a directory over a file of another",
        [unpacked("a", {"/x": "one"}), unpacked("b", {"/x": Dir()})],
        error="cannot unpack b 1: it would overwrite /x, which is also in a",
    ),
    Case(
        "below a file",
        [unpacked("a", {"/x": "one"}), unpacked("b", {"/x/y": "two"})],
        error="cannot go to /x in the root: /x is not a directory",
    ),
    Case(
        "a loop of links",
        [unpacked("b", {"/x/y": "two"})],
        before=[folder("/"), link("/x", "y"), link("/y", "x")],
        error="cannot go to /x in the root: too many levels of symbolic links at /x",
    ),
    Case(
        "a link over a directory leaves the directory, and is listed",
        [unpacked("a", {"/usr/doc": Link("share/doc"), "/usr/doc/x": "one"})],
        "/ d\n/usr d\n/usr/doc d of b\n/usr/doc/x f 'one' of a",
        before=[folder("/"), folder("/usr"), folder("/usr/doc", "b")],
        lists={"a": "/usr/doc /usr/doc/x"},
        ops="/usr/doc/x f link /0",
    ),
    Case(
        "a link to the directory that the one there leads to is not written anew",
        [unpacked("a", {"/bin": Link("/usr/bin")}), unpacked("b", {"/bin": Link("usr/../usr/bin")})],
        "/ d\n/bin l -> usr/bin of a\n/usr d\n/usr/bin d",
        before=MERGED,
        lists={"a": "/bin", "b": "/bin"},
        ops="",
    ),
    Case(
        "a link to another directory is a conflict",
        [unpacked("a", {"/bin": Link("/usr")})],
        before=[*MERGED[:3], link("/bin", "usr/bin", "b")],
        error="cannot unpack a 1: it would overwrite /bin, which is also in b",
    ),
    Case(
        "a file over a directory",
        [unpacked("a", {"/etc": Dir()}), unpacked("b", {"/etc": "one"})],
        error="cannot unpack b: its file /etc is a directory of a",
    ),
    Case(
        "a file over what a script left there",
        [unpacked("a", {"/x": "new", "/l": "new"})],
        "/ d\n/l f 'new' of a\n/x f 'new' of a",
        before=[folder("/"), file("/x", "old"), link("/l", "x")],
    ),
    Case(
        "two packages with one file",
        [unpacked("a", {"/x": "one"}), unpacked("b", {"/x": "two"}, version="2")],
        error="cannot unpack b 2: it would overwrite /x, which is also in a",
    ),
    Case(
        "two packages with one file, under two names of its folder: dpkg sees none, the last stays",
        [unpacked("a", {"/bin/x": "one"}), unpacked("b", {"/usr/bin/x": "two"})],
        "/ d\n/bin l -> usr/bin\n/usr d\n/usr/bin d\n/usr/bin/x f 'two' of b",
        before=MERGED,
        lists={"a": "/bin/x", "b": "/usr/bin/x"},
    ),
    Case(
        "Replaces, and the other's list loses the path",
        [unpacked("a", {"/x": "one", "/y": "one"}), unpacked("b", {"/x": "two"}, fields={"Replaces": "a (<< 2)"})],
        "/ d\n/x f 'two' of b\n/y f 'one' of a",
        lists={"a": "/x /y", "b": "/x"},
        taken={"a": {"/x"}},
        ops="/x f link /0\n/y f link /1\n/x f link /0",
    ),
    Case(
        "Replaces under a link to a directory: lists hold the names that packages give",
        [unpacked("a", {"/bin/x": "one"}), unpacked("b", {"/bin/x": "two"}, fields={"Replaces": "c, a"})],
        "/ d\n/bin l -> usr/bin\n/usr d\n/usr/bin d\n/usr/bin/x f 'two' of b",
        before=MERGED,
        lists={"a": "/bin/x", "b": "/bin/x"},
        taken={"a": {"/bin/x"}},
    ),
    Case(
        "Replaces of another version",
        [unpacked("a", {"/x": "one"}, version="3"), unpacked("b", {"/x": "two"}, fields={"Replaces": "a (<< 2)"})],
        error="cannot unpack b 1: it would overwrite /x, which is also in a",
    ),
    Case(
        "replaced by what is there already",
        [unpacked("a", {"/x": "one"}, fields={"Replaces": "b"}), unpacked("b", {"/x": "two", "/z": "two"})],
        "/ d\n/x f 'one' of a\n/z f 'two' of b",
        taken={"b": {"/x"}},
    ),
    Case(
        "replaced by what is there already, under a link",
        [unpacked("a", {"/bin/x": "one"}, fields={"Replaces": "b"}), unpacked("b", {"/bin/x": "two"})],
        "/ d\n/bin l -> usr/bin\n/usr d\n/usr/bin d\n/usr/bin/x f 'one' of a",
        before=MERGED,
        taken={"b": {"/bin/x"}},
    ),
    Case(
        "a package of an earlier stage, replaced in the version that it has",
        [unpacked("b", {"/x": "two"}, fields={"Replaces": "a (<< 2)"})],
        "/ d\n/x f 'two' of b",
        before=[folder("/"), file("/x", "one", "a")],
        installed={"a": control_text("a", "1.9", "all", {})},
        taken={"a": {"/x"}},
    ),
    Case(
        "a package of an earlier stage in a later version",
        [unpacked("b", {"/x": "two"}, fields={"Replaces": "a (<< 2)"})],
        before=[folder("/"), file("/x", "one", "a")],
        installed={"a": control_text("a", "2", "all", {})},
        error="cannot unpack b 1: it would overwrite /x, which is also in a",
    ),
    Case(
        "replaced by a package of an earlier stage",
        [unpacked("b", {"/x": "two"})],
        "/ d\n/x f 'one' of a",
        before=[folder("/"), file("/x", "one", "a")],
        installed={"a": control_text("a", "2", "all", {"Replaces": "b (<= 1)"})},
        taken={"b": {"/x"}},
    ),
    Case(
        "Replaces of a link and of a device",
        [
            unpacked("a", {"/dev/x": Device("c", 1, 3), "/l": Link("one")}),
            unpacked("b", {"/dev/x": Device("b", 8, 1), "/l": Link("two")}, fields={"Replaces": "a"}),
        ],
        "/ d\n/dev d\n/dev/x b 666 8,1 of b\n/l l -> two of b",
        taken={"a": {"/dev/x", "/l"}},
    ),
    Case(
        "instances of a Multi-Arch: same package share what is the same",
        [
            same("l", "amd64", {"/doc": Dir(), "/doc/x": "one", "/lib/a": "one"}),
            same("l", "i386", {"/doc": Dir(), "/doc/x": "one", "/lib/i": "two"}),
        ],
        """\
        / d
        /doc d of l:amd64
        /doc/x f 'one' of l:amd64
        /lib d
        /lib/a f 'one' of l:amd64
        /lib/i f 'two' of l:i386
        """,
        lists={"l:amd64": "/doc /doc/x /lib/a", "l:i386": "/doc /doc/x /lib/i"},
    ),
    Case(
        "instances of a Multi-Arch: same package that differ",
        [same("l", "amd64", {"/doc": "one"}), same("l", "i386", {"/doc": "two"})],
        error="cannot unpack l:i386: its /doc is not the same as l:amd64's",
    ),
    Case(
        "a conffile that instances share and a script has changed",
        [same("l", "i386", {"/etc/x": "one"}, ["/etc/x"])],
        "/ d\n/etc d\n/etc/x f 'old' of l:amd64",
        before=[folder("/"), folder("/etc"), file("/etc/x", "old", "l:amd64")],
    ),
    Case(
        "a diversion by another package",
        [unpacked("a", {"/bin/x": "one"})],
        "/ d\n/bin l -> usr/bin\n/usr d\n/usr/bin d\n/usr/bin/x.d f 'one' of a",
        before=MERGED,
        diversions=[Diversion("/bin/x", "/bin/x.d", "d")],
        lists={"a": "/bin/x"},
    ),
    Case(
        "a diversion of one name does not hold for the other name of the folder",
        [unpacked("a", {"/usr/bin/x": "one"})],
        "/ d\n/bin l -> usr/bin\n/usr d\n/usr/bin d\n/usr/bin/x f 'one' of a",
        before=MERGED,
        diversions=[Diversion("/bin/x", "/bin/x.d", "d")],
    ),
    Case(
        "the package that diverts takes the path, and the other keeps it in its list",
        [unpacked("d", {"/x": "mine"})],
        "/ d\n/x f 'mine' of d\n/x.d f 'old' of a",
        before=[folder("/"), file("/x", "one", "a"), file("/x.d", "old", "a")],
        diversions=[Diversion("/x", "/x.d", "d")],
        lists={"d": "/x"},
    ),
    Case(
        "a local diversion holds for all",
        [unpacked("a", {"/x": "one"})],
        "/ d\n/opt d\n/opt/x f 'one' of a",
        diversions=[Diversion("/x", "/opt/x", ":")],
    ),
    Case(
        "a diversion that leads out of the root",
        [unpacked("a", {"/x": "one"})],
        "/ d\n/etc d\n/etc/y f 'one' of a",
        diversions=[Diversion("/x", "/../../etc/y", ":")],
    ),
    Case(
        "a file where another's was diverted to",
        [unpacked("a", {"/x.d": "one"})],
        diversions=[Diversion("/x", "/x.d", "d")],
        error="cannot unpack a: /x.d is where d has moved /x to",
    ),
    Case(
        "two packages with one diverted file",
        [unpacked("a", {"/x": "one"}), unpacked("b", {"/x": "two"})],
        diversions=[Diversion("/x", "/x.d", "d")],
        error="cannot unpack b 1: it would overwrite /x, which is also in a",
    ),
    Case(
        "conffiles where there are none",
        [unpacked("a", {"/etc/x": "one"}, conffiles=["/etc/x"])],
        "/ d\n/etc d\n/etc/x f 'one' of a",
    ),
    Case(
        "a conffile that a script wrote before: the package's lies beside it",
        [unpacked("a", {"/etc/x": "new"}, conffiles=["/etc/x"])],
        "/ d\n/etc d\n/etc/x f 'old'\n/etc/x.dpkg-new f 'new' of a",
        before=[folder("/"), folder("/etc"), file("/etc/x", "old")],
        beside={"a": {"/etc/x"}},
    ),
    Case(
        "a conffile that a script wrote before, the same: it stays as it is",
        [unpacked("a", {"/etc/x": "old"}, conffiles=["/etc/x"])],
        "/ d\n/etc d\n/etc/x f 600 'old' of a",
        before=[folder("/"), folder("/etc"), replace(file("/etc/x", "old"), mode=0o600)],
        ops="",
    ),
    Case(
        "a conffile that a script made a link: the package's lies beside what the link leads to",
        [unpacked("a", {"/etc/x": "new", "/etc/y": "new"}, conffiles=["/etc/x", "/etc/y"])],
        """\
        / d
        /etc d
        /etc/x l -> real
        /etc/y l -> /srv/y
        /etc/real f 'old'
        /etc/real.dpkg-new f 'new' of a
        /srv d
        /srv/y f 'new' of a
        """,
        before=[
            folder("/"),
            folder("/etc"),
            link("/etc/x", "real"),
            link("/etc/y", "/srv/y"),
            file("/etc/real", "old"),
        ],
        beside={"a": {"/etc/x"}},
    ),
    Case(
        "hard links",
        [unpacked("a", {"/x": File("one", 0o4755), "/y": HardLink("/x"), "/z": HardLink("/y")})],
        "/ d\n/x f 4755 'one' of a\n/y f 4755 'one' = /x of a\n/z f 4755 'one' = /x of a",
        ops="/x f link /0\n/y f link /0\n/z f link /0",
    ),
    Case(
        "hard links of an owner whom the root knows by another number",
        [unpacked("a", {"/x": File("one", 0o2755, gid=8, gname="man"), "/y": HardLink("/x")})],
        "/ d\n/x f 2755 0:12 'one' of a\n/y f 2755 0:12 'one' = /x of a",
        users={"man": 12},
        ops="/x f copy /0\n/y f copy /0",
    ),
    Case(
        "hard links whose first name is excluded",
        [unpacked("a", {"/x": "one", "/y": HardLink("/x"), "/z": HardLink("/x")})],
        "/ d\n/y f 'one' of a\n/z f 'one' = /y of a",
        filter=Filter(("/x",)),
        lists={"a": "/y /z"},
    ),
    Case(
        "hard links whose first name is diverted",
        [unpacked("a", {"/x": "one", "/y": HardLink("/x")})],
        "/ d\n/x.d f 'one' of a\n/y f 'one' = /x.d of a",
        diversions=[Diversion("/x", "/x.d", "d")],
    ),
    Case(
        "hard links whose first name stays another's",
        [
            unpacked("b", {"/x": "two"}, fields={"Replaces": "a"}),
            unpacked("a", {"/x": "one", "/y": HardLink("/x"), "/z": HardLink("/x")}),
        ],
        "/ d\n/x f 'two' of b\n/y f 'one' of a\n/z f 'one' = /y of a",
        taken={"a": {"/x"}},
    ),
    Case(
        "hard links whose first name is taken later",
        [
            unpacked("a", {"/x": "one", "/y": HardLink("/x"), "/z": HardLink("/x")}),
            unpacked("b", {"/x": "two"}, fields={"Replaces": "a"}),
        ],
        "/ d\n/x f 'two' of b\n/y f 'one' of a\n/z f 'one' = /y of a",
        taken={"a": {"/x"}},
    ),
    Case(
        "hard links of an earlier stage whose names go one by one",
        [unpacked("b", {"/x": "two", "/z": "three"})],
        "/ d\n/w f 'one' of a\n/x f 'two' of b\n/y f 'one' = /w of a\n/z f 'three' of b",
        before=[
            folder("/"),
            file("/x", "one"),
            file("/w", "one", "a", "/x"),
            file("/y", "one", "a", "/x"),
            file("/z", "one", "", "/x"),
        ],
    ),
    Case(
        "owners by name; a number where the root knows no such name",
        [unpacked("a", {"/d": Dir(0o2775, 1, 1, uname="m", gname="m"), "/l": Link("x", uid=7, uname="m", gname="n")})],
        "/ d\n/d d 2775 12:12 of a\n/l l 12:0 -> x of a",
        users={"m": 12},
    ),
    Case(
        "dpkg-statoverride: of files and folders, by name and by number",
        [unpacked("a", {"/d": Dir(), "/d/x": File("one", 0o755), "/d/y": "two"})],
        "/ d\n/d d 2750 0:12 of a\n/d/x f 4711 5:6 'one' of a\n/d/y f 'two' of a",
        users={"m": 12, "root": 0},
        overrides=[Override("/d", "root", "m", 0o2750), Override("/d/x", "#5", "#6", 0o4711)],
        ops="/d d\n/d/x f copy /0\n/d/y f link /1",
    ),
    Case(
        "dpkg-statoverride for a user whom the root has not",
        [unpacked("a", {"/x": "one"})],
        overrides=[Override("/x", "m", "root", 0o644)],
        error="cannot give /x to m, as dpkg-statoverride says: the root has no m",
    ),
    Case(
        "a device in the place of a file, and a file in the place of a device",
        [unpacked("a", {"/dev/x": Device("c", 1, 3), "/dev/y": "one"})],
        "/ d\n/dev d\n/dev/x c 666 1,3 of a\n/dev/y f 'one' of a",
        before=[folder("/"), folder("/dev"), file("/dev/x", "old"), device("/dev/y")],
    ),
    Case(
        "paths-exclude takes folders too, except where an include may reach",
        [
            unpacked(
                "a",
                {
                    "/doc": Dir(),
                    "/doc/a": Dir(),
                    "/doc/a/copyright": "one",
                    "/doc/a/x": "two",
                    "/doc/b": Link("a"),
                    "/man": Dir(),
                    "/man/x": "one",
                    "/man/y": Dir(),
                },
            )
        ],
        "/ d\n/doc d of a\n/doc/a d of a\n/doc/a/copyright f 'one' of a\n/doc/b l -> a of a\n/man d of a",
        filter=Filter(("/doc/*", "/man/*"), ("/doc/*/copyright",)),
        lists={"a": "/doc /doc/a /doc/a/copyright /doc/b /man"},
    ),
    Case(
        "patterns: classes, quoted stars, and a star over slashes",
        [unpacked("a", {"/a*b": "one", "/axb": "two", "/c/d/e": "three", "/q1": "one", "/q2": "two"})],
        "/ d\n/axb f 'two' of a\n/q2 f 'two' of a",
        filter=Filter((r"/a\*b", "/c*e", "/q[!2]")),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_plan(case: Case) -> None:
    tree = Tree(
        entries={entry.path: entry for entry in case.before},
        users=case.users,
        groups=case.users,
        diversions={d.path: d for d in case.diversions},
        overrides={o.path: o for o in case.overrides},
        installed=lambda label: control.parse(case.installed[label].encode()) if label in case.installed else None,
    )
    if case.error:
        with pytest.raises(BuildFailed) as caught:
            plan(tree, case.packages, case.filter)
        assert str(caught.value) == case.error
        return
    ops = plan(tree, case.packages, case.filter)
    expected = sorted(dedent(case.tree).splitlines())
    assert sorted(line(entry) for entry in tree.entries.values()) == expected
    assert all(path == entry.path for path, entry in tree.entries.items())
    assert (tree.disowned, tree.beside) == (case.taken, case.beside)
    if case.ops is not None:
        assert [operation(op) for op in ops] == dedent(case.ops).splitlines()
    if case.lists is not None:
        assert {label: " ".join(paths) for label, paths in tree.lists.items()} == case.lists


@pytest.mark.parametrize(
    ("field", "label", "version", "expected"),
    [
        ("", "a", "1", False),
        ("a", "a", "1", True),
        ("b, a (<< 2), c", "a", "1", True),
        ("a (<< 2)", "a", "2", False),
        ("a (<< 2)", "a", None, True),
        ("a (= 1:2-3)", "a:amd64", "1:2-3", True),
        ("a:i386", "a:amd64", "1", False),
        ("a:i386", "a:i386", "1", True),
        ("a:any", "a:i386", "1", True),
        ("ab", "a", "1", False),
    ],
)
def test_replaces(field: str, label: str, version: str | None, expected: bool) -> None:
    fields = control.parse(control_text("x", "1", "amd64", {"Replaces": field}).encode())
    assert replaces(fields, label, version) is expected
