from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from hosier.distro.deb import locking
from hosier.distro.deb.locking import LocalPackage
from hosier.errors import HosierError
from hosier.spec.lock import Lock
from hosier.spec.model import Packages, Repo, Request, Spec
from kit.indices import locked, refreshed, stanza

S = stanza
BASE = [
    S("base-files", "12", Essential="yes", Priority="required", Pre_Depends="awk"),
    S("mawk", "1.3", Priority="required", Provides="awk", Pre_Depends="libc6 (>= 2)"),
    S("gawk", "5", Provides="awk", Depends="libc6"),
    S("libc6", "2.36", Multi_Arch="same", Recommends="libidn2-0"),
    S("libidn2-0", "2.3"),
    S("apt", "2.6", Priority="important", Depends="libc6"),
    S("exim4", "4", Provides="mta", Conflicts="mta", Depends="exim4-base"),
    S("exim4-base", "4"),
    S("postfix", "3", Provides="mta", Conflicts="mta"),
    S("nullmailer", "2", Provides="mta", Conflicts="mta", Priority="extra"),
    S("mailx", "1", Depends="exim4 | mta"),
    S("web", "1", Depends="libc6, libssl (>= 3)", Recommends="mailx, docs | doc-tool"),
    S("libssl", "3.0"),
    S("doc-tool", "1"),
]
ESSENTIAL = {"base-files": "12", "mawk": "1.3", "libc6": "2.36"}


def request(words: str) -> Request:
    name, _, constraint = words.partition(" (")
    name, _, architecture = name.partition(":")
    operator, _, version = constraint.rstrip(")").partition(" ")
    return Request(name, architecture or None, operator or None, version or None)


def spec(*requests: str, recommends: bool = False, exclude: Sequence[str] = ()) -> Spec:
    asked = tuple(Request("", path=words) if words.startswith("/") else request(words) for words in requests)
    digest = "sha256:" + ",".join(requests)
    return Spec("web", packages=Packages(install=asked, recommends=recommends, exclude=tuple(exclude)), digest=digest)


def versions(lock: Lock) -> dict[str, str]:
    return {
        package.name
        if package.architecture in ("all", "amd64")
        else f"{package.name}:{package.architecture}": package.version
        for package in lock.packages
    }


@dataclass(frozen=True)
class Case:
    says: str
    spec: Spec
    expected: dict[str, str] = field(default_factory=dict)
    more: Sequence[str] = ()
    error: str = ""
    hint: str | None = None


