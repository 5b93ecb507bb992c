"""Packages are installed in the order in which rpm would, whatever they need of each other."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from hosier.build import plan
from hosier.build.rpm.order import order
from hosier.distro.rpm import rpmfile
from hosier.distro.rpm.header import Header
from hosier.spec.lock import LockedPackage, loads
from hosier.spec.model import Packages
from kit import rpms
from kit.cli import hosier
from kit.rpmworld import world

pytestmark = pytest.mark.skipif(shutil.which("rpm") is None, reason="needs rpm")

PRE = 1 << 9
FILECOLORS, FILEDEPENDSX, FILEDEPENDSN, DEPENDSDICT = 1140, 1143, 1144, 1145
INTEGERS = 4
WEAK = ("recommends", "suggests", "orders", "supplements", "enhances")
WORDS = ("({0} if p00)", "(none or {0})", "({0} and p01)", "({0} with p01)", "(none if {0} else p02)", "(p00 if {0})")
OF_A_PROVIDE = ord("P") << 24


def theirs(root: Path, paths: Sequence[str]) -> list[str]:
    """The names of packages in the order of rpm's transaction, which are given in the order of `paths`."""
    root.mkdir()
    words = [
        "rpm",
        "--root",
        str(root),
        "--dbpath",
        "/db",
        "--force-debian",
        "--noplugins",
        "--nodeps",
        "--nosignature",
    ]
    said = subprocess.run([*words, "-ivv", "--test", *paths], capture_output=True, text=True, env={"PATH": "/usr/bin"})
    lines = said.stderr.partition("tsorting packages")[2].splitlines()
    found = [match[1] for line in lines if (match := re.match(r"D: (?: *\d+){4} +\+(\S+)$", line))]
    assert len(found) == len(paths), said.stderr
    return found


def by_chance(folder: Path, seed: int) -> tuple[list[str], list[LockedPackage]]:
    """Packages that need or wish for each other, in circles too, with programs of any word size."""
    chance = random.Random(seed)
    names = [f"p{number:02d}" for number in range(chance.randrange(3, 16))]
    density = chance.choice((0.7, 1.5, 3))
    weak = chance.choice((0, 0.3, 1))
    wordy = chance.choice((0, 0.4))
    paths, locked = [], []
    for name in names:
        others = [other for other in names if other != name]
        needs = [other for other in others if chance.random() < density / len(names)]
        before = [other for other in needs if chance.random() < 0.3]
        wishes = {
            kind: [_wish(chance, other) for other in others if chance.random() < weak / len(names)] for kind in WEAK
        }
        paths.append(
            rpms.write(
                folder,
                name,
                requires=[
                    rpms.Relation(
                        chance.choice(WORDS).format(other) if chance.random() < wordy else other,
                        PRE if other in before else 0,
                    )
                    for other in needs
                ],
                files={f"/f/{name}": rpms.File("x")},
                tags={
                    FILECOLORS: (INTEGERS, [chance.choice((0, 0, 1, 2, 2, 3))]),
                    FILEDEPENDSX: (INTEGERS, [0]),
                    FILEDEPENDSN: (INTEGERS, [1]),
                    DEPENDSDICT: (INTEGERS, [OF_A_PROVIDE]),
                },
                **wishes,
            )
        )
        facts = (name, "1.0-1", "noarch", 1, "0" * 64, "r", paths[-1], "requested", 0)
        locked.append(LockedPackage(*facts, tuple(before), tuple(needs)))
    return paths, locked


def _wish(chance: random.Random, name: str) -> str:
    forms = ("{0}", "{0}", "{0} = 1.0-1", "{0} > 2", "/f/{0}", "({0} if p00)", "(none or {0})", "({0} with p01)")
    return chance.choice(forms).format(name)


def header(package: LockedPackage) -> Header:
    return rpmfile.read(package.path)[0]


@pytest.mark.parametrize("seeds", [range(25), pytest.param(range(25, 500), marks=pytest.mark.prove)], ids=str)
def test_whatever_needs_what(seeds: range, tmp_path: Path) -> None:
    blind = 0
    for seed in seeds:
        folder = tmp_path / str(seed)
        folder.mkdir()
        paths, locked = by_chance(folder, seed)
        expected = theirs(folder / "root", paths)
        assert [f"{p.name}-1.0-1.noarch" for p in order(locked, "amd64", header)] == expected, seed
        blind += sorted(expected) == expected
    assert blind < len(seeds) / 4, "the order of names alone is another"


BY_BOTH = {
    "counts twice": {"q": {"recommends": ["p"]}, "p": {"enhances": ["q"]}, "x": {}, "y": {"recommends": ["x"]}},
    "is against what it recommends": {"q": {}, "p": {"recommends": ["q"], "supplements": ["q"]}, "x": {}},
    "is of its own order": {"q": {}, "p": {"orders": ["q"], "supplements": ["q"]}, "x": {}, "y": {"orders": ["x"]}},
}


@pytest.mark.parametrize("what", BY_BOTH)
def test_what_is_said_of_another_and_by_it(what: str, tmp_path: Path) -> None:
    packages = BY_BOTH[what]
    paths = [rpms.write(tmp_path, name, **said) for name, said in packages.items()]
    locked = [
        LockedPackage(name, "1.0-1", "noarch", 1, "0" * 64, "r", path, "requested", 0)
        for name, path in zip(packages, paths, strict=True)
    ]
    found = [f"{p.name}-1.0-1.noarch" for p in order(locked, "amd64", header)]
    assert found == theirs(tmp_path / "root", paths)


REPOS = ("base", "updates", "extras")
SERVER = ("bash", "coreutils", "filesystem", "glibc", "nginx", "rsyslog", "openssh-clients", "curl", "iproute2", "make")


@pytest.mark.parametrize(
    "install", [SERVER, ("bash", "multi.x86_64", "multi.i686", "multi-user")], ids=["server", "both"]
)
def test_a_distribution(install: Sequence[str], tmp_path: Path) -> None:
    here = world()
    spec = here.spec(tmp_path, *install, repos=REPOS, packages="recommends = false")
    hosier("lock", spec, store=tmp_path / "store")
    lock = loads(spec.with_suffix(".lock").read_text(), name="lock")
    files = {p: str(here.repos[p.repo] / p.path) for p in lock.packages}
    (stage,) = plan.stages(lock, Packages())
    locked = {plan.key(p, "amd64"): p for p in stage.packages}
    first = [locked[key] for key in stage.given]
    expected = theirs(tmp_path / "root", [files[p] for p in first])
    found = order(first, "amd64", lambda p: rpmfile.read(files[p])[0])
    assert [f"{p.name}-{p.version}.{p.architecture}" for p in found] == expected
