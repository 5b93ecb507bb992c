"""Random requests on random repositories: what dnf would install into an empty root, and what a lock has."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from hosier.errors import HosierError
from kit.rpmmd import repository
from kit.rpmrandom import World, world
from kit.rpmtask import locked, refreshed, spec

WORLDS = int(os.environ.get("HOSIER_TEST_WORLDS", "60"))
SEED = int(os.environ.get("HOSIER_TEST_WORLD", "4"))

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
    conf.module_platform_id = "platform:x"
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

KNOWN: dict[tuple[int, int], str] = {}
"""Differences, by seed and request, with their reasons."""


def theirs(worlds: list[World], folder: Path) -> list[list[list[str] | str]]:
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
        said = {"root": str(root), "repos": repos, "requests": one.requests, "weak": one.weak, "exclude": one.exclude}
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


def ours(one: World, folder: Path) -> list[list[str] | str]:
    """What locks say of the same."""
    folder.mkdir()
    settings = {name: {"priority": p, "cost": c} for name, (_, p, c) in one.repos.items()}
    found = refreshed(
        folder,
        {name: packages for name, (packages, _, _) in one.repos.items()},
        settings=settings,
        more={"base": {"group": one.comps}},
    )
    out: list[list[str] | str] = []
    for words in one.requests:
        said = spec(*words, recommends=one.weak, exclude=one.exclude)
        try:
            lock = locked(said, found)
            out.append(sorted(f"{p.name}-{p.version}.{p.architecture} {p.repo}" for p in lock.packages))
        except HosierError as error:
            out.append(str(error))
    return out


@pytest.mark.skipif(not os.path.exists("/usr/bin/dnf"), reason="there is no dnf here")
def test_locks_are_what_dnf_would_install(tmp_path: Path) -> None:
    worlds = [world(SEED * 10_000 + number) for number in range(WORLDS)]
    judged = theirs(worlds, tmp_path)
    same = refused = 0
    differences = []
    for number, (one, expected) in enumerate(zip(worlds, judged, strict=True)):
        got = ours(one, tmp_path / str(number) / "indices")
        for place, (theirs_, ours_) in enumerate(zip(expected, got, strict=True)):
            if isinstance(theirs_, str) and isinstance(ours_, str):
                refused += 1
            elif theirs_ == ours_:
                same += 1
            elif (SEED * 10_000 + number, place) not in KNOWN:
                differences.append((SEED * 10_000 + number, place, one.requests[place], theirs_, ours_))
    total = sum(len(one.requests) for one in worlds)
    print(f"\nseed {SEED}: {same} of {total} sets equal, {refused} refused by both, {len(differences)} differ")
    for difference in differences[:40]:
        print(*difference, sep="\n   ")
    assert not differences
    assert same > total / 3