CASES = [
    Case("essential packages alone, the more important provider", spec(), ESSENTIAL),
    Case("a first alternative", spec("mailx"), ESSENTIAL | {"mailx": "1", "exim4": "4", "exim4-base": "4"}),
    Case(
        "an alternative that is asked for anyway", spec("mailx", "postfix"), ESSENTIAL | {"mailx": "1", "postfix": "3"}
    ),
    Case(
        "a first alternative that is excluded",
        spec("mailx", exclude=["exim4", "nullmailer"]),
        ESSENTIAL | {"mailx": "1", "postfix": "3"},
    ),
    Case(
        "a provider among equals: the one apt heard of last",
        spec("needs-mta"),
        ESSENTIAL | {"needs-mta": "1", "postfix": "3"},
        [S("needs-mta", "1", Depends="mta")],
    ),
    Case("recommendations off", spec("web"), ESSENTIAL | {"web": "1", "libssl": "3.0"}),
    Case(
        "recommendations on, and the second alternative of one",
        spec("web", recommends=True),
        ESSENTIAL
        | {
            "libidn2-0": "2.3",
            "web": "1",
            "libssl": "3.0",
            "mailx": "1",
            "exim4": "4",
            "exim4-base": "4",
            "doc-tool": "1",
        },
    ),
    Case(
        "a recommendation that conflicts with what is asked for is left",
        spec("web", "postfix", "no-mailx", recommends=True),
        ESSENTIAL | {"libidn2-0": "2.3", "web": "1", "libssl": "3.0", "postfix": "3", "doc-tool": "1", "no-mailx": "1"},
        [S("no-mailx", "1", Conflicts="mailx")],
    ),
    Case(
        "the highest version",
        spec("tool"),
        ESSENTIAL | {"tool": "1.10"},
        [S("tool", "1.9"), S("tool", "1.10"), S("tool", "1.10~rc1")],
    ),
    Case(
        "a version that is asked for",
        spec("tool (<< 1.10)"),
        ESSENTIAL | {"tool": "1.9"},
        [S("tool", "1.9"), S("tool", "1.10")],
    ),
    Case(
        "one constraint after another",
        spec("tool (<< 3)", "tool (>> 1)"),
        ESSENTIAL | {"tool": "2"},
        [S("tool", "1"), S("tool", "2"), S("tool", "3")],
    ),
    Case(
        "a virtual package with one provider",
        spec("only"),
        ESSENTIAL | {"sole": "1"},
        [S("sole", "1", Provides="only")],
    ),
    Case(
        "an unversioned Provides meets no versioned need",
        spec("a"),
        error="cannot lock web: a 1 needs virtual (>= 1), and no package virtual is in stable",
        hint="add a suite or component that has virtual to [[repo]]",
        more=[S("a", Depends="virtual (>= 1)"), S("b", Provides="virtual")],
    ),
    Case(
        "a versioned Provides meets one",
        spec("a"),
        ESSENTIAL | {"a": "1", "b": "1"},
        [S("a", Depends="virtual (>= 1)"), S("b", Provides="virtual (= 2)")],
    ),
    Case(
        "a need of any architecture",
        spec("a"),
        ESSENTIAL | {"a": "1", "py": "3"},
        [S("a", Depends="py:any"), S("py", "3", Multi_Arch="allowed")],
    ),
    Case(
        "a need of any architecture, of a package that does not allow it",
        spec("a"),
        more=[S("a", Depends="py:any"), S("py", "3")],
        error="cannot lock web: a 1 needs py:any, and the py in stable is not Multi-Arch: allowed",
        hint="add a suite that has py:any to [[repo]]",
    ),
    Case(
        "a circle",
        spec("a"),
        ESSENTIAL | {"a": "1", "b": "1", "c": "1"},
        [S("a", Depends="b"), S("b", Depends="c"), S("c", Depends="a")],
    ),
    Case(
        "a dead end is left for the next alternative",
        spec("a"),
        ESSENTIAL | {"a": "1", "c": "1"},
        [S("a", Depends="b | c"), S("b", Depends="gone"), S("c")],
    ),
    Case(
        "what a dead end brought is dropped",
        spec("a"),
        ESSENTIAL | {"a": "1", "c": "1"},
        [S("a", Depends="b | c"), S("b", Depends="d, e"), S("c"), S("d"), S("e", Depends="gone")],
    ),
    Case(
        "a choice that marking gets wrong, and the solver right",
        spec("a", "z"),
        ESSENTIAL | {"a": "1", "c": "1", "z": "1", "y": "1"},
        [S("a", Depends="b | c"), S("b"), S("c"), S("z", Depends="y"), S("y", Conflicts="b")],
    ),
    Case(
        "an unknown name, and the nearest",
        spec("libssI"),
        error="cannot lock web: no package libssI is in stable",
        hint="did you mean libssl?",
    ),
    Case(
        "every unknown name at once",
        spec("mawkk", "xyzzyx"),
        error="cannot lock web: no package mawkk is in stable; no package xyzzyx is in stable",
        hint="did you mean mawk?; add a suite or component that has xyzzyx to [[repo]]",
    ),
    Case(
        "a virtual package with several providers",
        spec("mta"),
        error="cannot lock web: mta is a virtual package, provided by exim4, nullmailer, postfix",
        hint="ask for one of these by name",
    ),
    Case(
        "a version that is not there",
        spec("apt (>= 3)"),
        error="cannot lock web: apt (>= 3) is asked for, and the newest apt in stable is 2.6",
        hint="add a suite that has apt (>= 3) to [[repo]]",
    ),
    Case(
        "a request that is excluded",
        spec("apt", exclude=["apt"]),
        error="cannot lock web: apt is asked for, and apt is excluded by the spec",
        hint='take "apt" out of packages.exclude',
    ),
    Case(
        "a need that is too new",
        spec("a"),
        [],
        [S("a", Depends="libssl (>= 3.2)")],
        error="cannot lock web: a 1 needs libssl (>= 3.2), and the newest libssl in stable is 3.0",
        hint="add a suite that has libssl (>= 3.2) to [[repo]]",
    ),
    Case(
        "a need of a need",
        spec("a"),
        [],
        [S("a", Depends="b"), S("b", Depends="libssl (<< 3)")],
        error="cannot lock web: b 1 needs libssl (<< 3), and the libssl in stable is 3.0; a 1 needs b",
        hint="add a suite that has libssl (<< 3) to [[repo]]",
    ),
    Case(
        "two that cannot be together",
        spec("exim4", "postfix"),
        [],
        [],
        error="cannot lock web: exim4 4 conflicts with mta, which postfix provides",
        hint="ask for only one of exim4, postfix",
    ),
    Case(
        "one that breaks another's version",
        spec("a", "libssl"),
        [],
        [S("a", Breaks="libssl (<< 4)")],
        error="cannot lock web: a 1 breaks libssl (<< 4)",
        hint="ask for only one of a, libssl",
    ),
    Case(
        "constraints that exclude each other",
        spec("apt (>= 2)", "apt (<< 2)"),
        [],
        [S("apt", "1")],
        error="cannot lock web: apt (>= 2) and apt (<< 2) exclude each other",
        hint="ask for one of them",
    ),
    Case(
        "an architecture without an index",
        spec("apt:armhf"),
        error="cannot lock web: apt:armhf is asked for, and no index for armhf is among the archives",
        hint="a lock is of one architecture: set it in [image], or ask for apt",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_a_spec_is_locked_or_refused(case: Case, tmp_path: Path) -> None:
    found = refreshed(tmp_path, {"stable": [*BASE, *case.more]})
    try:
        lock = locked(case.spec, found, (), architecture="amd64")
    except HosierError as error:
        assert (str(error), error.hint) == (case.error, case.hint)
    else:
        assert (versions(lock), "") == (case.expected, case.error)


def lines(lock: Lock) -> list[str]:
    return [f"{p.name} {p.stage} {p.why} | {' '.join(p.pre_depends)} | {' '.join(p.depends)}" for p in lock.packages]


def test_a_lock_says_why_in_which_stage_and_after_what(tmp_path: Path) -> None:
    found = refreshed(tmp_path, {"stable": BASE})
    lock = locked(spec("web", "apt", recommends=True), found, (), architecture="amd64")
    assert lines(lock) == [
        "apt 0 requested |  | libc6",
        "base-files 0 essential | mawk | ",
        "doc-tool 1 recommends of web |  | ",
        "exim4 1 depends of mailx |  | exim4-base",
        "exim4-base 1 depends of exim4 |  | ",
        "libc6 0 depends of mawk |  | ",
        "libidn2-0 1 recommends of libc6 |  | ",
        "libssl 1 depends of web |  | ",
        "mailx 1 recommends of web |  | exim4",
        "mawk 0 depends of base-files | libc6 | ",
        "web 1 requested |  | libc6 libssl",
    ]
    assert (lock.spec, lock.architecture, lock.epoch) == ("sha256:web,apt", "amd64", 1_700_000_000)
    assert lock.requests == ("web", "apt")
    assert [(index.repo, index.path) for index in lock.indices] == [
        ("debian", "dists/stable/main/binary-amd64/Packages.xz")
    ]
    ssl = next(package for package in lock.packages if package.name == "libssl")
    assert (ssl.repo, ssl.path, ssl.size, len(ssl.sha256)) == ("debian", "pool/libssl_3.0_amd64.deb", 1000, 64)


def test_the_order_of_an_index_and_of_hashes_changes_nothing(tmp_path: Path) -> None:
    program = """
import sys
sys.path[:0] = sys.argv[3:]
from pathlib import Path
import test_locking as t
from kit.indices import locked
found = t.refreshed(Path(sys.argv[1]), {"stable": Path(sys.argv[2]).read_text()})
for recommends in (False, True):
    asked = t.spec("web", "mailx", "needs-mta", recommends=recommends)
    print(locked(asked, found, (), architecture="amd64").packages)
"""
    stanzas = [*BASE, S("needs-mta", Depends="mta"), S("tool", "1"), S("tool", "2")]
    answers = set()
    for seed in range(3):
        random.Random(seed).shuffle(stanzas)
        text = tmp_path / "text"
        text.write_text("\n".join(stanzas))
        answer = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path), str(text), str(Path(__file__).parent), *sys.path],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
        )
        assert answer.returncode == 0, answer.stderr
        answers.add(answer.stdout)
    assert len(answers) == 1


