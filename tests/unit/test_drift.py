"""The engine without a root: which packages drifted, how capabilities are read, how what was added is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.distro.rpm import places
from hosier.distro.rpm.installed import Database
from hosier.errors import UsageError
from hosier.inspect import drift, drift_deb, drift_rpm, running
from hosier.inspect.drift import FileDrift, Installed, Said, Wanted
from hosier.inspect.drift_declared import of_spec
from hosier.inspect.drift_rpm import RpmRecords, capabilities
from hosier.inspect.drift_words import file_lines
from hosier.spec.model import Device, File, Packages, Request, Spec, User
from hosier.store.manifest import Entry


class Rpms(RpmRecords):
    def __init__(self, packages: Sequence[Installed]) -> None:
        super().__init__(Database("/var/lib/rpm", "rpmdb.sqlite", (), ()))
        self.known = packages

    def packages(self) -> Sequence[Installed]:
        return self.known


@dataclass
class Case:
    name: str
    installed: Sequence[tuple[str, str, str]]
    wanted: Sequence[Wanted]
    found: Sequence[tuple[str, str, str | None, str | None]]
    """Change, name, installed version, declared version."""


X, N = "x86_64", "noarch"
CASES = [
    Case("the same", [("a", "1-1", X)], [Wanted("a", "1-1", X)], []),
    Case("not declared", [("a", "1-1", X)], [], [("undeclared", "a", "1-1", None)]),
    Case("not installed", [], [Wanted("a", "1-1", X)], [("missing", "a", None, "1-1")]),
    Case("newer", [("a", "1-10", X)], [Wanted("a", "1-9", X)], [("newer", "a", "1-10", "1-9")]),
    Case("older", [("a", "1~rc1-1", X)], [Wanted("a", "1-1", X)], [("older", "a", "1~rc1-1", "1-1")]),
    Case("an epoch decides", [("a", "1:1-1", X)], [Wanted("a", "2-1", X)], [("newer", "a", "1:1-1", "2-1")]),
    Case("a file's name has no epoch", [("a", "1:1-1", X)], [Wanted("a", "1-1", X, epoch=False)], []),
    Case("two ways to write one version", [("a", "1.0-1", X)], [Wanted("a", "1_00-1", X)], []),
    Case("any version", [("a", "7-7", X)], [Wanted("a")], []),
    Case("a version without a release", [("a", "7-7", X)], [Wanted("a", "7")], []),
    Case("another architecture", [("a", "1-1", "i686")], [Wanted("a", "1-1", X)], [("other", "a", "1-1", "1-1")]),
    Case("two architectures", [("a", "1-1", "i686"), ("a", "1-1", X)], [Wanted("a", "1-1", X)],
         [("undeclared", "a", "1-1", None)]),
    Case("two kernels, one declared", [("k", "1-1", X), ("k", "2-1", X)], [Wanted("k", "2-1", X)],
         [("undeclared", "k", "1-1", None)]),
    Case("two kernels, one of any version declared", [("k", "1-1", X), ("k", "2-1", X)],
         [Wanted("k"), Wanted("k", "1-1", X)], []),
    Case("none of two kernels stands for a third", [("k", "1-1", X), ("k", "2-1", X)],
         [Wanted("k", "2-1", X), Wanted("k", "3-1", X)],
         [("missing", "k", None, "3-1"), ("undeclared", "k", "1-1", None)]),
    Case("nor one for two", [("k", "1-1", X)], [Wanted("k", "2-1", X), Wanted("k", "3-1", X)],
         [("missing", "k", None, "2-1"), ("missing", "k", None, "3-1"), ("undeclared", "k", "1-1", None)]),
    Case("by name and version", [("k", "1-1", X), ("k", "1:2-1", X), ("k-2", "1-1", X)],
         [Wanted("k-1-1"), Wanted("k-2"), Wanted("k-1:2-1"), Wanted("k-2-2")],
         [("missing", "k-2-2", None, "")]),
    Case("by name and version, without an epoch and a release", [("k", "1-1", X), ("k", "1:2-1", X)],
         [Wanted("k-1"), Wanted("k-2-1")], []),
    Case("declared in two nails", [("a", "1-1", X)], [Wanted("a", "1-1", X), Wanted("a", "1-1", X)], []),
    Case("sorted by name", [("b", "1-1", N), ("a", "1-1", N)], [Wanted("c")],
         [("undeclared", "a", "1-1", None), ("undeclared", "b", "1-1", None), ("missing", "c", None, "")]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_packages(case: Case) -> None:
    found = drift.packages(Rpms([Installed(*each) for each in case.installed]), case.wanted)
    told = [
        (each.change, each.name, each.installed and each.installed.version, each.wanted and each.wanted.version)
        for each in found
    ]
    assert told == list(case.found)


WORDS = st.sampled_from(["a", "b", "c"])
VERSIONS = st.sampled_from(["1-1", "1-2", "2:1-1"])
ARCHITECTURES = st.sampled_from([X, N])
SETS = st.lists(st.tuples(WORDS, VERSIONS, ARCHITECTURES), unique=True, max_size=8)


@given(SETS, SETS)
def test_every_package_is_told_once_or_is_as_declared(
    installed: list[tuple[str, str, str]], wanted: list[tuple[str, str, str]]
) -> None:
    found = drift.packages(Rpms([Installed(*each) for each in installed]), [Wanted(*each) for each in wanted])
    extra = [(p.installed.name, p.installed.version, p.installed.architecture) for p in found if p.installed]
    lack = [(p.wanted.name, p.wanted.version, p.wanted.architecture) for p in found if p.wanted]
    assert sorted(extra) == sorted(set(installed) - set(wanted))
    assert sorted(lack) == sorted(set(wanted) - set(installed))


RAW, ADMIN = 1 << 13, 1 << 12


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", (0, 0, False)),
        ("cap_net_raw=ep", (RAW, 0, True)),
        ("cap_net_admin,cap_net_raw+p", (RAW | ADMIN, 0, False)),
        ("CAP_NET_RAW=eip", (RAW, RAW, True)),
        ("= cap_net_raw+ep", (RAW, 0, True)),
        ("cap_net_admin,cap_net_raw=p cap_net_admin-p", (RAW, 0, False)),
        ("=ep cap_net_raw-ep", ((1 << 41) - 1 & ~RAW, 0, True)),
        ("13=p", (RAW, 0, False)),
        ("cap_of_tomorrow=p", (0, 0, False)),
        ("no capabilities at all", (0, 0, False)),
    ],
)
def test_capabilities_are_read_as_libcap_reads_them(text: str, found: tuple[int, int, bool]) -> None:
    assert capabilities(text) == found


@given(st.text(max_size=40))
def test_any_text_has_capabilities(text: str) -> None:
    permitted, inheritable, _ = capabilities(text)
    assert 0 <= permitted < 1 << 64 and 0 <= inheritable < 1 << 64


def test_what_was_added_is_told_by_its_highest_folder() -> None:
    added = ["/opt", "/opt-1", "/opt/a", "/opt/a/b", "/srv/x"]
    assert drift.tops(sorted(added)) == {"/opt": 2, "/opt-1": 0, "/srv/x": 0}


def test_lines_group_by_package() -> None:
    entry = Entry("/etc/a", "f", 0o600, 5, 0, 0, size=3)
    said = Said("/etc/a", "pkg", kind="f", mode=0o644, user="root", size=2, config=True)
    found = [
        FileDrift("/etc/a", "pkg", ("content", "mode", "owner"), said, entry),
        FileDrift("/etc/b", "pkg", ("gone",), said, None),
        FileDrift("/opt", "", ("added",), None, entry),
        FileDrift("/opt/x", "", ("added",), None, entry),
        FileDrift("/z", "pkg", ("type",), Said("/z", "pkg", kind="d"), entry),
    ]
    assert list(file_lines(found)) == [
        "pkg",
        "  ~ /etc/a  content 2 B -> 3 B, mode 0644 -> 0600, owner root -> 5  (configuration)",
        "  - /etc/b  (configuration)",
        "  ~ /z  folder -> file",
        "(no package)",
        "  + /opt/ and 1 below it",
    ]


def requests(*urls: str) -> Packages:
    return Packages(install=tuple(Request("", url=url) for url in urls), dependencies=False)


def test_a_spec_declares_packages_by_their_files_and_what_it_adds() -> None:
    spec = Spec(
        "web",
        packages=requests("http://x.example.org/a%2Bb-1-1.x86_64.rpm?token=1", "http://x.example.org/nonsense.rpm"),
        devices=(Device("/dev/null", "c", 1, 3, 0o666),),
        files=(File("/etc/app/conf", content="x", owner="5"), File("/etc/link", target="app")),
        users=(User("web", home="/srv/web", create_home=True), User("other")),
    )
    found = of_spec(spec)
    assert found.family == "rpm"
    assert found.wanted == (Wanted("a+b", "1-1", "x86_64", epoch=False),)
    assert [note.partition(": ")[2] for note in found.notes] == [
        "cannot tell which package it is: 'nonsense' is not NAME-[EPOCH:]VERSION-RELEASE.ARCH"
    ]
    told = {each.path: (each.kind, each.user, sorted(each.facts), each.needed) for each in found.files}
    assert told == {
        "/dev/null": ("c", "root", ["device", "group", "mode", "owner", "type"], True),
        "/etc/app/conf": ("f", "#5", ["content", "group", "mode", "owner", "type"], True),
        "/etc/link": ("l", "root", ["group", "link", "owner", "type"], True),
        "/srv/web": ("d", None, ["type"], True),
        "/dev": ("", None, [], False),
        "/etc": ("", None, [], False),
        "/etc/app": ("", None, [], False),
        "/srv": ("", None, [], False),
    }


FOLDERS = {"/a": "one", "/a/b": "two", "/b/a/b": "three"}


@given(st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=6))
def test_the_nearest_folder_is_the_one_that_lies_deepest(parts: list[str]) -> None:
    above = ["/" + "/".join(parts[:count]) for count in range(len(parts) - 1, 0, -1)]
    expected = next((FOLDERS[each] for each in above if each in FOLDERS), "")
    assert running.nearest("/" + "/".join(parts), FOLDERS, len("/b/a/b")) == expected


def test_what_lies_far_below_a_folder_is_known_at_once() -> None:
    deep = "/d" * 500_000  # each folder by itself, from the deepest on, would take hours
    assert (running.expected(f"/tmp{deep}"), running.expected(deep)) == ("temporary files", "")
    assert (drift_rpm.added(f"/var/lib/dnf{deep}"), drift_rpm.added(deep)) == ("records of dnf", "")
    assert (drift_deb.added(f"/var/lib/apt{deep}"), drift_deb.added(deep)) == ("records of apt", "")


def test_requests_that_only_a_lock_decides_are_noted() -> None:
    names = ("plain", "a-1:2-3.noarch", "glob*", "@group", "/usr/bin/x", "perl(Foo)")
    found = of_spec(Spec("web", packages=Packages(install=tuple(Request(name) for name in names))))
    assert found.wanted == (Wanted("plain"), Wanted("a", "1:2-3", "noarch"))
    assert len(found.notes) == 5 and "has no lock" in found.notes[-1]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("# comment\nupdates,sl-updates\n", {"updates": "sl-updates"}),
        (" /var/cache/yum/x/ , y \n", {"/var/cache/yum/x": "y"}),
        ("no comma\n", {}),
    ],
)
def test_hints(text: str, found: dict[str, str]) -> None:
    assert places.hints(text) == found


@given(st.text(max_size=60))
def test_a_url_of_the_metadata_is_one_word_of_bash(location: str) -> None:
    url = places.joined("http://example.org/x", location)
    assert not set(url) & set(" \t\n;&|<>()$`\\\"'*?{}#!")
    assert url.isascii()


def test_repositories_of_a_yum_configuration() -> None:
    text = (
        "[main]\ngpgcheck=1\n[a]\nname=A\nbaseurl=http://example.org/a/\npriority=7\n"
        "[off]\nbaseurl=http://example.org/off\nenabled=0\n[b]\nmirrorlist=http://example.org/m\n"
    )
    found = places.configured(text, name="yum.conf")
    assert [(each.name, each.uris, each.mirrorlist, each.gpgcheck, each.priority) for each in found] == [
        ("a", ("http://example.org/a",), None, False, 7),
        ("b", (), "http://example.org/m", False, 99),
    ]
    with pytest.raises(UsageError, match="has no repository that is enabled"):
        places.configured("[main]\n", name="yum.conf")
