"""Locks of the RPM family: what is chosen of small repositories, in words."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hosier.distro.rpm import local as package_files
from hosier.distro.rpm import locking, richdeps, together
from hosier.distro.rpm.archive import Refreshed
from hosier.distro.rpm.closure import Closure, faults
from hosier.distro.rpm.local import LocalPackage
from hosier.distro.rpm.locking import Task
from hosier.distro.rpm.requests import wanted
from hosier.errors import HosierError, PackageInvalid
from hosier.fetch.proxies import Proxies
from hosier.solve.rpm import Declared, Pool
from hosier.spec.lock import Lock, LockedPackage
from hosier.spec.model import Repo, Request, Spec
from kit.rpmmd import P, primary
from kit.rpmrandom import world
from kit.rpmtask import chosen, lists, local, locked, refreshed, spec

X = "x86_64"
BASE = [
    P("setup", "2-1"),
    P("glibc", "2.36-1", X, provides=["libc.so.6()(64bit)"], pre=["setup"]),
    P("glibc", "2.36-1", "i686", provides=["libc.so.6"], pre=["setup"]),
    P("glibc", "2.36-2", X, provides=["libc.so.6()(64bit)"], pre=["setup"]),
    P("glibc", "2.36-2", "i686", provides=["libc.so.6"], pre=["setup"]),
    P("bash", "5-1", X, requires=["libc.so.6()(64bit)"], files=["/usr/bin/bash", "/bin/sh"]),
    P("web", "1:3-2", X, requires=["/bin/sh", "config(web) = 1:3-2"], provides=["config(web) = 1:3-2"], pre=["users"]),
    P("web", "1:3-1", X, requires=["/bin/sh"]),
    P("users", "1-1", requires=["setup"]),
    P("exim", "4-1", X, provides=["mta"], conflicts=["postfix"]),
    P("postfix", "3-1", X, provides=["mta"]),
    P("app", "1-1", requires=["bash"]),
    P("newapp", "2-1", requires=["bash"], obsoletes=["app < 2"]),
    P("needs-app", "1-1", requires=["app"]),
    P("docs", "1-1", files=["/usr/share/doc/app"]),
    P("reader", "1-1", requires=["/usr/share/doc/app"]),
    P("weak", "1-1", recommends=["docs"], suggests=["exim"]),
    P("langs", "1-1", supplements=["(weak and users)"]),
    P("or", "1-1", requires=["(nothing or exim)"]),
    P("if", "1-1", requires=["(users if weak)"]),
    P("else", "1-1", requires=["(users if weak else docs)"]),
    P("with", "1-1", requires=["(mta with exim)"]),
    P("without", "1-1", requires=["(mta without exim)"]),
    P("unless", "1-1", conflicts=["(exim unless weak)"], requires=["exim"]),
    P("pre1", "1~rc1-1"),
    P("pre1", "1-1"),
    P("pre2", "1-1"),
    P("pre2", "1^git1-1"),
    P("only32", "1-1", "i686", requires=["libc.so.6"]),
    P("perl-Foo", "1-1", provides=["perl(Foo)"]),
    P("foreign", "1-1", "aarch64"),
    P("source", "1-1", "src"),
]
GLIBC = "glibc=2.36-2.x86_64"
BASH = f"bash=5-1.x86_64 {GLIBC}"


@dataclass(frozen=True)
class Case:
    says: str
    requests: Sequence[str]
    expected: str = ""
    more: Sequence[P] = ()
    error: str = ""
    hint: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    comps: str = ""
    extra: Sequence[P] = ()
    """Packages of a second repository, `extra`."""
    extra_settings: Mapping[str, Any] = field(default_factory=dict)


COMPS = """<?xml version="1.0"?><comps><group><id>core</id><name>The core</name><packagelist>
<packagereq type="mandatory">bash</packagereq><packagereq type="default">docs</packagereq>
<packagereq type="optional">exim</packagereq><packagereq type="conditional" requires="bash">langs</packagereq>
<packagereq type="conditional" requires="exim">weak</packagereq><packagereq type="default">absent</packagereq>
</packagelist></group><environment><id>server</id><name>Server</name><grouplist><groupid>core</groupid></grouplist>
<optionlist/></environment></comps>"""
IN = "cannot lock web: "
KERNELS = [
    *(P("kernel", f"{each}-1") for each in (1, 2, 3)),
    *(P("mod", f"{each}-1", requires=[f"kernel = {each}"], provides=["installonlypkg(vm)"]) for each in (1, 2)),
    P("nokernel", "1-1", obsoletes=["kernel < 2"]),
    P("any", "1-1", requires=["kernel"]),
]
"""What dnf keeps several versions of, and what has to do with it."""

CASES = [
    Case("the newest version, with what it needs", ["bash"], f"{BASH} setup=2-1"),
    Case("name.arch", ["glibc.i686"], "glibc=2.36-2.i686 setup=2-1"),
    Case(
        "two architectures of one name beside each other",
        ["glibc.i686", "glibc.x86_64"],
        f"glibc=2.36-2.i686 {GLIBC} setup=2-1",
    ),
    Case(
        "what is there only for the second architecture, and needs a package of two: that comes for both",
        ["only32"],
        f"glibc=2.36-2.i686 {GLIBC} only32=1-1.i686 setup=2-1",
    ),
    Case("NEVRA", ["glibc-2.36-1.i686"], "glibc=2.36-1.i686 setup=2-1"),
    Case("NEVR", ["glibc-2.36-1"], "glibc=2.36-1.x86_64 setup=2-1"),
    Case("NEV", ["web-1:3"], f"{BASH} setup=2-1 users=1-1 web=1:3-2.x86_64"),
    Case("an epoch that is left out is any", ["web-3-1"], f"{BASH} setup=2-1 web=1:3-1.x86_64"),
    Case("a version", ["glibc = 2.36"], f"{GLIBC} setup=2-1"),
    Case("a version with its release", ["glibc (= 2.36-1)"], "glibc=2.36-1.x86_64 setup=2-1"),
    Case("a lower version", ["web < 1:3-2"], f"{BASH} setup=2-1 web=1:3-1.x86_64"),
    Case("a tilde is before the end", ["pre1"], "pre1=1-1"),
    Case("a caret is behind it", ["pre2"], "pre2=1^git1-1"),
    Case("a pattern of names asks for each", ["pre*"], "pre1=1-1 pre2=1^git1-1"),
    Case("a pattern of a whole name", ["web-*:3-1.*"], f"{BASH} setup=2-1 web=1:3-1.x86_64"),
    Case("a capability", ["perl(Foo)"], "perl-Foo=1-1"),
    Case("a capability that several give", ["mta"], "exim=4-1.x86_64"),
    Case("a pattern of capabilities", ["perl(F*)"], "perl-Foo=1-1"),
    Case("a path of primary metadata", ["/usr/bin/bash"], f"{BASH} setup=2-1"),
    Case("a path of file lists", ["/usr/share/doc/app"], "docs=1-1"),
    Case("a pattern of paths", ["/usr/share/doc/a*"], "docs=1-1"),
    Case("a needed path of file lists", ["reader"], "docs=1-1 reader=1-1"),
    Case("what obsoletes a name that is asked for", ["app"], f"{BASH} newapp=2-1 setup=2-1"),
    Case("nobody obsoletes a version that is asked for", ["app-1-1"], f"app=1-1 {BASH} setup=2-1"),
    Case(
        "what is obsolete is taken where its name is needed", ["needs-app"], f"app=1-1 {BASH} needs-app=1-1 setup=2-1"
    ),
    Case("weak dependencies off", ["weak", "users"], "setup=2-1 users=1-1 weak=1-1"),
    Case(
        "weak dependencies on: recommends and supplements, no suggests",
        ["weak", "users"],
        "docs=1-1 langs=1-1 setup=2-1 users=1-1 weak=1-1",
        options={"recommends": True},
    ),
    Case(
        "a recommended package that is excluded",
        ["weak"],
        "weak=1-1",
        options={"recommends": True, "exclude": ["docs"]},
    ),
    Case("or", ["or"], "exim=4-1.x86_64 or=1-1"),
    Case("if, and it is not", ["if"], "if=1-1"),
    Case("if, and it is", ["if", "weak"], "if=1-1 setup=2-1 users=1-1 weak=1-1"),
    Case("else", ["else"], "docs=1-1 else=1-1"),
    Case("with", ["with"], "exim=4-1.x86_64 with=1-1"),
    Case("without", ["without"], "postfix=3-1.x86_64 without=1-1"),
    Case(
        "a group: mandatory, default, and conditional when what it asks for is there",
        ["@core"],
        f"bash=5-1.x86_64 docs=1-1 {GLIBC} langs=1-1 setup=2-1",
        comps=COMPS,
    ),
    Case("an environment", ["@server"], f"bash=5-1.x86_64 docs=1-1 {GLIBC} langs=1-1 setup=2-1", comps=COMPS),
    Case("an excluded version of two", ["pre1"], "pre1=1~rc1-1", options={"exclude": ["pre1-1-1"]}),
    Case("an excluded architecture", ["glibc"], "glibc=2.36-2.i686 setup=2-1", options={"exclude": ["glibc.x86_64"]}),
    Case("an excluded pattern", ["mta"], "postfix=3-1.x86_64", options={"exclude": ["ex*"]}),
    Case("includes of a repository", ["pre*"], "pre2=1^git1-1", settings={"include": ("pre2",)}),
    Case("excludes of a repository", ["pre1"], "pre1=1~rc1-1", settings={"exclude": ("pre1-1-1",)}),
    Case(
        "a repository of a better priority, whatever the versions",
        ["pre1"],
        "pre1=0.5-1",
        extra=[P("pre1", "0.5-1")],
        extra_settings={"priority": 10},
    ),
    Case("the newest of equal priorities", ["pre1"], "pre1=2-1", extra=[P("pre1", "2-1")]),
    Case(
        "without dependencies: what is listed and nothing else",
        ["web", "glibc.i686"],
        "glibc=2.36-2.i686 web=1:3-2.x86_64",
        options={"dependencies": False},
    ),
    Case(
        "a name that is not there",
        ["bahs"],
        error=IN + "no package bahs is in base",
        hint="did you mean bash?",
    ),
    Case(
        "all that is not there at once",
        ["bahs", "perl(Bar)", "/usr/bin/none", "web"],
        error=IN
        + "no package bahs is in base; nothing in base provides perl(Bar); no package in base has /usr/bin/none",
        hint="did you mean bash?; add a repository that has perl(Bar) to [[repo]]; "
        "add a repository whose packages have /usr/bin/none to [[repo]]",
    ),
    Case(
        "a version that is not there",
        ["bash >= 6"],
        error=IN + "bash (>= 6) is asked for, and the newest bash in base is 5-1",
        hint="add a repo that has bash (>= 6) to [[repo]], or ask for another version",
    ),
    Case(
        "a version in a name that is not there",
        ["web-1:4-1"],
        error=IN + "no version 1:4-1 of web is in base",
        hint="there are 1:3-2, 1:3-1",
    ),
    Case(
        "an architecture that is not there",
        ["bash.i686"],
        error=IN + "bash in base is for x86_64, and not for i686",
        hint="ask for bash",
    ),
    Case(
        "another machine's package",
        ["foreign"],
        error=IN + "foreign in base is only for aarch64",
        hint="add a repository that has foreign to [[repo]]",
    ),
    Case(
        "a source package",
        ["source"],
        error=IN + "source in base is only a source package",
        hint="add a repository that has source to [[repo]]",
    ),
    Case(
        "what is excluded and asked for",
        ["docs"],
        error=IN + "docs is asked for, and docs-1-1.noarch is excluded by the spec",
        hint="take what excludes docs out of packages.exclude",
        options={"exclude": ["docs"]},
    ),
    Case(
        "what is excluded and needed",
        ["app-1-1"],
        error=IN + "bash-5-1.x86_64 is excluded by the spec; app-1-1.noarch needs bash",
        hint="take what excludes bash out of packages.exclude",
        options={"exclude": ["bash"]},
    ),
    Case(
        "what nothing provides",
        ["broken"],
        error=IN + "broken-1-1.noarch needs libnone >= 2, and no package libnone is in base",
        hint="add a repository that has libnone >= 2 to [[repo]]",
        more=[P("broken", requires=["libnone >= 2"])],
    ),
    Case(
        "what is there too old",
        ["broken"],
        error=IN + "broken-1-1.noarch needs bash >= 6, and the newest bash in base is 5-1",
        hint="add a repository that has bash >= 6 to [[repo]]",
        more=[P("broken", requires=["bash >= 6"])],
    ),
    Case(
        "the way to what is missing",
        ["top"],
        error=IN + "middle-1-1.noarch needs libnone, and no package libnone is in base; top-1-1.noarch needs middle",
        hint="add a repository that has libnone to [[repo]]",
        more=[P("top", requires=["middle"]), P("middle", requires=["libnone"])],
    ),
    Case(
        "a conflict",
        ["exim", "postfix"],
        error=IN + "exim-4-1.x86_64 conflicts with postfix",
        hint="ask for only one of exim, postfix",
    ),
    Case("a conflict unless", ["unless"], "exim=4-1.x86_64 unless=1-1 weak=1-1"),
    Case(
        "two versions of one package",
        ["pre1-1-1", "pre1-1~rc1-1"],
        error=IN + "only one of pre1-1-1.noarch and pre1-1~rc1-1.noarch can be installed",
        hint="ask for only one of pre1-1-1, pre1-1~rc1-1",
    ),
    Case(
        "a group that is not there",
        ["@cor"],
        error=IN + "no group cor is in base",
        hint="did you mean @core?",
        comps=COMPS,
    ),
    Case(
        "a group that is like none",
        ["@nosuch"],
        error=IN + "no group nosuch is in base",
        hint="there are @server, @core",
        comps=COMPS,
    ),
    Case(
        "groups of a repository without any",
        ["@core"],
        error=IN + "@core is asked for, and no repository has groups",
        hint="ask for packages by their names, or add a repository with groups to [[repo]]",
    ),
    Case(
        "a digest that is weak",
        ["weaksum"],
        error="cannot lock weaksum-1-1.noarch: the metadata of base has only its sha1, and a lock needs its sha256",
        hint="make the metadata anew with createrepo_c --checksum sha256, or name the package by its URL",
        more=[P("weaksum", checksum="sha1")],
    ),
    Case("one kernel is the newest", ["kernel"], "kernel=3-1", more=KERNELS),
    Case("two kernels", ["kernel = 1", "kernel-2-1"], "kernel=1-1 kernel=2-1", more=KERNELS),
    Case("what two kernels are needed for", ["mod", "mod = 1"], "kernel=1-1 mod=1-1", more=KERNELS),
    Case(
        "two modules, each with its kernel",
        ["mod = 2", "mod = 1"],
        "kernel=1-1 kernel=2-1 mod=1-1 mod=2-1",
        more=KERNELS,
    ),
    Case(
        "a kernel that another package obsoletes",
        ["kernel = 1", "kernel = 2", "nokernel"],
        error=IN + "nokernel-1-1.noarch obsoletes kernel < 2",
        hint="ask for only one of kernel (= 1), nokernel",
        more=KERNELS,
    ),
    Case(
        "two that are listed",
        ["mod = 1", "mod = 2"],
        "mod=1-1 mod=2-1",
        options={"dependencies": False},
        more=KERNELS,
    ),
    Case(
        "two that are listed, and dnf keeps one of",
        ["glibc-2.36-1", "glibc-2.36-2"],
        options={"dependencies": False},
        error=IN + "only one of glibc-2.36-1.x86_64 and glibc-2.36-2.x86_64 can be installed",
        hint="ask for one of them",
    ),
    Case(
        "two that a lock would call alike",
        ["kernel = 1", "kernel-1-1.x86_64"],
        error=IN + "kernel-1-1.noarch and kernel-1-1.x86_64 cannot be locked together: a lock would call both "
        "kernel-1-1",
        hint="ask for one of them",
        options={"dependencies": False, "exclude": ["kernel-2-1"]},
        more=[P("kernel", "1-1"), P("kernel", "1-1", X)],
    ),
    Case(
        "another machine's package that is needed",
        ["broken"],
        error=IN + "broken-1-1.noarch needs foreign, and the foreign in base is for aarch64",
        hint="add a repository that has foreign to [[repo]]",
        more=[P("broken", requires=["foreign"])],
    ),
    Case(
        "a name that is none",
        ["lib*e"],
        error="cannot lock 'lib\\x7f[2Je-1-1.noarch': that is no name of a package, and the metadata of base has it",
        more=[P("lib\x7f[2Je")],
    ),
    Case(
        "a location outside",
        ["climbing"],
        error="cannot lock climbing-1-1.noarch: the metadata of base says that it is at '../../x.rpm'",
        more=[P("climbing", location="../../x.rpm")],
    ),
]


def _refreshed(folder: Path, case: Case) -> Any:
    repos = {"base": [*BASE, *case.more]}
    if case.extra:
        repos["extra"] = list(case.extra)
    more = {"base": {"group": case.comps}} if case.comps else {}
    return refreshed(folder, repos, settings={"base": case.settings, "extra": case.extra_settings}, more=more)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_choices(case: Case, tmp_path: Path) -> None:
    found = _refreshed(tmp_path, case)
    asked = spec(*case.requests, **case.options)
    if case.error:
        with pytest.raises(HosierError) as raised:
            locked(asked, found)
        assert (str(raised.value), raised.value.hint) == (case.error, case.hint)
    else:
        assert chosen(locked(asked, found)) == case.expected
        # From what was kept of the first time.
        assert chosen(locked(asked, found)) == case.expected


def test_every_package_of_a_lock_says_where_it_is_and_why(tmp_path: Path) -> None:
    found = refreshed(tmp_path, {"base": BASE})
    lock = locked(spec("web", "weak", recommends=True), found)
    by_name = {package.name: package for package in BASE if package.name in ("web", "glibc")}

    def row(name: str, why: str, pre: Sequence[str] = (), depends: Sequence[str] = ()) -> LockedPackage:
        one = next(p for p in reversed(BASE) if p.name == name and p.arch != "i686" and p.evr != "1:3-1")
        return LockedPackage(
            name, one.evr, one.arch, 1000, one.digest, "base", one.path, why, 0, tuple(pre), tuple(depends)
        )

    assert by_name
    assert lock.packages == (
        row("bash", "depends of web", (), ["glibc"]),
        row("docs", "recommends of weak"),
        row("glibc", "depends of bash", ["setup"], ["setup"]),
        row("langs", "recommends of weak"),
        row("setup", "depends of users"),
        row("users", "depends of web", (), ["setup"]),
        row("weak", "requested"),
        row("web", "requested", ["users"], ["bash", "users"]),
    )
    assert [(index.repo, index.path) for index in lock.indices] == [("base", "repodata/primary.xml")]
    assert lock.requests == ("web", "weak") and lock.epoch == 1_700_000_000 and lock.architecture == "amd64"


def test_a_second_architecture_is_named_in_dependencies(tmp_path: Path) -> None:
    lock = locked(spec("only32"), refreshed(tmp_path, {"base": BASE}))
    of = {f"{p.name}.{p.architecture}": (p.why, p.depends) for p in lock.packages}
    assert of["only32.i686"] == ("requested", ("glibc:i686",))
    assert of["glibc.i686"] == ("depends of only32:i686", ("setup",))


def test_file_lists_are_read_only_for_a_path_that_only_they_have(tmp_path: Path) -> None:
    found = refreshed(tmp_path, {"base": BASE})
    for name, read in (("bash", False), ("web", False), ("app", False), ("reader", True), ("/usr/share/doc/app", True)):
        lock = locked(spec(name), found)
        assert any(index.path == "repodata/filelists.xml" for index in lock.indices) is read, name


FILES = local(
    mine=Declared("mine", "1:1-1", X, requires=("bash", "(docs if bash)"), pre=("setup",), files=("/usr/share/mine",)),
    other=Declared("other", "1-1", "aarch64"),
    needing=Declared("needing", "1-1", "noarch", requires=("/usr/share/mine", "mine >= 1:1")),
    broken=Declared("broken", "1-1", "noarch", requires=("libnone",)),
    newbash=Declared("bash", "9-1", X),
)


@pytest.mark.parametrize(
    ("requests", "expected", "error"),
    [
        (["/mine.rpm"], f"bash=5-1.x86_64 docs=1-1 {GLIBC} mine=1:1-1.x86_64 setup=2-1", ""),
        (
            ["/mine.rpm", "/needing.rpm"],
            f"bash=5-1.x86_64 docs=1-1 {GLIBC} mine=1:1-1.x86_64 needing=1-1 setup=2-1",
            "",
        ),
        (["/newbash.rpm", "app-1-1"], "app=1-1 bash=9-1.x86_64", ""),
        (["/other.rpm"], "", IN + "/other.rpm is for aarch64, and the root is x86_64"),
        (["/absent.rpm"], "", IN + "the package file /absent.rpm was not read"),
        (["/broken.rpm"], "", IN + "broken-1-1.noarch needs libnone, and no package libnone is in base"),
    ],
)
def test_package_files(requests: Sequence[str], expected: str, error: str, tmp_path: Path) -> None:
    found = refreshed(tmp_path, {"base": BASE})
    named = [file for file in FILES if file.path in requests]
    if error:
        with pytest.raises(HosierError) as raised:
            locked(spec(*requests), found, named)
        assert str(raised.value) == error
        return
    lock = locked(spec(*requests), found, named)
    assert chosen(lock) == expected
    assert {p.path for p in lock.packages if not p.repo} == {file.path for file in named}


MODULES = """---
document: modulemd
version: 2
data:
  name: tool
  stream: "9"
  version: 1
  context: aaaa
  arch: x86_64
  summary: A tool
  description: A tool.
  license:
    module: [MIT]
  artifacts:
    rpms:
    - pre1-0:9-1.noarch