def test_a_local_file_goes_before_every_archive(tmp_path: Path) -> None:
    found = refreshed(tmp_path, {"stable": BASE})
    local = LocalPackage(
        "/x/web_0.1_all.deb", 77, "a" * 64, "Package: web\nVersion: 0.1\nArchitecture: all\nDepends: doc-tool\n"
    )
    lock = locked(spec("/x/web_0.1_all.deb"), found, (local,), architecture="amd64")
    web = next(package for package in lock.packages if package.name == "web")
    assert (web.version, web.repo, web.path, web.size, web.sha256) == ("0.1", "", "/x/web_0.1_all.deb", 77, "a" * 64)
    assert versions(lock) == ESSENTIAL | {"web": "0.1", "doc-tool": "1"}


FOREIGN = {
    "stable": [
        *BASE,
        S("same", "1", Multi_Arch="same"),
        S("tool", "1"),
        S("helper", "1", Multi_Arch="foreign"),
        S("plain", "1"),
    ],
    "stable/i386": [
        S("libc6", "2.36", Multi_Arch="same", Architecture="i386"),
        S("same", "1", Multi_Arch="same", Architecture="i386", Depends="libc6"),
        S("tool", "1", Architecture="i386", Depends="helper, same"),
        S("helper", "1", Architecture="i386", Multi_Arch="foreign"),
        S("plain", "1", Architecture="i386", Depends="data"),
        S("data", "1", Architecture="all", Multi_Arch="foreign"),
        S("alone", "1", Architecture="all"),
        S("lonely", "1", Architecture="i386", Depends="alone"),
    ],
}


