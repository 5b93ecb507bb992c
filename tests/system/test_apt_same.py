"""The packages of a lock are those that apt-get would install on an empty system with the same archives."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from hosier.distro.deb import archive
from hosier.distro.deb.index import Source, Universe
from hosier.errors import Unsolvable
from hosier.fetch.progress import reporter
from hosier.spec.model import Packages, Repo, Request, Spec
from kit import indices
from kit.indices import canonical, refreshed, stanza

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="there is no apt-get here")

Versions = dict[str, str] | None
"""Package to version, or None for a refusal."""


@dataclass(frozen=True)
class Apt:
    """apt-get with a state of its own, on an empty system."""

    folder: Path
    options: tuple[str, ...]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "LC_ALL": "C", "APT_CONFIG": str(self.folder / "apt.conf")}
        return subprocess.run(["apt-get", "-q", *self.options, *words], capture_output=True, text=True, env=environment)

    def chosen(self, requests: Sequence[str], *, recommends: bool) -> Versions:
        answer = self.run("-s", "-o", f"APT::Install-Recommends={str(recommends).lower()}", "install", *requests)
        if answer.returncode:
            return None
        return dict(re.findall(r"^Inst (\S+) \((\S+) ", answer.stdout, re.MULTILINE))


def make_apt(folder: Path, settings: Mapping[str, str], *options: str) -> Apt:
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    own = {
        "Dir::State": str(folder / "state"),
        "Dir::State::status": str(folder / "status"),
        "Dir::Cache": str(folder / "cache"),
        "Acquire::Languages": "none",
        # Fetching as another user would keep that user out of pytest's folder.
        "APT::Sandbox::User": "root",
    }
    lines = [f'{name} "{value}";\n' for name, value in {**own, **settings}.items()]
    (folder / "apt.conf").write_text("".join(lines))
    apt = Apt(folder, options)
    update = apt.run("update")
    assert update.returncode == 0, update.stderr
    return apt


def locked(found: archive.Refreshed, requests: Sequence[str], *, recommends: bool) -> Versions:
    asked = Packages(install=tuple(map(Request, requests)), recommends=recommends)
    try:
        lock = indices.locked(Spec("same", packages=asked), found, (), architecture=_architecture(found))
    except Unsolvable:
        return None
    return {package.name: package.version for package in lock.packages}


def _architecture(found: archive.Refreshed) -> str:
    return next(index.architecture for index in found.indices if index.architecture != "all")


def difference(ours: Versions, theirs: Versions) -> str:
    if ours is None or theirs is None:
        return "we refuse" if ours is None else "apt refuses"
    words = [f"+{name}" for name in sorted(ours.keys() - theirs.keys())]
    words += [f"-{name}" for name in sorted(theirs.keys() - ours.keys())]
    words += [
        f"{name} {ours[name]} not {theirs[name]}"
        for name in sorted(ours.keys() & theirs.keys())
        if ours[name] != theirs[name]
    ]
    return " ".join(words)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> tuple[Apt, archive.Refreshed, list[str]]:
    """apt-get on the host's archives, our indices of the same, and the names of their packages."""
    folder = tmp_path_factory.mktemp("host")
    # The cache that it keeps saves apt half of its time.
    apt = make_apt(
        folder,
        {},
        *("-o", f"Dir::Cache::pkgcache={folder / 'pkgcache.bin'}"),
        *("-o", f"Dir::Cache::srcpkgcache={folder / 'srcpkgcache.bin'}"),
    )
    apt.run("-s", "install", "apt")
    architecture = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
    ).stdout.strip()
    found = archive.refresh(
        {architecture: [Repo("host", source="host", third_party=True)]},
        str(folder / "store"),
        reporter=reporter(quiet=True, verbose=False),
        now=time.time(),
    )[architecture]
    sources = [Source(index.file, index.architecture, index.pin) for index in found.indices]
    names = sorted(Universe(sources[:1], architecture=architecture).names())
    return apt, found, names


def compare(
    host: tuple[Apt, archive.Refreshed, list[str]], seed: str, count: int
) -> tuple[int, list[tuple[str, bool, str]]]:
    """How many random requests give the same, and (request, recommends, difference) for the others."""
    apt, found, names = host
    chance = random.Random(seed)
    cases = [
        (chance.sample(names, chance.randint(1, 6)), recommends) for _ in range(count) for recommends in (False, True)
    ]
    with ThreadPoolExecutor(2) as pool:
        theirs = pool.map(lambda case: apt.chosen(["?essential", *case[0]], recommends=case[1]), cases)
        others = []
        for (requests, recommends), answer in zip(cases, theirs, strict=True):
            # apt counts itself among the essential packages.
            ours = locked(found, ["apt", *requests], recommends=recommends)
            if ours != answer:
                others.append((" ".join(requests), recommends, difference(ours, answer)))
    return len(cases) - len(others), others