...
"""


def test_a_package_of_a_module_never_gets_in_by_its_version(tmp_path: Path) -> None:
    packages = [*BASE, P("pre1", "9-1")]
    found = refreshed(tmp_path, {"base": packages}, more={"base": {"modules": MODULES}})
    assert chosen(locked(spec("pre1"), found)) == "pre1=1-1"
    with pytest.raises(HosierError) as raised:
        locked(spec("pre1-9-1"), found)
    assert (
        str(raised.value)
        == IN + "pre1-9-1 is asked for, and pre1-9-1.noarch is of a module's stream that is not active"
    )
    hot = refreshed(
        tmp_path, {"base": packages}, more={"base": {"modules": MODULES}}, settings={"base": {"module_hotfixes": True}}
    )
    assert chosen(locked(spec("pre1"), hot)) == "pre1=9-1"
    assert chosen(locked(spec("pre1"), refreshed(tmp_path, {"base": packages}))) == "pre1=9-1"


STREAMS = """---
document: modulemd
version: 2
data:
  name: db
  stream: "1"
  version: 1
  artifacts: {rpms: [db-0:1-1.x86_64, db-tools-0:1-1.x86_64]}
  profiles:
    server: {description: d, rpms: [db, low]}
---
document: modulemd
version: 2
data:
  name: db
  stream: "2"
  version: 1
  artifacts: {rpms: [db-0:2-1.x86_64]}
  profiles: {server: {rpms: [db]}, gone: {rpms: [away]}}