@pytest.mark.parametrize(
    ("requests", "expected", "error"),
    [
        (["same", "same:i386"], {"same": "1", "same:i386": "1", "libc6:i386": "2.36"}, ""),
        (["tool:i386"], {"tool:i386": "1", "helper": "1", "same:i386": "1", "libc6:i386": "2.36"}, ""),
        (["lonely:i386"], {}, "cannot lock web: lonely:i386 1 needs alone, and the alone in stable is not for i386"),
        (["plain", "plain:i386"], {}, "cannot lock web: plain 1 and plain:i386 1 cannot be installed together"),
    ],
)
def test_foreign_packages_come_with_their_own(
    tmp_path: Path, requests: list[str], expected: dict[str, str], error: str
) -> None:
    try:
        lock = locked(spec(*requests), refreshed(tmp_path, FOREIGN), (), architecture="amd64")
    except HosierError as refusal:
        assert str(refusal) == error
    else:
        assert (versions(lock), "") == (ESSENTIAL | expected, error)


NOW = {"stable": [*BASE, S("lib", "1"), S("app", "1", Depends="lib (>= 1)"), S("tool", "1"), S("doc", "1")]}
LATER = {
    "stable": [
        *BASE,
        S("lib", "1"),
        S("lib", "2"),
        S("app", "1", Depends="lib (>= 1)"),
        S("app", "2", Depends="lib (>= 2)"),
        S("tool", "1"),
        S("tool", "2"),
        S("doc", "2"),
    ]
}


@dataclass(frozen=True)
class Update:
    says: str
    update: frozenset[str] | None
    expected: dict[str, str]
    requests: tuple[str, ...] = ("app", "tool", "doc")
    notes: tuple[str, ...] = ("doc 1 is in no index any more, so it moves",)


UPDATES = [
    Update("nothing moves but what is gone", frozenset(), {"app": "1", "lib": "1", "tool": "1", "doc": "2"}),
    Update("one package alone", frozenset({"tool"}), {"app": "1", "lib": "1", "tool": "2", "doc": "2"}),
    Update(
        "one package with what it must have newer",
        frozenset({"app"}),
        {"app": "2", "lib": "2", "tool": "1", "doc": "2"},
        notes=("doc 1 is in no index any more, so it moves", "lib cannot stay at 1, so it moves"),
    ),
    Update("a library that nothing needs newer", frozenset({"lib"}), {"app": "1", "lib": "2", "tool": "1", "doc": "2"}),
    Update("everything", None, {"app": "2", "lib": "2", "tool": "2", "doc": "2"}, notes=()),
    Update("a request fewer", frozenset(), {"tool": "1"}, ("tool",)),
    Update(
        "a request more",
        frozenset(),
        {"app": "1", "lib": "1", "tool": "1", "doc": "2", "libssl": "3.0", "web": "1"},
        ("app", "tool", "doc", "web"),
    ),
    Update(
        "a constraint that the held version does not meet",
        frozenset(),
        {"app": "1", "lib": "1", "tool": "2", "doc": "2"},
        ("app", "tool (>= 2)", "doc"),
    ),
]


@pytest.mark.parametrize("case", UPDATES, ids=lambda case: case.says)
def test_an_update_moves_what_it_must(case: Update, tmp_path: Path) -> None:
    first = locked(spec("app", "tool", "doc"), refreshed(tmp_path, NOW), (), architecture="amd64")
    assert versions(first) == ESSENTIAL | {"app": "1", "lib": "1", "tool": "1", "doc": "1"}
    notes: list[str] = []
    second = locked(
        spec(*case.requests),
        refreshed(tmp_path, LATER),
        (),
        architecture="amd64",
        previous=first,
        update=case.update,
        note=notes.append,
    )
    assert versions(second) == ESSENTIAL | case.expected
    assert tuple(notes) == case.notes


