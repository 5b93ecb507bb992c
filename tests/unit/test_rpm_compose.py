from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hosier.build.place import Filter
from hosier.build.rpm import compose
from hosier.build.rpm.compose import Policy, Unpacked, decide, place
from hosier.build.tree import Tree
from hosier.distro.rpm.header import Header
from hosier.errors import BuildFailed
from hosier.store.manifest import Entry
from kit import rpmroots
from kit.rpms import CONFIG, DOC, GHOST, INT32, NOREPLACE, Dir, File, HardLink, Link, Node, Special

ELF32, ELF64 = 1, 2


@dataclass(frozen=True)
class P:
    """A package of a case."""

    name: str
    files: Mapping[str, Node]
    colors: Sequence[int] = ()


WIDE = Policy(color=3)


@dataclass(frozen=True)
class Case:
    name: str
    packages: Sequence[P]
    tree: Mapping[str, str] = field(default_factory=dict)
    """What must be there in the end: path to "KIND MODE UID:GID OWNER [CONTENT-OF|-> TARGET]"."""
    states: Mapping[str, str] = field(default_factory=dict)
    """Package to the states of its files, a digit each, where not all are 0."""
    there: Sequence[Entry] = ()
    policy: Policy = WIDE
    error: str = ""


def fd(path: str, **rest: object) -> Entry:
    return Entry(path, "d", 0o755, 0, 0, 1, **rest)  # type: ignore[arg-type]


def ff(path: str, sha256: str = "0" * 64, **rest: object) -> Entry:
    return Entry(path, "f", 0o644, 0, 0, 1, size=1, sha256=sha256, **rest)  # type: ignore[arg-type]