---
document: modulemd
version: 2
data:
  name: app
  stream: x
  dependencies: [{requires: {db: ["2"]}}]
  artifacts: {rpms: [app-0:1-1.x86_64]}
---
document: modulemd
version: 2
data:
  name: odd
  stream: x
  dependencies: [{requires: {away: []}}]
---
document: modulemd-defaults
version: 1
data: {module: db, stream: "1"}
"""
MODULAR = [
    *(P("db", f"{number}-1", "x86_64") for number in (1, 2, 3)),
    *(P("db-tools", f"{number}-1", "x86_64") for number in (1, 3)),
    P("low"),
    P("app", "1-1", "x86_64"),
]
ASKED = [
    ("the default stream is active", ["db"], "db=1-1.x86_64"),
    ("a stream is active and installs nothing", ["@db:2"], ""),
    ("a stream is active", ["@db:2", "db"], "db=2-1.x86_64"),
    ("wherever it stands", ["db", "@db:2"], "db=2-1.x86_64"),
    ("what an active stream does not have is of no module", ["@db:2", "db-tools"], "db-tools=3-1.x86_64"),
    ("a profile", ["@db:2/server"], "db=2-1.x86_64"),
    ("a profile of the default stream", ["@db/server"], "db=1-1.x86_64 low=1-1"),
    ("what a stream requires is active", ["@app:x", "app", "db"], "app=1-1.x86_64 db=2-1.x86_64"),
    ("and what is asked for is asked for twice", ["@app:x", "@db:2/server"], "db=2-1.x86_64"),
    ("what is not active", ["app"], "app is asked for, and app-1-1.x86_64 is of a module's stream that is not active"),
    ("no stream", ["@db:9"], "no stream 9 of the module db is in base"),
    ("no module", ["@ap:x"], "no module ap is in base"),
    ("no group", ["@db"], "no group db is in base, but a module"),
    ("no default", ["@app/all"], "the module app in base has no default stream"),
    ("no profile", ["@db:2/all"], "db:2 has no profile all"),
    ("no package", ["@db:2/gone"], "@db:2/gone has the package away, and none of that name is in base"),
    ("two streams", ["@db:1", "@db:2"], "@db:1 and @db:2 are asked for, and only one stream of a module can be active"),
    ("a stream of another", ["@app:x", "@db:1"], "app:x cannot be active: it needs db:2, and db:1 is active"),
    ("a stream of none", ["@odd:x"], "odd:x cannot be active: it needs away, and no repository has that"),
]


WITHOUT = ("two streams", "a stream of another", "a stream of none", "no package")
"""Errors whose mend names no request."""


@pytest.mark.parametrize(("says", "requests", "expected"), ASKED, ids=[each[0] for each in ASKED])
def test_streams_of_modules(says: str, requests: Sequence[str], expected: str, tmp_path: Path) -> None:
    found = refreshed(tmp_path, {"base": MODULAR}, more={"base": {"modules": STREAMS}})
    try:
        assert chosen(locked(spec(*requests), found)) == expected
    except HosierError as error:
        assert str(error).removeprefix(IN).partition("; ")[0] == expected
        assert "@" in (error.hint or "") or says in WITHOUT


def test_another_stream_moves_what_was_of_the_one_before(tmp_path: Path) -> None:
    found = refreshed(tmp_path, {"base": MODULAR}, more={"base": {"modules": STREAMS}})
    first = locked(spec("db"), found)
    notes: list[str] = []
    second = locked(spec("@db:2", "db"), found, previous=first, note=notes.append)
    assert chosen(second) == "db=2-1.x86_64"
    assert notes == ["db 1-1 is of a module's stream that is not active, so it moves"]


# what is held


def _moved(
    folder: Path, before: Sequence[P], after: Sequence[P], *requests: str, **options: Any
) -> tuple[str, list[str]]:
    """What a lock is with a previous one, and what was said."""
    folder.mkdir(exist_ok=True)
    asked = options.pop("asked", requests)
    first = locked(spec(*asked), refreshed(folder, {"base": before}))
    notes: list[str] = []
    second = locked(
        spec(*requests, **{k: v for k, v in options.items() if k != "update"}),
        refreshed(folder, {"base": after}),
        previous=first,
        update=options.get("update", frozenset()),
        note=notes.append,
    )
    return chosen(second), notes


OLD = [P("top", "1-1", requires=["low"]), P("low", "1-1"), P("side", "1-1")]
NEW = [*OLD, P("top", "2-1", requires=["low"]), P("low", "2-1"), P("side", "2-1")]


def test_what_a_lock_had_is_held(tmp_path: Path) -> None:
    assert _moved(tmp_path, OLD, NEW, "top", "side") == ("low=1-1 side=1-1 top=1-1", [])
    assert _moved(tmp_path, OLD, NEW, "top", "side", update=frozenset({"low"})) == ("low=2-1 side=1-1 top=1-1", [])
    assert _moved(tmp_path, OLD, NEW, "top", "side", update=None) == ("low=2-1 side=2-1 top=2-1", [])


def test_what_is_to_move_takes_along_what_it_must_have_newer(tmp_path: Path) -> None:
    after = [*OLD, P("top", "2-1", requires=["low = 2-1"]), P("low", "2-1"), P("side", "2-1")]
    assert _moved(tmp_path, OLD, after, "top", "side", update=frozenset({"top"})) == (
        "low=2-1 side=1-1 top=2-1",
        ["low cannot stay at 1-1, so it moves"],
    )


def test_what_cannot_be_had_together_moves_as_far_as_it_can(tmp_path: Path) -> None:
    after = [*OLD, P("top", "2-1", requires=["low"], conflicts=["side >= 2"]), P("side", "2-1"), P("low", "2-1")]
    for name in ("top", "side"):
        assert _moved(tmp_path / name, OLD, after, "top", "side", update=frozenset({name})) == (
            f"low=1-1 side={1 + (name == 'side')}-1 top={1 + (name == 'top')}-1",
            [],
        )
    both = frozenset({"top", "side", "low"})
    assert _moved(tmp_path / "both", OLD, after, "top", "side", update=both) == ("low=2-1 side=2-1 top=1-1", [])
    never = [*OLD, P("top", "2-1", requires=["nobody-has-it"])]
    assert _moved(tmp_path / "never", OLD, never, "top", "side", update=frozenset({"top"})) == (
        "low=1-1 side=1-1 top=1-1",
        [],
    )


def test_what_is_not_needed_any_more_goes(tmp_path: Path) -> None:
    assert _moved(tmp_path, OLD, NEW, "side", asked=("top", "side")) == ("side=1-1", [])


def test_a_held_package_moves_when_it_must_and_that_is_said(tmp_path: Path) -> None:
    needing = [*OLD, P("low", "2-1"), P("more", "1-1", requires=["low >= 2"])]
    assert _moved(tmp_path, OLD, needing, "top", "side", "more", asked=("top", "side")) == (
        "low=2-1 more=1-1 side=1-1 top=1-1",
        ["low cannot stay at 1-1, so it moves"],
    )
    gone = [each for each in NEW if each.nevra != "low-1-1.noarch"]
    assert _moved(tmp_path, OLD, gone, "top", "side") == (
        "low=2-1 side=1-1 top=1-1",
        ["low 1-1 is in no repository any more, so it moves"],
    )


def test_a_held_package_stays_when_another_obsoletes_it(tmp_path: Path) -> None:
    after = [*OLD, P("newtop", "3-1", obsoletes=["top < 3"])]
    assert _moved(tmp_path, OLD, after, "top") == ("low=1-1 top=1-1", [])
    assert _moved(tmp_path, OLD, after, "top", update=frozenset({"top"})) == ("newtop=3-1", [])


def test_a_held_provider_stays_when_a_better_one_comes(tmp_path: Path) -> None:
    before = [P("user", requires=["cap"]), P("zcap", provides=["cap"])]
    assert _moved(tmp_path, before, [*before, P("acap", provides=["cap"])], "user") == ("user=1-1 zcap=1-1", [])


@pytest.mark.parametrize(
    ("asked", "requests", "update", "expected"),
    [
        (["kernel = 1", "kernel = 2"], ["kernel = 1", "kernel = 2", "any"], [], "any=1-1 kernel=1-1 kernel=2-1"),
        (["kernel = 1", "kernel = 2"], ["kernel = 2"], [], "kernel=2-1"),
        (["kernel = 1"], ["kernel = 1", "kernel = 2"], [], "kernel=1-1 kernel=2-1"),
        (["kernel < 3"], ["kernel", "kernel = 1"], [], "kernel=1-1 kernel=2-1"),
        (["kernel < 3"], ["kernel"], [], "kernel=2-1"),
        (["kernel < 3"], ["kernel"], ["kernel"], "kernel=3-1"),
        (["kernel < 3"], ["kernel", "kernel = 1"], ["kernel"], "kernel=1-1"),  # as dnf, of nothing
        (["kernel = 1", "kernel = 2"], ["kernel = 1", "kernel = 2"], ["kernel"], "kernel=1-1 kernel=2-1"),
        (["kernel = 1", "kernel = 2"], ["kernel = 1", "kernel > 1"], ["kernel-2-1"], "kernel=1-1 kernel=3-1"),
        (["kernel = 1", "kernel = 2"], ["kernel = 1", "kernel > 1"], ["kernel-1-1"], "kernel=1-1 kernel=2-1"),
        (["kernel = 2"], ["kernel", "mod = 1"], [], "kernel=1-1 kernel=2-1 mod=1-1"),
        (["kernel = 2"], ["mod = 1"], [], "kernel=1-1 mod=1-1"),
    ],
)
def test_kernels_are_held_each(
    asked: Sequence[str], requests: Sequence[str], update: Sequence[str], expected: str, tmp_path: Path
) -> None:
    found = _moved(tmp_path, KERNELS, KERNELS, *requests, asked=asked, update=frozenset(update))
    assert found == (expected, [])


def test_a_kernel_that_is_added_is_of_a_stage_of_its_own_and_needs_are_told_by_version(tmp_path: Path) -> None:
    found = refreshed(tmp_path, {"base": KERNELS})
    first = locked(spec("mod = 2", "any"), found)
    assert [(p.name, p.stage, p.depends) for p in first.packages] == [
        ("any", 0, ("kernel",)), ("kernel", 0, ()), ("mod", 0, ("kernel",)),
    ]  # fmt: skip
    second = locked(spec("mod = 2", "any", "mod = 1"), found, previous=first)
    assert [(p.name, p.version, p.stage, p.depends, p.why) for p in second.packages] == [
        ("any", "1-1", 1, ("kernel-1-1",), "requested"),
        ("kernel", "1-1", 1, (), "depends of any"),
        ("kernel", "2-1", 0, (), "depends of mod-2-1"),
        ("mod", "1-1", 1, ("kernel-1-1",), "requested"),
        ("mod", "2-1", 0, ("kernel-2-1",), "requested"),
    ]
    for more in range(8):  # of the numbers of packages, which come in another order in each set
        others = refreshed(tmp_path, {"base": [*KERNELS, *(P(f"a{number}") for number in range(more))]})
        assert locked(spec("mod = 2", "any", "mod = 1"), others, previous=first).packages == second.packages
    third = locked(spec("mod = 1", "any"), found, previous=second)
    assert [(p.name, p.stage, p.depends) for p in third.packages] == [
        ("any", 1, ("kernel",)), ("kernel", 1, ()), ("mod", 1, ("kernel",)),
    ]  # fmt: skip


def test_a_kernel_that_others_need_is_not_requested_by_the_name_alone(tmp_path: Path) -> None:
    found = refreshed(tmp_path, {"base": KERNELS})
    lock = locked(spec("kernel", "mod = 1"), found, previous=locked(spec("kernel = 2"), found))
    assert [(p.version, p.why) for p in lock.packages][:2] == [("1-1", "depends of mod"), ("2-1", "requested")]


def test_a_kernel_moves_with_what_it_needs_and_another_stays(tmp_path: Path) -> None:
    after = [*KERNELS[:2], P("kernel", "3-1", requires=["low >= 2"]), P("low", "1-1"), P("low", "2-1")]
    before = [each for each in after if each.nevra != "low-2-1.noarch"]
    requests = ("low", "kernel = 1", "kernel > 1")
    assert _moved(tmp_path, before, after, *requests) == ("kernel=1-1 kernel=2-1 low=1-1", [])
    assert _moved(tmp_path, before, after, *requests, update=frozenset({"kernel"})) == (
        "kernel=1-1 kernel=3-1 low=2-1",
        ["low cannot stay at 1-1, so it moves"],
    )


def test_an_addition_is_of_a_stage_of_its_own(tmp_path: Path) -> None:
    first = locked(spec("top"), refreshed(tmp_path, {"base": OLD}))
    second = locked(spec("top", "side"), refreshed(tmp_path, {"base": NEW}), previous=first)
    assert {p.name: p.stage for p in second.packages} == {"low": 0, "top": 0, "side": 1}
    third = locked(
        spec("top", "side", "more"),
        refreshed(tmp_path, {"base": [*NEW, P("more", requires=["side", "less"]), P("less")]}),
        previous=second,
    )
    assert {p.name: p.stage for p in third.packages} == {"low": 0, "top": 0, "side": 1, "more": 2, "less": 2}


def test_stale_says_what_changed(tmp_path: Path) -> None:
    lock = locked(spec("top", "low"), refreshed(tmp_path, {"base": OLD}))
    base, other = Repo("base", "rpm"), Repo("other", "rpm")
    assert locking.stale(lock, spec("top", "low", repos=[base])) == []
    assert locking.stale(lock, spec("top", "side", exclude=["low"], repos=[base])) == [
        "side is asked for now",
        "low is not asked for any more",
        "low is excluded now",
    ]
    assert locking.stale(lock, spec("low", "top", repos=[base])) == ["the order of the requests changed"]
    assert locking.stale(lock, spec("top", repos=[other])) == [
        "low is not asked for any more",
        "the repo base is not there any more",
        "the repo other is new",
    ]


# several architectures


def _together(folder: Path, archives: Mapping[str, Sequence[P]], *requests: str) -> str:
    tasks = []
    for architecture, packages in archives.items():
        place = folder / architecture
        place.mkdir(exist_ok=True)
        found = refreshed(place, {"base": packages}, architecture=architecture)
        tasks.append(Task(spec(*requests), found, (), architecture, None, lists(found, place)))
    return "; ".join(f"{lock.architecture}: {chosen(lock)}" for lock in together.solve(tasks).locks)


def test_several_architectures_have_the_same_versions(tmp_path: Path) -> None:
    both = [P("low", "1-1", arch) for arch in (X, "aarch64")]
    archives = {"amd64": [both[0], P("low", "2-1", X), P("any", "1-1")], "arm64": [both[1], P("any", "1-1")]}
    assert _together(tmp_path, archives, "low", "any") == (
        "amd64: any=1-1 low=1-1.x86_64; arm64: any=1-1 low=1-1.aarch64"
    )
    kernels = [P("kernel", "1-1"), P("kernel", "2-1"), P("kernel", "3-1", X)]
    archives = {"amd64": kernels, "arm64": kernels[:2]}
    assert _together(tmp_path, archives, "kernel = 1", "kernel > 1") == (
        "amd64: kernel=1-1 kernel=2-1; arm64: kernel=1-1 kernel=2-1"
    )
    archives = {
        "amd64": [*kernels[:2], P("low", "1-1", X, requires=["kernel = 1"])],
        "arm64": [*kernels[:2], P("low", "1-1", "aarch64")],
    }
    assert _together(tmp_path, archives, "kernel = 2", "low") == (
        "amd64: kernel=1-1 kernel=2-1 low=1-1.x86_64; arm64: kernel=2-1 low=1-1.aarch64"
    )
    with pytest.raises(HosierError) as raised:
        _together(tmp_path, {"amd64": [P("low", "2-1", X)], "arm64": [P("low", "1-1", "aarch64")]}, "low")
    assert str(raised.value) == (
        "cannot lock web for all together: no version of it is there for all:\n  - low: 2-1 (amd64), 1-1 (arm64)"
    )


# declared sets


def _missing(folder: Path, packages: Sequence[P], *requests: str) -> list[tuple[str, str | None]]:
    found = refreshed(folder, {"base": packages})
    task = Task(spec(*requests, dependencies=False), found, (), "amd64", None, lists(found, folder))
    every = locking.universe(task)
    chosen = locking.listed(every, wanted(task.spec.packages.install, every, []), {})
    return [(fault.text, fault.hint) for fault in faults(every, chosen)]


def test_what_a_declared_set_lacks_is_said_in_words(tmp_path: Path) -> None:
    packages = [*BASE, P("broken", requires=["libnone >= 2", "/usr/share/doc/app", "(setup and users)"])]
    assert _missing(tmp_path, packages, "web", "bash", "exim", "postfix", "broken") == [
        (
            "bash-5-1.x86_64 needs libc.so.6()(64bit), and nothing that is listed gives it",
            "list glibc-2.36-2.x86_64 of base",
        ),
        ("broken-1-1.noarch needs libnone >= 2, and nothing that is listed gives it", None),
        (
            "broken-1-1.noarch needs /usr/share/doc/app, and nothing that is listed gives it",
            "list docs-1-1.noarch of base",
        ),
        (
            "broken-1-1.noarch needs (setup and users), and nothing that is listed gives it",
            "list one of setup, users",
        ),
        ("web-1:3-2.x86_64 needs users, and nothing that is listed gives it", "list users-1-1.noarch of base"),
        ("exim-4-1.x86_64 conflicts with postfix: postfix-3-1.x86_64", "leave one of them out"),
    ]
    assert _missing(tmp_path, BASE, "bash", "glibc", "setup") == []
    assert _missing(tmp_path, KERNELS, "kernel = 1", "kernel = 2", "mod = 2") == []


# rich dependencies


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("name", "name"),
        ("(a)", "a"),
        ("(a or b >= 1:2-3)", richdeps.Rich("or", "a", "b >= 1:2-3")),
        ("(a and b and c)", richdeps.Rich("and", richdeps.Rich("and", "a", "b"), "c")),
        ("(a if (b or c) else d)", richdeps.Rich("if", "a", richdeps.Rich("or", "b", "c"), "d")),
        ("(libc.so.6()(64bit) with perl(A::B) = 1)", richdeps.Rich("with", "libc.so.6()(64bit)", "perl(A::B) = 1")),
    ],
)
def test_rich_dependencies_are_read(text: str, tree: richdeps.Tree) -> None:
    assert richdeps.parse(text) == tree


@pytest.mark.parametrize(
    "text", ["(a", "(a or)", "(a or b) c", "(a or b and c)", "()", "(a else b)", "(a x b)", "(" * 99]
)
def test_what_is_no_rich_dependency_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        richdeps.parse(text)


def test_the_longest_dependency_is_walked_and_a_longer_one_refused() -> None:
    longest = "(" * 40 + "(a)" + ("or (b)" * 10 + ")") * 40
    assert set(richdeps.leaves(richdeps.parse(longest))) == {"a", "b"}
    assert not richdeps.holds(richdeps.parse(longest), lambda _: frozenset())
    with pytest.raises(ValueError, match="too long"):
        richdeps.parse(f"({longest} or c)")


@given(st.text(alphabet="(ab) orifelse><=1,", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        list(richdeps.leaves(richdeps.parse(text)))
    except ValueError:
        pass


# whatever there is


def _solved(number: int, folder: Path, order: Callable[[Sequence[P]], Sequence[P]] = list) -> tuple[list[Any], Any]:
    one = world(number)
    folder.mkdir(exist_ok=True)
    found = refreshed(
        folder,
        {name: order(packages) for name, (packages, _, _) in one.repos.items()},
        settings={name: {"priority": p, "cost": c} for name, (_, p, c) in one.repos.items()},
        more={"base": {"group": one.comps}},
    )
    out: list[Any] = []
    for words in one.requests:
        asked = spec(*words, recommends=one.weak, exclude=one.exclude)
        try:
            out.append((asked, locked(asked, found)))
        except HosierError as error:
            out.append((asked, f"{error} / {error.hint or ''}"))
    return out, found


@given(number=st.integers(0, 1_000_000))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_lock_is_consistent(number: int, tmp_path: Path) -> None:
    solved, found = _solved(number, tmp_path / "a")
    for asked, lock in solved:
        if isinstance(lock, str):
            assert not any(word in lock for word in ("solvable", "Id #", "None"))
            continue
        universe = locking.universe(Task(asked, found, (), "amd64", None, lists(found, tmp_path / "a")))
        universe.pool.read_filelists()
        numbers = [
            each
            for package in lock.packages
            for each in universe.pool.named(package.name)
            if (universe.package(each).evr, universe.package(each).architecture, universe.package(each).repo)
            == (package.version, package.architecture, package.repo)
        ]
        assert len(numbers) == len(lock.packages)
        closure = Closure(universe, numbers)
        keys = [universe.key(each) for each in numbers if universe.alone(each)]
        assert len(keys) == len(set(keys))
        assert len(lock.by_key()) == len(numbers)
        assert closure.unmet() == []
        assert closure.clashes() == []
        assert all(name in lock.by_key() for p in lock.packages for name in p.depends)
        assert all(p.pre_depends == () or set(p.pre_depends) <= set(p.depends) for p in lock.packages)


@given(number=st.integers(0, 1_000_000), choose=st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_of_packages_in_a_repository_decides_nothing(
    number: int, choose: random.Random, tmp_path: Path
) -> None:
    def text(result: tuple[list[Any], Any]) -> list[Any]:
        return [one if isinstance(one, str) else one.packages for _, one in result[0]]

    def shuffled(packages: Sequence[P]) -> Sequence[P]:
        return choose.sample(list(packages), len(packages))

    assert text(_solved(number, tmp_path / "a")) == text(_solved(number, tmp_path / "b", shuffled))


def test_the_seed_of_hashes_decides_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path[:0] = sys.argv[2:]\n"
        "from unit.test_rpm_solve import _solved\n"
        "print([_solved(n, Path(sys.argv[1]) / str(n))[0] for n in range(8)])"
    )
    tests = str(Path(__file__).parents[1])
    source = str(Path(locking.__file__).parents[3])
    out = set()
    for seed in ("0", "1", "77"):
        place = tmp_path / "same"
        place.mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", code, str(place), tests, source],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        out.add(done.stdout)
    assert len(out) == 1


def test_what_is_kept_of_metadata_and_damaged_is_read_anew(tmp_path: Path) -> None:
    found = refreshed(tmp_path, {"base": BASE})
    expected = chosen(locked(spec("web", "reader"), found))
    texts = {index.sha256 for index in found.indices} | {later.metadata.digest.value for later in found.later}
    kept = [path for path in tmp_path.iterdir() if path.name not in texts]
    assert kept
    for content in (b"", b"kept", b"SOLV\0\0\0\x08kept", kept[0].read_bytes()[: -(len(kept[0].read_bytes()) // 2)]):
        for path in kept:
            path.write_bytes(content)
        assert chosen(locked(spec("web", "reader"), found)) == expected


def test_package_files_alone_need_no_repository() -> None:
    alone = Refreshed((), (), (), 0, Proxies())
    (lock,) = together.solve([Task(spec("/newbash.rpm"), alone, FILES[-1:], "amd64")]).locks
    assert chosen(lock) == "bash=9-1.x86_64"


@pytest.mark.parametrize("text", ["", "<metadata", primary(BASE)[:900], "no xml at all"])
def test_damaged_metadata_is_refused_by_name(text: str, tmp_path: Path) -> None:
    with pytest.raises(HosierError) as raised:
        locked(spec("web"), refreshed(tmp_path, {"base": text}))
    assert str(raised.value).startswith("cannot choose packages: the metadata of base cannot be read: ")
    assert raised.value.code == "package-invalid"


ABSURD = [
    ('packages="1"', 'packages="99999999999999999999"', "one=1-1"),
    ('packages="1"', 'packages="-1"', "one=1-1"),
    ('package="1000"', f'package="{"9" * 30}"', "that it has 18446744073709551615 bytes"),
    ('package="1000"', 'package="-5"', "that it has 18446744073709551611 bytes"),
    ('epoch="0"', f'epoch="{"9" * 30}"', "that is no name of a package"),
    ('rel="1"', f'rel="{"1" * (1 << 20)}"', "that is no name of a package"),
    ("<format>", f"<format>{'<a>' * 60}{'</a>' * 60}", "one=1-1"),
    ("</format>", "<file>/usr/bin/x</file>" * 50_000 + "</format>", "one=1-1"),
    ("</metadata>", '<package type="rpm"><name>x</name></package>' * 20_000 + "</metadata>", "one=1-1"),
]


@pytest.mark.parametrize(("old", "new", "expected"), ABSURD, ids=[each[1][:20] for each in ABSURD])
def test_absurd_metadata_is_refused_or_no_harm(old: str, new: str, expected: str, tmp_path: Path) -> None:
    text = primary([P("one")])
    assert old in text
    try:
        assert chosen(locked(spec("one"), refreshed(tmp_path, {"base": text.replace(old, new)}))) == expected
    except PackageInvalid as error:
        assert str(error).startswith("cannot lock ") and expected in str(error) and len(str(error)) < 400


@pytest.mark.parametrize("dependency", ["(" * 100_000 + "a" + ")" * 100_000, "(" + "a or " * 100_000 + "b)"])
def test_a_dependency_that_would_be_too_deep_is_refused(dependency: str, tmp_path: Path) -> None:
    """libsolv's stack ends after some ten thousand of them, and the process with it."""
    with pytest.raises(HosierError) as raised:
        locked(spec("web"), refreshed(tmp_path, {"base": [*BASE, P("deep", requires=[dependency])]}))
    assert str(raised.value) == (
        "cannot choose packages: the metadata of base cannot be read: it has a rich dependency of more than 4000 "
        "characters"
    )
    file = local(deep=Declared("deep", "1-1", "noarch", requires=(dependency,)))
    with pytest.raises(HosierError) as raised:
        locked(spec("/deep.rpm"), refreshed(tmp_path, {"base": BASE}), file)
    assert str(raised.value).startswith("cannot choose packages: the dependency '(")


