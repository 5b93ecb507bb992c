from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.distro.deb import control
from hosier.distro.deb.dpkgdb import (
    Diversion,
    Override,
    StatusStanza,
    TriggerInterests,
    Triggers,
    dump_status,
    extended_states,
    file_list,
    info_name,
    installed,
    parse_diversions,
    parse_interests,
    parse_list,
    parse_overrides,
    parse_status,
    parse_triggers,
    unpacked_stanza,
)
from hosier.errors import BuildFailed

STATUS = """\
Package: a
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Version: 1:2-3
Replaces: z (<< 1)
Conffiles:
 /etc/a 0cc175b9c0f1b6a831c399e269772661
Description: first
 second line
 .
 after a gap

Package: a
Status: hold ok installed
Architecture: i386
Multi-Arch: same
Version: 1:2-3
Description: x

Package: b
Status: deinstall ok config-files
Architecture: all
Version: 1
Description: y

"""


def parsed(text: str) -> control.Control:
    return control.parse(text.encode())


def test_status_is_read_and_written_as_it_was() -> None:
    stanzas = parse_status(STATUS)
    assert dump_status(stanzas) == STATUS
    assert dump_status(reversed(stanzas)) == STATUS
    assert [(s.key, s.state()) for s in stanzas] == [
        (("a", "amd64"), "installed"),
        (("a", "i386"), "installed"),
        (("b", "all"), "config-files"),
    ]
    assert parse_status("") == [] and parse_status("\n\n\n") == [] and dump_status([]) == ""
    assert StatusStanza("x", "all").state() == "not-installed"


def test_pending_triggers_are_added_to_those_there() -> None:
    stanza = parse_status(STATUS)[1]
    stanza.pend([])
    assert stanza.state() == "installed"
    stanza.pend(["/usr/share/man", "b"])
    stanza.pend(["a", "b"])
    assert stanza.lines == [
        "Package: a",
        "Status: hold ok triggers-pending",
        "Triggers-Pending: /usr/share/man a b",
        "Architecture: i386",
        "Multi-Arch: same",
        "Version: 1:2-3",
        "Description: x",
    ]


def test_the_fields_of_an_installed_package() -> None:
    found = installed(STATUS, "a:amd64")
    assert found is not None and (found.version, found["replaces"]) == ("1:2-3", "z (<< 1)")
    other = installed(STATUS, "a:i386")
    assert other is not None and other.architecture == "i386"
    assert installed(STATUS, "a") is None and installed(STATUS, "c") is None
    assert [info_name(parsed("\n".join(s.lines))) for s in parse_status(STATUS)] == ["a:amd64", "a:i386", "b"]


def test_an_unpacked_package() -> None:
    raw = (
        "# a comment\npackage: x\nVersion: 1\nStatus: install ok installed\nArchitecture: all\n"
        "Conffiles:\n /etc/passwd x\nDescription: short\n long\n .\nConfig-Version: 0\n\n"
    )
    stanza = unpacked_stanza(parsed(raw), {"/etc/x": "d41d8", "/etc/y": "newconffile"})
    assert (stanza.key, stanza.state()) == (("x", "all"), "unpacked")
    assert dump_status([stanza]) == (
        "package: x\nStatus: install ok unpacked\nVersion: 1\nArchitecture: all\nDescription: short\n long\n .\n"
        "Conffiles:\n /etc/x d41d8\n /etc/y newconffile\n\n"
    )
    assert "Conffiles" not in dump_status([unpacked_stanza(parsed("Package: x\nVersion: 1\nArchitecture: all\n"), {})])


def test_lists() -> None:
    paths = ["/", "/usr", "/usr/a b", "/usr/\udcff"]
    assert file_list(paths) == "/.\n/usr\n/usr/a b\n/usr/\udcff\n"
    assert parse_list(file_list(paths)) == paths
    assert file_list([]) == "" and parse_list("") == []


def test_diversions() -> None:
    text = "/bin/x\n/bin/x.real\nd\n/y\n/opt/y\n:\n"
    assert parse_diversions(text) == {
        "/bin/x": Diversion("/bin/x", "/bin/x.real", "d"),
        "/y": Diversion("/y", "/opt/y", ":"),
    }
    assert parse_diversions("") == {}
    for damaged in ("/x\n", "/x\n/y\n", "/x\n/y\nd\n/z\n"):
        with pytest.raises(BuildFailed, match="cannot read /var/lib/dpkg/diversions of the root: it ends within"):
            parse_diversions(damaged)