def test_locking_again_gives_the_same_lock(tmp_path: Path) -> None:
    found = refreshed(tmp_path, {"stable": BASE})
    asked = spec("web", "mailx", recommends=True)
    first = locked(asked, found, (), architecture="amd64")
    assert locked(asked, found, (), architecture="amd64", previous=first) == first
    assert locked(asked, found, (), architecture="amd64", previous=first, update=None) == first


def test_a_choice_once_locked_is_kept(tmp_path: Path) -> None:
    found = refreshed(tmp_path, {"stable": BASE})
    first = locked(spec("postfix"), found, (), architecture="amd64")
    second = locked(spec("postfix", "mailx"), found, (), architecture="amd64", previous=first)
    third = locked(spec("mailx"), found, (), architecture="amd64", previous=second)
    assert versions(third) == ESSENTIAL | {"mailx": "1", "postfix": "3"}


def test_a_package_added_later_is_a_stage_of_its_own(tmp_path: Path) -> None:
    found = refreshed(tmp_path, {"stable": BASE})
    first = locked(spec("web"), found, (), architecture="amd64")
    second = locked(spec("web", "mailx"), found, (), architecture="amd64", previous=first)
    before = {package.name: package.stage for package in first.packages}
    after = {package.name: package.stage for package in second.packages}
    assert before == {"base-files": 0, "mawk": 0, "libc6": 0, "web": 1, "libssl": 1}
    assert after == before | {"mailx": 2, "exim4": 2, "exim4-base": 2}
    anew = locked(spec("web", "mailx"), found, (), architecture="amd64", previous=second, update=None)
    assert {package.stage for package in anew.packages if package.name in ("mailx", "exim4")} == {1}


def test_a_stage_never_comes_before_its_needs(tmp_path: Path) -> None:
    first = locked(spec("app"), refreshed(tmp_path, NOW), (), architecture="amd64")
    later = {"stable": [*BASE, S("lib", "1", Depends="newlib"), S("newlib"), S("app", "1", Depends="lib (>= 1)")]}
    second = locked(spec("app"), refreshed(tmp_path, later), (), architecture="amd64", previous=first)
    stages = {package.name: package.stage for package in second.packages}
    assert stages == {"base-files": 0, "mawk": 0, "libc6": 0, "newlib": 2, "lib": 2, "app": 2}


def test_an_index_without_a_digest_is_refused(tmp_path: Path) -> None:
    found = refreshed(tmp_path, {"stable": [*BASE, S("tool", "1", SHA256="")]})
    with pytest.raises(HosierError) as caught:
        locked(spec("tool"), found, (), architecture="amd64")
    assert str(caught.value) == "cannot lock tool 1: its index gives no Filename, Size or SHA256"


def test_a_lower_pin_is_taken_only_when_asked_for(tmp_path: Path) -> None:
    suites = {"stable": [*BASE, S("tool", "1")], "backports": [S("tool", "2", Depends="lib (>= 2)"), S("lib", "2")]}
    found = refreshed(tmp_path, suites, pins={"backports": 100})
    assert versions(locked(spec("tool"), found, (), architecture="amd64")) == ESSENTIAL | {"tool": "1"}
    asked = locked(spec("tool (>= 2)"), found, (), architecture="amd64")
    assert versions(asked) == ESSENTIAL | {"tool": "2", "lib": "2"}


def test_a_stale_lock_says_what_changed(tmp_path: Path) -> None:
    found = refreshed(tmp_path, {"stable": BASE})
    asked = replace(
        spec("web", "mailx"),
        repos=(Repo("debian", uris=("https://example.org/debian/",), suites=("stable",), components=("main",)),),
    )
    lock = locked(asked, found, (), architecture="amd64")
    assert locking.stale(lock, asked) == []

    def changed(**fields: object) -> list[str]:
        return locking.stale(lock, replace(asked, digest="sha256:other", **fields))  # type: ignore[arg-type]

    assert changed() == ["something else in the spec, or a file that it names, changed"]
    assert changed(packages=spec("web", "apt (>= 2)", exclude=["libssl"]).packages) == [
        "apt (>= 2) is asked for now",
        "mailx is not asked for any more",
        "libssl is excluded now",
    ]
    assert changed(packages=spec("mailx", "web").packages) == ["the order of the requests changed"]
    other = Repo("debian", uris=("https://example.org/other",), suites=("testing",), components=("main",))
    assert changed(repos=(other,), architecture="i386") == [
        "the uris of the repo debian changed",
        "the suites of the repo debian changed",
        "the architecture is i386 now, and was amd64",
    ]