CASES = [
    Case(
        "a file equal in two packages is there once, its first owner's",
        [P("a", {"/x": File("x", mtime=5)}), P("b", {"/x": File("x", mtime=6)})],
        {"/x": "f 644 0:0 a"},
    ),
    Case(
        "other content",
        [P("a", {"/x": File("x")}), P("b", {"/x": File("y")})],
        error="cannot install b 1.0-1: its /x is not the same as that of a 1.0-1",
    ),
    Case(
        "another mode",
        [P("a", {"/x": Dir(0o755)}), P("b", {"/x": Dir(0o700)})],
        error="cannot install b 1.0-1: its /x is not the same as that of a 1.0-1",
    ),
    Case(
        "another owner",
        [P("a", {"/x": File("x")}), P("b", {"/x": File("x", user="web")})],
        error="cannot install b 1.0-1: its /x is not the same as that of a 1.0-1",
    ),
    Case(
        "another target",
        [P("a", {"/x": Link("a")}), P("b", {"/x": Link("b")})],
        error="cannot install b 1.0-1: its /x is not the same as that of a 1.0-1",
    ),
    Case(
        "a link and a directory",
        [P("a", {"/x": Link("a")}), P("b", {"/x": Dir()})],
        error="cannot install b 1.0-1: its /x is not the same as that of a 1.0-1",
    ),
    Case(
        "the same path through a link",
        [P("a", {"/bin": Link("usr/bin"), "/usr/bin/x": File("x")}), P("b", {"/bin/x": File("y")})],
        error="cannot install b 1.0-1: its /bin/x is not the same as that of a 1.0-1",
    ),
    Case(
        "a file goes where a link of a later package leads",
        [P("a", {"/bin/x": File("x")}), P("b", {"/bin": Link("usr/bin")})],
        {"/usr": "d 755 0:0", "/usr/bin": "d 755 0:0", "/usr/bin/x": "f 644 0:0 a", "/bin": "l 777 0:0 b -> usr/bin"},
    ),
    Case(
        "the one for 64 bits wins when it comes last",
        [P("a", {"/x": File("32", 0o755)}, [ELF32]), P("b", {"/x": File("64", 0o755)}, [ELF64])],
        {"/x": "f 755 0:0 b"},
        {"a": "4"},
    ),
    Case(
        "the one for 64 bits wins when it comes first",
        [P("a", {"/x": File("64", 0o755)}, [ELF64]), P("b", {"/x": File("32", 0o755)}, [ELF32])],
        {"/x": "f 755 0:0 a"},
        {"b": "4"},
    ),
    Case(
        "no word size wins where there is but one",
        [P("a", {"/x": File("32", 0o755)}, [ELF32]), P("b", {"/x": File("64", 0o755)}, [ELF64])],
        policy=Policy(color=0),
        error="cannot install b 1.0-1: its /x is not the same as that of a 1.0-1",
    ),
    Case(
        "a ghost is owned and not made, nor are the folders above it",
        [P("a", {"/var/log/x": File("", flags=GHOST)})],
    ),
    Case(
        "a directory takes the place of a ghost that is the same",
        [P("a", {"/x": Dir(flags=GHOST)}), P("b", {"/x": Dir()})],
        {"/x": "d 755 0:0 b"},
    ),
    Case(
        "two ghosts are the same, whatever they are",
        [P("a", {"/x": Dir(0o700, flags=GHOST)}), P("b", {"/x": File("", flags=GHOST)})],
    ),
    Case(
        "a ghost is the same as anything",
        [P("a", {"/x": Dir(0o700, flags=GHOST)}), P("b", {"/x": File("x")})],
        {"/x": "f 644 0:0 b"},
    ),
    Case(
        "a ghost does not hide that two others differ",
        [P("a", {"/x": File("x")}), P("b", {"/x": File("", flags=GHOST)}), P("c", {"/x": File("z")})],
        error="cannot install c 1.0-1: its /x is not the same as that of a 1.0-1",
    ),
    Case(
        "documentation goes, and the folder that it leaves empty",
        [P("a", {"/doc": Dir(), "/doc/one": File("1", flags=DOC), "/other": Dir(), "/other/two": File("2")})],
        {"/other": "d 755 0:0 a", "/other/two": "f 644 0:0 a"},
        {"a": "2200"},
        policy=Policy(docs=False),
    ),
    Case(
        "languages by their beginning",
        [P("a", {"/de": File("1", lang="de"), "/fr": File("2", lang="fr|it"), "/none": File("3")})],
        {"/de": "f 644 0:0 a", "/none": "f 644 0:0 a"},
        {"a": "020"},
        policy=Policy(languages=("de_AT",)),
    ),
    Case(
        "patterns of the spec",
        [P("a", {"/usr/share/doc/x": File("1"), "/usr/x": File("2")})],
        {"/usr": "d 755 0:0", "/usr/x": "f 644 0:0 a"},
        {"a": "20"},
        policy=Policy(Filter(("/usr/share/doc/*",))),
    ),
    Case(
        "an unknown owner is root, without the rights of the file's",
        [P("a", {"/x": File("x", 0o6755, user="nobody", group="web")})],
        {"/x": "f 2755 0:34 a"},
    ),
    Case(
        "owners by name, capabilities, devices, pipes, hard links",
        [
            P(
                "a",
                {
                    "/c": File("x", caps="cap_net_raw=ep"),
                    "/d": Special("c", 1, 3, 0o620, user="web", group="web"),
                    "/p": Special("p", mode=0o600),
                    "/one": File("1", user="web"),
                    "/two": HardLink("/one"),
                },
            )
        ],
        {
            "/c": "f 644 0:0 a 0100000200200000000000000000000000000000",
            "/d": "c 620 33:34 a",
            "/p": "p 600 0:0 a",
            "/one": "f 644 33:0 a",
            "/two": "f 644 33:0 a = /one",
        },
    ),
    Case(
        "a configuration file lies beside what was there",
        [P("a", {"/etc/x": File("new", flags=CONFIG | NOREPLACE)})],
        {"/etc": "d 755 0:0", "/etc/x": "f 644 0:0", "/etc/x.rpmnew": "f 644 0:0 a"},
        there=[fd("/etc"), ff("/etc/x")],
    ),
    Case(
        "a configuration file that may replace keeps what was there",
        [P("a", {"/etc/x": File("new", flags=CONFIG)})],
        {"/etc": "d 755 0:0", "/etc/x": "f 644 0:0 a", "/etc/x.rpmorig": "f 644 0:0"},
        there=[fd("/etc"), ff("/etc/x")],
    ),
    Case(
        "a directory over a link to one is that one",
        [P("a", {"/x": Dir(0o700), "/x/f": File("f")})],
        {"/real": "d 700 0:0 a", "/x": "l 777 0:0 -> real", "/real/f": "f 644 0:0 a"},
        there=[fd("/real"), Entry("/x", "l", 0o777, 0, 0, 1, target="real")],
    ),
    Case(
        "a directory over a link to nothing takes its place",
        [P("a", {"/x": Dir(0o700)})],
        {"/x": "d 700 0:0 a"},
        there=[Entry("/x", "l", 0o777, 0, 0, 1, target="nowhere")],
    ),
    Case(
        "a link where a directory is",
        [P("a", {"/x": Link("y")})],
        there=[fd("/x")],
        error="cannot install a 1.0-1: its /x is a directory of an earlier step",
    ),
    Case(
        "unknown capabilities",
        [P("a", {"/x": File("x", caps="cap_fly=ep")})],
        error="cannot install a 1.0-1: its /x has the unknown capabilities 'cap_fly=ep'",
    ),
]


