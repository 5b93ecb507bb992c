"""What a header says of scripts, which of them run when, and query formats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.build.rpm import triggers
from hosier.build.rpm.triggers import Installed, Run
from hosier.distro.rpm import queryformat, scripts, tags
from hosier.distro.rpm.header import Header, Malformed
from hosier.distro.rpm.scripts import Condition, Scriptlet, Scripts
from kit import rpms


def header(name: str = "demo", version: str = "1.0", **rest: Any) -> Header:
    return Header.parse(rpms.split(rpms.build(name, version, **rest)).main)


def read(name: str = "demo", version: str = "1.0", **rest: Any) -> Scripts:
    return scripts.read(header(name, version, **rest))


SCRIPTLETS = [
    ("a text", {"post": "echo hi\n"}, {"post": Scriptlet("post", ("/bin/sh",), "echo hi\n")}),
    (
        "an interpreter with arguments, flags",
        {"pre": rpms.Script("x", ("/usr/bin/perl", "-w"), flags=3)},
        {"pre": Scriptlet("pre", ("/usr/bin/perl", "-w"), "x", 3)},
    ),
    (
        "a program alone",
        {"post": rpms.Script("", "/sbin/ldconfig")},
        {"post": Scriptlet("post", ("/sbin/ldconfig",), None)},
    ),
    (
        "Lua, and those that are only kept",
        {"pretrans": rpms.Script("x()", rpms.LUA), "preun": "a", "postun": "b", "verifyscript": "c"},
        {
            "pretrans": Scriptlet("pretrans", ("<lua>",), "x()"),
            "preun": Scriptlet("preun", ("/bin/sh",), "a"),
            "postun": Scriptlet("postun", ("/bin/sh",), "b"),
            "verify": Scriptlet("verify", ("/bin/sh",), "c"),
        },
    ),
    (
        "bytes that are no UTF-8",
        {"post": rpms.Script("caf\udce9")},
        {"post": Scriptlet("post", ("/bin/sh",), "caf\udce9")},
    ),
]


@pytest.mark.parametrize(("name", "given_", "expected"), SCRIPTLETS, ids=[name for name, _, _ in SCRIPTLETS])
def test_scriptlets(name: str, given_: dict[str, Any], expected: dict[str, Scriptlet]) -> None:
    assert read(scripts=given_).scriptlets == expected


def test_words_about_a_scriptlet() -> None:
    assert [Scriptlet(kind, ("x",), "").vital for kind in ("pretrans", "pre", "post", "posttrans", "triggerin")] == [
        *(True, True, False, False, False)
    ]
    assert Scriptlet("post", ("x",), "", 4).vital
    assert (Scriptlet("post", ("<lua>",), "", 1).expanded, Scriptlet("post", ("<lua>",), "", 2).formatted) == (
        True,
        True,
    )
    assert (Scriptlet("post", ("<lua>",), "").lua, Scriptlet("post", ("/bin/sh",), "").lua) == (True, False)


def test_triggers_are_read_whole() -> None:
    found = read(
        triggers=[rpms.Trigger("in", "one", ["a", "b >= 2"]), rpms.Trigger("prein", "two", ["a < 1"], rpms.LUA, 1)],
        file_triggers=[
            rpms.FileTrigger("in", "three", ["/usr/lib", "/opt"], priority=7),
            rpms.FileTrigger("postun", "four", ["/etc"], transaction=True),
        ],
    )
    inn, prein = tags.SENSE_TRIGGERIN, tags.SENSE_TRIGGERPREIN
    conditions = (
        Condition("a", inn, "", 0),
        Condition("b", inn | tags.SENSE_GREATER | tags.SENSE_EQUAL, "2", 0),
        Condition("a", prein | tags.SENSE_LESS, "1", 1),
    )
    assert found.conditions == conditions
    assert found.triggers == (
        scripts.Trigger(Scriptlet("triggerin", ("/bin/sh",), "one"), conditions[:2]),
        scripts.Trigger(Scriptlet("triggerprein", ("<lua>",), "two", 1), conditions[2:]),
    )
    on = (Condition("/usr/lib", inn, "", 0), Condition("/opt", inn, "", 0))
    assert found.file_triggers == (scripts.Trigger(Scriptlet("filetriggerin", ("/bin/sh",), "three"), on, 7),)
    (last,) = found.transaction_triggers
    assert (last.script.kind, last.priority, last.sense) == (
        "transfiletriggerpostun",
        1_000_000,
        tags.SENSE_TRIGGERPOSTUN,
    )


DAMAGED = [
    ("fewer scripts than named", {1065: (rpms.STRINGS, ["one"]), 1069: (rpms.INT32, [0, 1])}),
    ("lists of several lengths", {1067: (rpms.STRINGS, [""])}),
    ("no interpreters", {1092: None}),
    ("a number where a text is", {1066: (rpms.INT32, [1, 2])}),
    ("an epoch of no kind", {1067: (rpms.STRINGS, ["99999999999:1", ""])}),
    ("a file's folder that is not there", {1116: (rpms.INT32, [5])}),
]


@pytest.mark.parametrize(("name", "changes"), DAMAGED, ids=[name for name, _ in DAMAGED])
def test_what_does_not_fit_together_is_malformed(name: str, changes: dict[int, Any]) -> None:
    two = [rpms.Trigger("in", "one", ["a"]), rpms.Trigger("in", "two", ["b"])]
    with pytest.raises(Malformed):
        scripts.read(header(triggers=two, files={"/etc/x": rpms.File()}, tags=changes))


@given(st.binary(max_size=40), st.integers(0, 3000))
def test_no_header_brings_the_reader_down(junk: bytes, at: int) -> None:
    whole = rpms.split(
        rpms.build(
            files={"/etc/x": rpms.File(), "/usr/y": rpms.File()},
            scripts={"post": "x"},
            triggers=[rpms.Trigger("in", "one", ["a > 1"])],
            file_triggers=[rpms.FileTrigger("in", "three", ["/usr/lib"])],
        )
    ).main
    at %= len(whole)
    try:
        found = scripts.read(Header.parse(whole[:at] + junk + whole[at + len(junk) :]))
    except Malformed:
        return
    list(triggers.after_files(found, Installed([found])))


def titles(runs: Any) -> list[str]:
    return [f"{run.title.partition('-')[0]} {' '.join(map(str, run.arguments))}" for run in runs]


@dataclass(frozen=True)
class Meeting:
    """Which triggers on b run, of a package with the condition, when b 1:2.0-1 comes."""

    condition: str
    runs: bool


MEETINGS = [
    Meeting("b", True),
    Meeting("b > 1:1", True),
    Meeting("b > 1:2.0", False),
    Meeting("b >= 1:2.0-1", True),
    Meeting("b = 1:2.0", True),
    Meeting("b < 2", False),
    Meeting("b > 9", True),
    Meeting("bb", False),
]


@pytest.mark.parametrize("case", MEETINGS, ids=lambda case: case.condition)
def test_versions_of_conditions(case: Meeting) -> None:
    owner = read("a", triggers=[rpms.Trigger("in", "x", [case.condition])])
    other = read("b", "2.0", epoch=1)
    assert titles(triggers.after_files(other, Installed([owner, other]))) == ["%triggerin(a 1 1"] * case.runs
    assert titles(triggers.after_files(owner, Installed([other, owner]))) == ["%triggerin(a 1 1"] * case.runs


def test_numbers_count_packages_of_one_name() -> None:
    one = read("a", arch="i686", scripts={"pretrans": "", "pre": "x", "post": "x", "posttrans": "x"})
    two = read("a", arch="x86_64", scripts={"pre": "x", "post": "x", "posttrans": "x"})
    there = Installed([one])
    assert titles(triggers.before_files(two, there)) == ["%pre(a 2"]
    there.add(two)
    assert titles(triggers.after_files(two, there)) == ["%post(a 2"]
    assert titles(triggers.after_all([two], there)) == ["%posttrans(a 2"]


def test_a_trigger_runs_once_for_several_reasons() -> None:
    owner = read("a", triggers=[rpms.Trigger("in", "x", ["b", "c"])])
    there = Installed([read("b"), read("c"), owner])
    assert titles(triggers.after_files(owner, there)) == ["%triggerin(a 1 1"]


def paths(runs: Any) -> list[tuple[int, tuple[str, ...] | None]]:
    return [(run.package.file_triggers[0].priority, run.paths) for run in runs]


def test_file_triggers_by_priority_then_package_and_around_post() -> None:
    def watch(name: str, priority: int) -> Scripts:
        return read(name, file_triggers=[rpms.FileTrigger("in", "x", ["/usr"], priority=priority)])

    owners = [watch("a", 9999), watch("b", 10000), watch("c", 20000), watch("d", 10000)]
    new = read("n", files={"/usr/n": rpms.File(), "/opt/n": rpms.File()}, scripts={"post": "x"})
    runs: list[Run] = list(triggers.after_files(new, Installed([*owners, new])))
    assert [run.title for run in runs] == [
        "%filetriggerin(c-1.0-1.noarch)",
        "%filetriggerin(b-1.0-1.noarch)",
        "%filetriggerin(d-1.0-1.noarch)",
        "%post(n-1.0-1.noarch)",
        "%filetriggerin(a-1.0-1.noarch)",
    ]
    assert {run.paths for run in runs} == {None, ("/usr/n",)}


def test_files_of_other_packages_are_found_by_their_folders() -> None:
    """rpm looks prefixes up among folders: a package with only /usr/libx is not met by /usr/li, one with more is."""
    owner = read("a", file_triggers=[rpms.FileTrigger("in", "x", ["/usr/li"])])
    lone = read("b", files={"/usr/libx": rpms.File()})
    more = read("c", files={"/usr/lib/y": rpms.File(), "/usr/libx": rpms.File()})
    assert list(triggers.after_files(owner, Installed([lone, owner]))) == []
    (run,) = triggers.after_files(owner, Installed([lone, more, owner]))
    assert run.paths == ("/usr/lib/y", "/usr/libx")
    (run,) = triggers.after_files(lone, Installed([owner, lone]))
    assert run.paths == ("/usr/libx",)


def test_files_in_no_order_are_found_all_the_same() -> None:
    found = Scripts("a", "a-1-1.noarch", {}, files=("/usr/b", "/etc/x", "/usr/a"), in_order=False)
    assert found.below("/usr/") == ("/usr/b", "/usr/a")


@given(st.lists(st.text("/ab", max_size=5), max_size=30), st.text("/ab", max_size=3))
def test_prefixes_by_search_are_those_by_looking(names: list[str], prefix: str) -> None:
    names.sort()
    found = Scripts("a", "a-1-1.noarch", {}, files=tuple(names))
    assert found.below(prefix) == tuple(name for name in names if name.startswith(prefix))


FORMATS = [
    ("plain \\n \\t \\\\ %%", "plain \n \t \\ %"),
    ("%{NAME}-%{version}", "demo-1.0"),
    ("[%{BASENAMES} in %{=NAME};]", "a in demo;b in demo;"),
    ("%8{NAME}|%-8{NAME}|%{EPOCH}", "    demo|demo    |(none)"),
    ("%{NVRA} %{EVR}", "demo-1.0-1.noarch 1.0-1"),
]


@pytest.mark.parametrize(("text", "expected"), FORMATS)
def test_query_formats(text: str, expected: str) -> None:
    assert queryformat.fill(text, header(files={"/etc/a": rpms.File(), "/etc/b": rpms.File()})) == expected


@pytest.mark.parametrize(
    "text", ["%{NAME:shescape}", "%|EPOCH?{x}:{y}|", "%{NOSUCHTAG}", "[%{NAME}", "%d", "[x]", "%{SIG_SIZE}"]
)
def test_query_formats_that_are_refused(text: str) -> None:
    with pytest.raises(queryformat.NotUnderstood):
        queryformat.fill(text, header())


@given(st.text(max_size=60))
def test_any_text_is_a_format_or_refused(text: str) -> None:
    try:
        queryformat.fill(text, HEADER)
    except queryformat.NotUnderstood:
        pass


HEADER = header(files={"/etc/a": rpms.File()})