@pytest.mark.parametrize(
    "odd",
    [
        P("odd", requires=["(" * 900 + "web" + ")" * 900]),
        P("odd", requires=["(" + "web or " * 500 + "web)"]),
        P("odd", recommends=["(a or", "x y z w"], conflicts=["(x"], supplements=["(("], obsoletes=["("]),
    ],
)
def test_odd_dependencies_are_no_harm(odd: P, tmp_path: Path) -> None:
    lock = locked(spec("odd", "web", recommends=True), refreshed(tmp_path, {"base": [*BASE, odd]}))
    assert {"odd", "web"} <= {package.name for package in lock.packages}


def test_a_version_that_is_none_is_refused(tmp_path: Path) -> None:
    found = refreshed(tmp_path, {"base": [*BASE, P("web", "99999999999:9-1")]})
    for words in ("web", "web >= 1", "web-1*"):
        try:
            lock = locked(spec(words), found)
        except HosierError as error:
            assert "99999999999:9-1" in str(error)
        else:
            assert "web=1:3" in chosen(lock)


def test_a_pool_is_one_for_any_order_of_its_sources() -> None:
    assert Pool([], architecture="x86_64").by_name == {}


def test_a_request_for_a_file_on_the_network_is_met_by_what_was_fetched(tmp_path: Path) -> None:
    url = "https://example.org/mine.rpm"
    file = LocalPackage(url, 10, "a" * 64, Declared("mine", "1-1", "noarch"))
    asked = Spec("web", packages=spec().packages.__class__(install=(Request("", url=url),)), digest="sha256:1")
    lock: Lock = locked(asked, refreshed(tmp_path, {"base": BASE}), [file])
    assert [(p.path, p.repo, p.why) for p in lock.packages] == [(url, "", "requested")]


def test_a_file_from_the_network_is_named_by_its_url(tmp_path: Path) -> None:
    file = tmp_path / "0123"
    file.write_bytes(b"junk")
    with pytest.raises(PackageInvalid, match=r"^cannot read https://example.org/a.rpm: it is cut off in its lead$"):
        package_files.read(str(file), "https://me:secret@example.org/a.rpm")