def test_random_requests_give_what_apt_gives(host: tuple[Apt, archive.Refreshed, list[str]]) -> None:
    same, others = compare(host, "short", 6)
    assert (same, others) == (12, [])


KNOWN = [
    ["nginx", "postgresql", "openssh-server"],
    ["build-essential", "debhelper", "git"],
    ["python3-numpy", "redis", "curl"],
]


@pytest.mark.parametrize("recommends", [False, True], ids=["without recommends", "with recommends"])
def test_everyday_requests_give_what_apt_gives(
    host: tuple[Apt, archive.Refreshed, list[str]], recommends: bool
) -> None:
    apt, found, _ = host
    for requests in KNOWN:
        theirs = apt.chosen(["?essential", *requests], recommends=recommends)
        assert theirs is not None
        assert difference(locked(found, ["apt", *requests], recommends=recommends), theirs) == ""


@pytest.mark.prove
def test_a_hundred_random_requests_give_what_apt_gives(
    host: tuple[Apt, archive.Refreshed, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    same, others = compare(host, "a hundred", 100)
    with capsys.disabled():
        print(f"\n{same} of 200 requests (100 without recommends, 100 with) give what apt-get gives")
        for requests, recommends, words in others:
            print(f"  {requests} ({'with' if recommends else 'without'} recommends): {words}")
    for wanted in (False, True):
        assert len([other for other in others if other[1] is wanted]) <= 1


def _small_archive(chance: random.Random) -> tuple[list[str], str]:
    """A few packages with relations at random, conflicts among them."""
    names = [f"p{number:02d}" for number in range(chance.randint(6, 18))]
    virtual = ["v1", "v2", "v3"]

    def alternative() -> str:
        name = chance.choice(names + virtual)
        if name in names and chance.random() < 0.15:
            return f"{name} ({chance.choice(['>=', '<<', '='])} {chance.choice('12')})"
        return name

    def clauses(count: int) -> str:
        return ", ".join(" | ".join(alternative() for _ in range(chance.choice([1, 1, 2, 3]))) for _ in range(count))

    stanzas = []
    for name in names:
        fields = {"Priority": chance.choice(["optional", "optional", "extra", "important"])}
        if chance.random() < 0.6:
            fields["Depends"] = clauses(chance.randint(1, 3))
        if chance.random() < 0.35:
            fields["Recommends"] = clauses(chance.randint(1, 2))
        if chance.random() < 0.2:
            fields["Conflicts"] = alternative()
        if chance.random() < 0.1:
            fields["Breaks"] = alternative()
        if chance.random() < 0.3:
            fields["Provides"] = chance.choice(virtual) + chance.choice(["", " (= 1)"])
        stanzas.append(stanza(name, chance.choice("12"), **fields))
    return names, canonical(stanzas)


def test_small_archives_full_of_conflicts_give_what_apt_gives(tmp_path: Path) -> None:
    repo, empty = tmp_path / "repo", tmp_path / "empty"
    repo.mkdir()
    empty.mkdir()
    (repo / "Packages").touch()
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] file:{repo} ./\n")
    settings = {
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": str(empty),
        "Dir::Etc::sourcelist": str(tmp_path / "sources.list"),
        "Dir::Etc::sourceparts": str(empty),
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": str(empty),
        "APT::Architecture": "amd64",
        "APT::Architectures": "amd64",
    }
    apt = make_apt(tmp_path, settings)
    same, refused, others = 0, 0, []
    for seed in range(30):
        chance = random.Random(seed)
        names, text = _small_archive(chance)
        (repo / "Packages").write_text(text)
        shutil.rmtree(tmp_path / "state/lists")
        (tmp_path / "state/lists/partial").mkdir(parents=True)
        assert apt.run("update").returncode == 0
        found = refreshed(tmp_path, {"stable": text})
        for recommends in (False, True):
            requests = chance.sample(names, chance.randint(1, 3))
            theirs = apt.chosen(requests, recommends=recommends)
            ours = locked(found, requests, recommends=recommends)
            if ours == theirs:
                same += 1
                refused += ours is None
            else:
                others.append((seed, requests, recommends, difference(ours, theirs)))
    assert (same, others) == (60, [])
    assert 10 < refused < 50