def test_overrides() -> None:
    found = parse_overrides("root crontab 2755 /usr/bin/crontab\n#5 #6 0640 /etc/a b\n")
    assert found == {
        "/usr/bin/crontab": Override("/usr/bin/crontab", "root", "crontab", 0o2755),
        "/etc/a b": Override("/etc/a b", "#5", "#6", 0o640),
    }
    assert (found["/etc/a b"].uid({}), found["/etc/a b"].gid({})) == (5, 6)
    assert (found["/usr/bin/crontab"].uid({"root": 0}), found["/usr/bin/crontab"].gid({"crontab": 101})) == (0, 101)
    assert parse_overrides("") == {}
    for damaged in ("root root /x", "root root 9 /x", "x"):
        with pytest.raises(BuildFailed) as caught:
            parse_overrides(damaged + "\n")
        assert str(caught.value) == f"cannot read /var/lib/dpkg/statoverride of the root: a line is {damaged!r}"


def test_triggers_files() -> None:
    text = """\
    # Triggers
    interest a
    interest-await b   # and why
    interest-noawait /usr/lib
    activate c
    activate-await d
    activate-noawait e
    interest-never f
    interests g
    activate
    activate h i
    """
    interest = (("a", False), ("b", False), ("/usr/lib", True))
    assert parse_triggers(text) == Triggers(interest, ("c", "d", "e"), frozenset("e"))
    assert parse_triggers("") == Triggers()


@dataclass
class Fired:
    name: str
    paths: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    pending: dict[str, set[str]] = field(default_factory=dict)


FILES = "/usr/share/man man-db/noawait\n/usr/lib libc-bin\n/usr/lib/x one\n/usr/lib/x two:amd64\n/a b spaced\n"
NAMES = {"ldconfig": "libc-bin/noawait\n", "update": "one\ntwo:amd64/noawait\n", "empty": ""}

FIRED = [
    Fired("nothing"),
    Fired("what is elsewhere", ["/usr", "/usr/share", "/usr/share/manual", "/usr/libx/y", "/"]),
    Fired("the path itself", ["/usr/share/man"], pending={"man-db": {"/usr/share/man"}}),
    Fired("far below", ["/usr/share/man/de/man1/x.1"], pending={"man-db": {"/usr/share/man"}}),
    Fired(
        "two folders, one in the other",
        ["/usr/lib/x/y", "/usr/lib/x/z"],
        pending={"libc-bin": {"/usr/lib"}, "one": {"/usr/lib/x"}, "two:amd64": {"/usr/lib/x"}},
    ),
    Fired("a path with a space", ["/a b/c"], pending={"spaced": {"/a b"}}),
    Fired("by name", names=["ldconfig"], pending={"libc-bin": {"ldconfig"}}),
    Fired("a name of two", names=["update", "update"], pending={"one": {"update"}, "two:amd64": {"update"}}),
    Fired("a name that nobody, or one that none wants", names=["empty", "other"]),
    Fired("a path activated by name", names=["/usr/lib"], pending={"libc-bin": {"/usr/lib"}}),
]


@pytest.mark.parametrize("case", FIRED, ids=lambda case: case.name)
def test_activation(case: Fired) -> None:
    assert parse_interests(FILES, NAMES).activated(case.paths, case.names) == case.pending


def test_interests_are_added_once_and_written_sorted() -> None:
    interests = TriggerInterests()
    for package in ("z", "a:amd64", "z"):
        interests.add(package, Triggers((("/usr/lib", True), ("name", False), ("/b", False))))
    assert interests.dump_files() == "/b z\n/b a:amd64\n/usr/lib z/noawait\n/usr/lib a:amd64/noawait\n"
    assert interests.names == {"name": ["z", "a:amd64"]}
    assert parse_interests(interests.dump_files(), {"name": "z\na:amd64\n"}) == interests


paths = st.text("/ab", min_size=1, max_size=6).map(lambda t: "/" + t.strip("/").replace("//", "/"))


@given(st.lists(paths), st.lists(paths))
def test_activation_by_path_is_a_prefix_of_whole_names(interesting: list[str], changed: list[str]) -> None:
    interests = TriggerInterests(files={path: ["p"] for path in interesting if path != "/"})
    wanted = {what for what in interests.files for path in changed if path == what or path.startswith(what + "/")}
    assert interests.activated(changed, []) == ({"p": wanted} if wanted else {})


def test_what_apt_did_by_itself() -> None:
    assert extended_states({("b", "amd64"), ("a", "i386"), ("a", "amd64")}) == (
        "Package: a\nArchitecture: amd64\nAuto-Installed: 1\n\n"
        "Package: a\nArchitecture: i386\nAuto-Installed: 1\n\n"
        "Package: b\nArchitecture: amd64\nAuto-Installed: 1\n\n"
    )
    assert extended_states([]) == ""
