"""Locks and roots of the RPM family are dnf's: the same packages, and the same trees but for a list with reasons.

The list is docs/same-as-dnf.md; a test holds the page to it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from kit import rpmpeer
from kit.cli import build, hosier
from kit.rpmpeer import (
    Refused,
    dnf_install,
    dnf_solve,
    hard_links,
    rpm_order,
    rpm_qa,
    rpm_qa_inside,
    rpm_states,
    rpm_va,
)
from kit.rpmworld import World, world
from kit.trees import Known, differences

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="dnf --installroot is run as root"),
    pytest.mark.skipif(rpmpeer.missing() is not None, reason=f"the Debian package {rpmpeer.missing()} is missing"),
]

EVERY = ("base", "extras", "updates")


def _without(*fields: int):  # type: ignore[no-untyped-def]
    """Equal as sets of lines once these fields, between colons, are taken out."""

    def rows(text: str) -> list[list[str]]:
        return sorted([f for i, f in enumerate(line.split(":")) if i not in fields] for line in text.splitlines())

    return lambda a, b: rows(a) == rows(b)


NUMBERS = "numbers and order of accounts that packages make: they are taken as packages are installed"
DATABASE = "install times and transaction ids, and what sqlite leaves; what it says of packages and files is the same"
KNOWN = [
    Known("/usr/lib/sysimage/rpm/rpmdb.sqlite*", DATABASE),
    Known("/usr/lib/sysimage/rpm/.rpm.lock", "a lock file of a finished process"),
    Known("/dev/*", "device nodes belong to whoever runs the root; dnf makes /dev/null for scriptlets"),
    Known("/run/*", "/run is a tmpfs wherever a root runs (file-hierarchy(7)); what scripts leave there is not kept"),
    Known("/etc/dnf", "dnf makes a folder for the settings of modules"),
    Known("/etc/dnf/modules.d", "dnf makes a folder for the settings of modules"),
    Known("/etc/.pwd.lock", "a lock file of a finished process"),
    Known("/etc/passwd*", NUMBERS, _without(2, 3)),
    Known("/etc/group*", NUMBERS, _without(2)),
    Known("/etc/gshadow*", NUMBERS, _without()),
    Known(
        "/etc/shadow*", "dates, and order: each stage of a build has the newest time of its own packages", _without(2)
    ),
    Known("/var/cache/ldconfig/aux-cache", "inode numbers and times of this machine's file system"),
]


@dataclass(frozen=True)
class Case:
    """One request: of dnf by `install` and its options, of hosier by the same in a spec."""

    name: str
    install: tuple[str, ...]
    holds: frozenset[str]
    """Names that must be among the packages; so that two equal mistakes are seen."""
    lacks: frozenset[str] = frozenset()
    repos: tuple[str, ...] = EVERY
    weak: bool = False
    exclude: tuple[str, ...] = ()
    docs: bool = True
    languages: tuple[str, ...] | None = None
    tree: bool = True


def case(name: str, *install: str, holds: str = "", lacks: str = "", **options: object) -> Case:
    return Case(name, install, frozenset(holds.split()), frozenset(lacks.split()), **options)  # type: ignore[arg-type]


SYSTEM = ("bash", "coreutils", "rpm", "shadow-utils", "sed")
CASES = [
    case("plain", *SYSTEM, "grep", repos=("base",), holds="glibc setup filesystem"),
    case("weak", "bash", "weak-app", weak=True, holds="weak-nice weak-supplement weak-supplement-rich upd-only",
         lacks="weak-maybe weak-enhance weak-supplement-not"),
    case("weak, and impossible", "bash", "weak-conflicting", weak=True, holds="conflict-a", lacks="conflict-b"),
    case("not weak", "bash", "weak-app", holds="plain", lacks="weak-nice weak-supplement"),
    case("groups", "@core", "@standard", holds="bash grep psmisc alt-a plain", lacks="less alt-b"),
    case("an environment", "@minimal-environment", holds="bash grep", lacks="alt-a"),
    case("files", "bash", "file-dep", "file-dep-deep", "/usr/bin/tree", holds="filedep-owner deep-owner tree"),
    case(
        "rich",
        *("bash", "plain", "rich-or", "rich-if", "rich-if-else", "rich-and", "rich-with", "rich-without"),
        "rich-nested",
        holds="alt-a alt-b cap-one cap-two",
    ),
    case("obsoletes", "bash", "app", "splitold", "renamed-old", holds="newapp split-a renamed-new",
         lacks="app splitold renamed-old"),
    case(
        "versions",
        *("bash", "many < 3", "tilde", "caret", "epoch-user", "plain = 2.0", "a_name.with+odd-letters1"),
        "kernel-user",
        holds="many epoch-app kernel",
    ),
    case("versions that others need", "bash", "many-exact-user", "perl-user", "virtual-user", holds="many perl-like"),
    case("multilib", "bash", "multi.x86_64", "multi.i686", "multi-user", holds="multi-libs"),
    case("what has another word size will do", "bash", "multi", "multi.i686", holds="multi-libs"),
    case("one word size", "bash", "multi-user", holds="multi-libs"),
    case("excluded", "bash", "virtual-user", "weak-app", weak=True, exclude=("alt-a", "weak-n*"), holds="alt-b",
         lacks="alt-a weak-nice"),
    case("a modular package is not taken", "bash", "modapp", holds="modapp"),
    case("languages and no documentation", *SYSTEM, "kinds", "many-docs", docs=False, languages=("de",), holds="kinds"),
    case(
        "every kind of file",
        *(*SYSTEM, "kinds", "hardlinks", "capable", "shared-folder-a", "shared-folder-b", "same-file-a", "same-file-b"),
        *("through-merged", "payload-gz", "payload-xz", "payload-bz2", "payload-zst", "payload-lzma", "payload-none"),
        holds="hardlinks",
    ),
    case(
        "scriptlets",
        *(*SYSTEM, "scripts-all < 2", "lua-all", "lua-posix", "user-owner", "user-needed", "post-expands"),
        *("post-python", "ghost-maker", "loop-a", "order-a-last", "order-first", "post-fails"),
        holds="python3.11-minimal loop-b",
    ),
    case(
        "triggers",
        *(*SYSTEM, "trigger-owner", "triggered", "many < 2", "filetrigger-owner", "marks-a", "marks-b"),
        *("kernel-6.1.1-1", "kernel = 6.1.2", "kernel-watch", "kernel-user"),
        holds="triggered kernel",
    ),
    case(
        "a server",
        *(*SYSTEM, "nginx", "rsyslog", "ca-certificates", "openssh-clients", "python3", "curl", "iproute2", "make"),
        holds="openssl libssh2-1",
    ),
    case(
        "what dnf keeps several of",
        *(*SYSTEM, "kernel-6.1.1-1", "kernel-6.1.2-1", "kernel-mod-1.10", "kernel-mod < 1.2"),
        *("kernel-user", "kernel-watch"),
        holds="kernel kernel-mod",
    ),
]  # fmt: skip
REFUSED = [
    case("nothing provides it", "broken-dep"),
    case("a file that nobody has", "file-dep-absent"),
    case("conflicting", "conflict-a", "conflict-b"),
    case("only in a module", "modonly"),
    case("excluded and asked for", "plain", exclude=("plain",)),
    case("no such version", "plain = 77"),
    case("unknown", "no-such-package"),
    case("obsolete, one of several versions", "kernel-6.1.1-1", "kernel-6.1.2-1", "kernel-other"),
    case("excluded, one of several versions", "kernel-6.1.1-1", "kernel-6.1.2-1", exclude=("kernel-6.1.1*",)),
]


@pytest.fixture(scope="module")
def here() -> World:
    return world()


def _spec(each: Case, here: World, folder: Path) -> Path:
    lines = [f"recommends = {str(each.weak).lower()}", f"docs = {str(each.docs).lower()}"]
    if each.exclude:
        lines.append(f"exclude = {json.dumps(each.exclude)}")
    if each.languages is not None:
        lines.append(f"languages = {json.dumps(each.languages)}")
    return here.spec(folder, *each.install, repos=each.repos, packages="\n".join(lines))


def _chosen(spec: Path, store: Path) -> set[str]:
    """The NEVRAs of a lock."""
    locked = json.loads(hosier("lock", spec, "--json", store=store).stdout)
    return {f"{p['name']}-{p['version']}.{p['architecture']}" for p in locked["packages"]}


def _names(nevras: set[str]) -> set[str]:
    return {each.rsplit("-", 2)[0] for each in nevras}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("same") / "store"


@pytest.mark.parametrize("each", CASES, ids=lambda each: each.name)
def test_the_packages_are_those_of_dnf(each: Case, here: World, store: Path, tmp_path: Path) -> None:
    theirs = dnf_solve(here, each.install, repos=each.repos, weak=each.weak, exclude=each.exclude)
    assert each.holds <= _names(theirs), "dnf itself"
    assert not each.lacks & _names(theirs), "dnf itself"
    assert _chosen(_spec(each, here, tmp_path), store) == theirs


@pytest.mark.parametrize("each", REFUSED, ids=lambda each: each.name)
def test_what_dnf_refuses_is_refused(each: Case, here: World, store: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused):
        dnf_solve(here, each.install, repos=each.repos, exclude=each.exclude)
    spec = _spec(each, here, tmp_path)
    done = hosier("lock", spec, store=store, check=False)
    assert done.returncode != 0, done.stdout
    assert done.stderr.startswith(("error: cannot lock small: ", "error: cannot read ")), done.stderr
    assert not spec.with_suffix(".lock").exists()


QUICK = ("plain", "scriptlets", "triggers", "every kind of file", "languages and no documentation", "multilib")
"""Of the trees; the others are compared among the long proofs."""
TREES = [pytest.param(each, id=each.name, marks=[] if each.name in QUICK else pytest.mark.prove) for each in CASES]


@pytest.mark.parametrize("each", TREES)
def test_the_tree_is_that_of_dnf(each: Case, here: World, store: Path, tmp_path: Path) -> None:
    built = build(_spec(each, here, tmp_path), store=store)
    ours = Path(str(built["path"]))
    record = dict(
        line.split(" ", 1) for line in (store / "images" / str(built["digest"]) / "record").read_text().splitlines()
    )
    theirs = tmp_path / "theirs"
    said = dnf_install(
        here,
        each.install,
        theirs,
        repos=each.repos,
        weak=each.weak,
        exclude=each.exclude,
        docs=each.docs,
        languages=each.languages,
        epoch=int(record["epoch"]),
    )
    wrong, met = differences(ours, theirs, KNOWN)
    print(f"{each.name}: {built['packages']} packages; known differences met: {', '.join(sorted(met))}")
    assert wrong == [], said
    assert hard_links(ours) == hard_links(theirs)
    assert rpm_qa(ours) == rpm_qa(theirs)
    if each.name != "rich":
        assert rpm_order(ours) == rpm_order(theirs)
    assert rpm_states(ours) == rpm_states(theirs)
    assert rpm_va(ours) == rpm_va(theirs)
    # only configuration that scriptlets changed
    assert [line for line in rpm_va(ours) if line[9:13].strip() != "c"] == []
    if "rpm" in each.install:
        assert rpm_qa_inside(ours) == rpm_qa(ours)


@pytest.mark.prove
def test_a_version_more_comes_beside_the_first_as_with_dnf(here: World, store: Path, tmp_path: Path) -> None:
    """In a second transaction, which is a stage of its own here."""
    theirs = tmp_path / "theirs"
    asked = [*SYSTEM, "kernel-watch", "kernel-6.1.1-1"]
    for more in ([], ["kernel-6.1.10-1", "kernel-mod-1.10"]):
        asked += more
        spec = here.spec(tmp_path, *asked, repos=EVERY, packages="recommends = false")
        hosier("lock", spec, store=store)
        built = build(spec, store=store)
        lines = (store / "images" / str(built["digest"]) / "record").read_text().splitlines()
        record = dict(line.split(" ", 1) for line in lines)
        said = dnf_install(here, more or asked, theirs, repos=EVERY, epoch=int(record["epoch"]))
    assert [p["stage"] for p in json.loads(hosier("lock", spec, "--json", store=store).stdout)["packages"]
            if p["name"] == "kernel"] == [0, 1]  # fmt: skip
    ours = Path(str(built["path"]))
    wrong, _ = differences(ours, theirs, KNOWN)
    assert wrong == [], said
    assert rpm_qa(ours) == rpm_qa(theirs) >= {"kernel-6.1.1-1.noarch", "kernel-6.1.10-1.noarch"}
    assert rpm_order(ours) == rpm_order(theirs)
    assert rpm_states(ours) == rpm_states(theirs)
    assert rpm_va(ours) == rpm_va(theirs)


def test_versions_that_share_a_path_are_refused_as_by_dnf(here: World, store: Path, tmp_path: Path) -> None:
    both = ("kernel-clash-1.1", "kernel-clash-1.2")
    with pytest.raises(Refused, match="conflicts between attempted installs of kernel-clash"):
        dnf_install(here, both, tmp_path / "theirs", repos=("extras",))
    done = hosier("build", here.spec(tmp_path, *both, repos=("extras",)), store=store, check=False)
    assert done.stderr.splitlines() == [
        "error: cannot install kernel-clash 1.1-1: its /usr/share/world/clash is not the same as that of kernel-clash "
        "1.2-1",
        "hint: exclude one of the two, or ask for versions that do not share the file",
    ]
    assert done.returncode != 0


def test_the_page_of_differences_is_the_list() -> None:
    page = (Path(__file__).parents[2] / "docs" / "same-as-dnf.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{entry.pattern}` | {entry.why} |" for entry in KNOWN]
