"""Random requests on random repositories: what dnf would install into an empty root, and what a lock has."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hosier.errors import HosierError
from hosier.solve.rpm import Pool
from kit.rpmmd import repository
from kit.rpmrandom import World, world
from kit.rpmtask import locked, refreshed, spec

WORLDS = int(os.environ.get("HOSIER_TEST_WORLDS", "60"))
SEED = int(os.environ.get("HOSIER_TEST_WORLD", "4"))

Answer = list[str] | str
"""Packages, sorted, or an error."""

NOTHING = "none of its packages is in"
"""Of a group; dnf says so and goes on."""

JUDGE = r"""
import json, sys, dnf, dnf.exceptions, dnf.transaction
out = []
for world in json.load(sys.stdin):
    base = dnf.Base()
    conf = base.conf
    conf.installroot = world["root"]
    conf.cachedir = world["root"] + "/cache"
    conf.persistdir = world["root"] + "/state"
    conf.reposdir, conf.pluginpath, conf.gpgcheck = [], [], False
    conf.best, conf.install_weak_deps, conf.excludepkgs = False, world["weak"], world["exclude"]
    conf.module_platform_id, conf.installonly_limit = "platform:x", 0
    for key, value in (("arch", "x86_64"), ("basearch", "x86_64"), ("releasever", "1")):
        conf.substitutions[key] = value
    for name, place, priority, cost in world["repos"]:
        repo = dnf.repo.Repo(name, conf)
        repo.baseurl, repo.priority, repo.cost = ["file://" + place], priority, cost
        repo.skip_if_unavailable = False
        base.repos.add(repo)
    base.fill_sack(load_system_repo=False)
    base.read_comps()
    found = []
    for words in world["requests"]:
        base.reset(goal=True)
        base._comps_trans = dnf.comps.TransactionBunch()
        try:
            base.install_specs(words, strict=True)
            base.resolve()
            forward = [each.pkg for each in base.transaction if each.action in dnf.transaction.FORWARD_ACTIONS]
            found.append(sorted(f"{p.name}-{p.evr}.{p.arch} {p.reponame}" for p in forward))
        except dnf.exceptions.Error as error:
            found.append(str(error))
    out.append(found)
    base.close()
print(json.dumps(out))
"""


def theirs(worlds: list[World], folder: Path) -> list[list[Answer]]:
    """What dnf says of each request: packages, or an error."""
    asked = []
    for number, one in enumerate(worlds):
        repos = []
        for name, (packages, priority, cost) in one.repos.items():
            place = folder / str(number) / name
            repository(place, packages, comps=one.comps if name == "base" else None)
            repos.append([name, str(place), priority, cost])
        root = folder / str(number) / "root"
        root.mkdir()
        said = {
            "root": str(root),
            "repos": repos,
            "requests": [*one.requests, *map(one.spelt, one.requests)],
            "weak": one.weak,
            "exclude": one.exclude,
        }
        asked.append(said)
    done = subprocess.run(
        ["/usr/bin/python3", "-c", JUDGE],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def ours(one: World, folder: Path) -> list[Answer]:
    """What locks say of the same."""
    folder.mkdir()
    settings = {name: {"priority": p, "cost": c} for name, (_, p, c) in one.repos.items()}
    found = refreshed(
        folder,
        {name: packages for name, (packages, _, _) in one.repos.items()},
        settings=settings,
        more={"base": {"group": one.comps}},
    )
    out: list[Answer] = []
    for words in one.requests:
        said = spec(*words, recommends=one.weak, exclude=one.exclude)
        try:
            lock = locked(said, found)
            out.append(sorted(f"{p.name}-{p.version}.{p.architecture} {p.repo}" for p in lock.packages))
        except HosierError as error:
            out.append(str(error))
    return out


@dataclass
class Count:
    """How many requests give the same packages, are refused by both, are the same once the packages of a pattern or of
    a group are in order, and differ."""

    same: int = 0
    refused: int = 0
    ordered: int = 0
    differing: list[tuple[object, ...]] = field(default_factory=list)

    def add(self, world: int, words: Sequence[str], direct: Answer, spelt: Answer, found: Answer) -> None:
        if isinstance(found, str) and (isinstance(direct, str) or NOTHING in found):
            self.refused += 1
        elif direct == found:
            self.same += 1
        elif spelt == found or (isinstance(spelt, str) and isinstance(found, str)):
            self.ordered += 1
        else:
            self.differing.append((world, words, direct, found))

    def __str__(self) -> str:
        return (
            f"{self.same} the same, {self.refused} refused by both, {self.ordered} the same once the "
            f"packages of a pattern or group are in order, {len(self.differing)} differ"
        )


@pytest.mark.skipif(not os.path.exists("/usr/bin/dnf"), reason="there is no dnf here")
def test_locks_are_what_dnf_would_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal without exception when all file lists are read, as dnf does. Two things that decide there are nobody's
    wish, and differ here:

    - dnf takes the packages of a pattern or a group in the order of a hash table, which decides where they stand in
      each other's way. It is asked again with them spelt out, in order.
    - A path that only file lists have, in a package that is looked at and not chosen, adds packages to look at; and a
      package of a second architecture is passed over only when one of the first is looked at. File lists are not read
      for that: such differences are few.
    """
    numbers = [SEED * 10_000 + number for number in range(WORLDS)]
    worlds = [world(number) for number in numbers]
    judged = theirs(worlds, tmp_path)
    whole, lazy = Count(), Count()
    for place, (number, one, expected) in enumerate(zip(numbers, worlds, judged, strict=True)):
        count = len(one.requests)
        for counted, folder in ((lazy, "lazy"), (whole, "whole")):
            with monkeypatch.context() as patch:
                if counted is whole:
                    patch.setattr(Pool, "_supplementing", lambda pool: True)
                found = ours(one, tmp_path / str(place) / folder)
            for row in zip(one.requests, expected[:count], expected[count:], found, strict=True):
                counted.add(number, *row)
    total = sum(len(one.requests) for one in worlds)
    print(f"\nseed {SEED}, {total} requests\n  with all file lists: {whole}\n  with those needed:   {lazy}")
    for difference in whole.differing or lazy.differing:
        print(*difference, sep="\n   ")
    assert not whole.differing
    assert len(lazy.differing) <= total / 200
    assert whole.same > total / 3 and whole.refused