def unpacked(folder: Path, package: P) -> Unpacked:
    changes = {1140: (INT32, list(package.colors))} if package.colors else {}
    made = rpmroots.made(folder, package.name, files=package.files, tags=changes)
    return rpmroots.load(folder / "unpacked", made)


def told(entry: Entry) -> str:
    found = f"{entry.kind} {entry.mode:o} {entry.uid}:{entry.gid} {entry.package}".rstrip()
    found += f" -> {entry.target}" if entry.kind == "l" else ""
    found += f" {entry.xattrs[0][1]}" if entry.xattrs else ""
    return found + (f" = {entry.hardlink}" if entry.hardlink else "")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_compose(case: Case, tmp_path: Path) -> None:
    tree = Tree({entry.path: entry for entry in [fd("/"), *case.there]}, {"web": 33}, {"web": 34})
    packages = [unpacked(tmp_path, package) for package in case.packages]
    try:
        decided = decide(tree, packages, case.policy)
        ops, _ = place(tree, packages, decided, packages)
    except BuildFailed as error:
        assert str(error) == case.error
        return
    assert case.error == ""
    assert {path: told(entry) for path, entry in tree.entries.items() if path != "/"} == case.tree
    states = {p.name: "".join(map(str, decided.states(p))) for p in packages}
    assert {name: found for name, found in states.items() if found.strip("0")} == case.states
    assert {op.entry.path for op in ops} <= tree.entries.keys()


def test_what_cannot_be_given_is_said_once(tmp_path: Path) -> None:
    tree = Tree({"/": fd("/")})
    files = {"/x": File("x", user="web", group="web"), "/y": File("y", user="web")}
    packages = [unpacked(tmp_path, P("a", files))]
    _, said = place(tree, packages, decide(tree, packages, Policy()), packages)
    assert said == ["group web does not exist - using root", "user web does not exist - using root"]


def as_installed(package: Unpacked) -> Header:
    from hosier.distro.rpm import database

    states = bytes(len(package.members))
    return Header.parse_installed(database.installed(package.raw, package.signature, states=states, time=1, color=3))


BESIDE: list[tuple[str, P, P, str]] = [
    ("equal", P("a", {"/x": File("x")}), P("b", {"/x": File("x")}), "0 []"),
    (
        "equal configuration stays",
        P("a", {"/x": File("x", flags=CONFIG)}),
        P("b", {"/x": File("x", flags=CONFIG)}),
        "1 []",
    ),
    ("64 bits win", P("a", {"/x": File("3")}, [ELF32]), P("b", {"/x": File("6")}, [ELF64]), "0 [(0, 0)]"),
    ("32 bits lose", P("a", {"/x": File("6")}, [ELF64]), P("b", {"/x": File("3")}, [ELF32]), "3 []"),
    ("another", P("a", {"/x": File("x")}), P("b", {"/x": File("y")}), "its /x is not the same as that of a 1.0-1"),
]


@pytest.mark.parametrize(("name", "old", "new", "expected"), BESIDE, ids=[row[0] for row in BESIDE])
def test_beside_what_is_installed(name: str, old: P, new: P, expected: str, tmp_path: Path) -> None:
    before, package = unpacked(tmp_path, old), unpacked(tmp_path, new)
    tree = Tree({"/": fd("/"), "/x": ff("/x", package="a")})
    try:
        decided = decide(tree, [package], Policy(color=3), [as_installed(before)])
    except BuildFailed as error:
        assert str(error).endswith(expected)
        return
    assert f"{decided.fates[package.full][0]} {decided.overruled}" == expected


def test_languages() -> None:
    assert compose._spoken("de", None) and compose._spoken("de", ("all",)) and compose._spoken("it|de", ("fr", "de"))
    assert not compose._spoken("de_AT", ("de",))
